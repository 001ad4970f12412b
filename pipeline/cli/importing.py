"""`transferseg import FORMAT`: any dataset into the folder that everything else reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pipeline.cli.common import (
    BEAM_ARGS,
    EXIT_REFUSED,
    JSON,
    PATH,
    cli,
    loading,
    names_of,
    say,
    say_what_is_amiss,
    write_json,
)
from trainer.errors import UserError


@cli.group("import")
def import_() -> None:
    """Brings a dataset into VOC's layout: images, masks, tags.csv, boxes.csv, categories.txt.

    Several imports into one --output add up; categories keep their ids. Sources may be gs:// paths,
    and s3:// where tensorflow-io is installed. Options behind -- go to Beam. What cannot be read is listed in
    import_faults.jsonl.

    Example: transferseg import coco --annotations instances.json --images train2017 --output data --split train
    """


def _importer(name: str, help_: str, *options: Callable) -> Callable:
    """A subcommand with the options every format shares; the function it decorates returns the dataset's contents."""

    def decorate(read: Callable) -> Callable:
        def command(
            output: Path,
            split: str | None,
            skip: str,
            prefix: str,
            replace: bool,
            max_dead_share: float,
            json_path: Path | None,
            beam_args: tuple[str, ...],
            **arguments: Any,
        ) -> None:
            with loading():
                from components.dataset_import.splits import SPLITS
                from components.dataset_import.writer import FAULTS, import_dataset

            if split is None:
                split = SPLITS.get(arguments.get("list_") or "", "train")
            done = import_dataset(
                read(**arguments),
                output,
                split,
                skip=names_of(skip, "--skip") or (),
                prefix=prefix,
                replace=replace,
                beam_args=beam_args,
            )
            write_json(json_path, done)
            say(
                f"{done['images']} images, {done['masks'] - done['empty_masks']} with a mask of a category, "
                f"{done['left_out']} left out, {done['dead']} not readable, {len(done['categories'])} categories: "
                f"{output}"
            )
            if done["boxes"]:
                say(f"{done['boxes']} boxes in boxes.csv")
            say_what_is_amiss(done, output / FAULTS)
            if done["dead"] > max_dead_share * (done["images"] + done["left_out"] + done["dead"]):
                raise click.exceptions.Exit(EXIT_REFUSED)

        for option in (*reversed(options), *reversed(_SHARED)):
            command = option(command)
        return import_.command(name, help=help_)(BEAM_ARGS(command))

    return decorate


_SHARED = (
    click.option("--output", type=PATH, required=True, help="folder to make or extend"),
    click.option(
        "--split", help="list to extend: train, val, ... [default: as --list if that is val or test, else train]"
    ),
    click.option("--skip", default="", metavar="A,B", help="leave out these categories and images that show them"),
    click.option("--prefix", default="", help="goes before every category name"),
    click.option("--replace", is_flag=True, help="masks, tags and boxes of images already there: take the new"),
    click.option("--follow-links", is_flag=True, help="also read what links out of the given folders lead to"),
    click.option("--max-dead-share", type=click.FloatRange(0, 1), default=0.1, show_default=True, help="else exit 1"),
    JSON,
)
_ANNOTATIONS = click.option("--annotations", required=True, metavar="JSON", help="the export's JSON file")
_IMAGES = click.option("--images", required=True, metavar="DIR", help="folder of pictures")
_ROOT = click.option("--root", required=True, metavar="DIR", help="the dataset's own folder")
_LIST = click.option("--list", "list_", metavar="NAME", help="only the images of this list [default: all]")
_MASKS = click.option("--masks", metavar="DIR", help="folder of PNG masks")
_CATEGORIES = click.option("--categories", default="", metavar="A,B", help="names by id, or a file with one a line")
_CROWD = click.option(
    "--crowd",
    type=click.Choice(["void", "object"]),
    default="void",
    show_default=True,
    help="what crowd regions become",
)


@_importer(
    "coco",
    "COCO instances or panoptic JSON; also from Label Studio, CVAT, Roboflow or labelme2coco.",
    _ANNOTATIONS,
    _IMAGES,
    _MASKS,
    _CROWD,
)
def _coco(**options: Any):
    from components.dataset_import.coco import read_coco

    return read_coco(**options)


@_importer("voc", "VOC's folders; tags from Annotations/*.xml or the masks.", _ROOT, _LIST, _CATEGORIES)
def _voc(root: str, list_: str | None, categories: str, follow_links: bool):
    from components.dataset_import.voc_folders import read_voc

    return read_voc(root, names_of(categories), list_, follow_links=follow_links)


@_importer("sbd", "Semantic Boundaries Dataset: img/ and cls/*.mat.", _ROOT, _LIST)
def _sbd(root: str, list_: str | None, follow_links: bool):
    from components.dataset_import.voc_folders import read_sbd

    return read_sbd(root, list_, follow_links=follow_links)


@_importer(
    "cvat",
    'CVAT\'s exports "CVAT for images 1.1" and "Segmentation mask 1.1".',
    _ROOT,
    click.option("--images", metavar="DIR", help="folder of pictures, where they were not exported too"),
)
def _cvat(**options: Any):
    from components.dataset_import.folders import read_cvat

    return read_cvat(**options)


@_importer("label-studio", "Label Studio's JSON export, with or without its PNGs.", _ANNOTATIONS, _IMAGES, _MASKS)
def _label_studio(**options: Any):
    from components.dataset_import.label_studio import read_label_studio

    return read_label_studio(**options)


@_importer("labelme", "labelme's JSON files beside their pictures.", _ROOT)
def _labelme(**options: Any):
    from components.dataset_import.labelme import read_labelme

    return read_labelme(**options)


@_importer(
    "yolo",
    "YOLO segmentation: data.yaml, images/ and labels/*.txt.",
    _ROOT,
    click.option("--list", "list_", metavar="NAME", help="only pictures below a folder of this name [default: all]"),
)
def _yolo(root: str, list_: str | None, follow_links: bool):
    from components.dataset_import.yolo import read_yolo

    return read_yolo(root, list_, follow_links=follow_links)


@_importer(
    "folder",
    "Pictures with a folder of masks, a CSV of tags, one of boxes, or several.",
    _IMAGES,
    _MASKS,
    click.option("--tags", metavar="CSV", help="columns image,tags; tags separated by |"),
    click.option("--boxes", metavar="CSV", help="columns image,category,x1,y1,x2,y2; pixels of the stored picture"),
    click.option("--colours", metavar="FILE", help="what the masks' colours mean: lines name:red,green,blue"),
    _CATEGORIES,
)
def _folder(categories: str, **options: Any):
    from components.dataset_import.folders import read_folder

    return read_folder(names=names_of(categories), **options)


@_importer(
    "tfrecord",
    "TFRecords of tf.Examples: this project's keys or DeepLab's.",
    click.option("--files", required=True, metavar="PATTERN", help="e.g. 'data/train-*.tfrecord.gz'"),
    _CATEGORIES,
)
def _tfrecord(files: str, categories: str, follow_links: bool):
    from components.dataset_import.tfrecords import read_tfrecords

    names = names_of(categories)
    if not names:
        raise UserError("masks hold ids: give the categories' names with --categories a,b,c (id 1, 2, 3)")
    return read_tfrecords(files, names)


@_importer(
    "other",
    "Any format that Datumaro reads (an optional package): cityscapes, camvid, open_images, ...",
    _ROOT,
    click.option("--format", "format_", required=True, metavar="NAME", help="Datumaro's name of the format"),
    click.option("--list", "list_", metavar="NAME", help="only this subset [default: all]"),
)
def _other(root: str, format_: str, list_: str | None, follow_links: bool):
    from components.dataset_import.other import read_other

    return read_other(root, format_, list_, follow_links=follow_links)
