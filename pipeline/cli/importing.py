"""`transferseg import FORMAT`: any dataset into the folder that everything else reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from pipeline.cli.common import EXIT_REFUSED, JSON, PATH, cli, names_of, say, write_json
from trainer.errors import UserError

_BEAM = click.argument("beam_args", nargs=-1, type=click.UNPROCESSED)


@cli.group("import")
def import_() -> None:
    """Brings a dataset into VOC's layout: images, masks, tags.csv, categories.txt.

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
            split: str,
            skip: str,
            prefix: str,
            max_dead_share: float,
            json_path: Path | None,
            beam_args: tuple[str, ...],
            **arguments,
        ) -> None:
            from components.dataset_import.writer import FAULTS, import_dataset

            done = import_dataset(
                read(**arguments), output, split, skip=names_of(skip) or (), prefix=prefix, beam_args=beam_args
            )
            write_json(json_path, done)
            say(
                f"{done['images']} images, {done['masks']} with a mask, {done['left_out']} left out, "
                f"{done['dead']} not readable, {len(done['categories'])} categories: {output}"
            )
            if done["dead"]:
                click.echo(f"transferseg: not readable: {done['first_fault']}; all: {output / FAULTS}", err=True)
            if done["dead"] > max_dead_share * (done["images"] + done["left_out"] + done["dead"]):
                raise click.exceptions.Exit(EXIT_REFUSED)

        for option in (*reversed(options), *reversed(_SHARED)):
            command = option(command)
        return import_.command(name, help=help_)(_BEAM(command))

    return decorate


_SHARED = (
    click.option("--output", type=PATH, required=True, help="folder to make or extend"),
    click.option("--split", default="train", show_default=True, help="list to extend: train, val, ..."),
    click.option("--skip", default="", metavar="A,B", help="leave out these categories and images that show them"),
    click.option("--prefix", default="", help="goes before every category name"),
    click.option("--max-dead-share", type=click.FloatRange(0, 1), default=0.1, show_default=True, help="else exit 1"),
    JSON,
)
_ANNOTATIONS = click.option("--annotations", required=True, metavar="JSON", help="the export's JSON file")
_IMAGES = click.option("--images", required=True, metavar="DIR", help="folder of pictures")
_ROOT = click.option("--root", required=True, metavar="DIR", help="the dataset's own folder")
_LIST = click.option("--list", "list_", metavar="NAME", help="only the images of this list [default: all]")
_MASKS = click.option("--masks", metavar="DIR", help="folder of PNG masks")
_CATEGORIES = click.option("--categories", default="", metavar="A,B", help="names by id, or a file with one a line")


@_importer("coco", "COCO instances or panoptic JSON; also from Label Studio or CVAT.", _ANNOTATIONS, _IMAGES, _MASKS)
def _coco(annotations: str, images: str, masks: str | None):
    from components.dataset_import.coco import read_coco

    return read_coco(annotations, images, masks)


@_importer("voc", "VOC's folders; tags from Annotations/*.xml or the masks.", _ROOT, _LIST, _CATEGORIES)
def _voc(root: str, list_: str | None, categories: str):
    from components.dataset_import.folders import read_voc

    return read_voc(root, names_of(categories), list_)


@_importer("sbd", "Semantic Boundaries Dataset: img/ and cls/*.mat.", _ROOT, _LIST)
def _sbd(root: str, list_: str | None):
    from components.dataset_import.folders import read_sbd

    return read_sbd(root, list_)


@_importer("cvat", 'CVAT\'s export "Segmentation mask 1.1".', _ROOT)
def _cvat(root: str):
    from components.dataset_import.folders import read_cvat

    return read_cvat(root)


@_importer("label-studio", "Label Studio's JSON export, with or without its PNGs.", _ANNOTATIONS, _IMAGES, _MASKS)
def _label_studio(annotations: str, images: str, masks: str | None):
    from components.dataset_import.label_studio import read_label_studio

    return read_label_studio(annotations, images, masks)


@_importer(
    "folder",
    "Pictures with a folder of PNG masks, a CSV `image,tags`, or both.",
    _IMAGES,
    _MASKS,
    click.option("--tags", metavar="CSV", help="columns image,tags; tags separated by |"),
    _CATEGORIES,
)
def _folder(images: str, masks: str | None, tags: str | None, categories: str):
    from components.dataset_import.folders import read_folder

    return read_folder(images, masks, tags, names_of(categories))


@_importer(
    "tfrecord",
    "TFRecords of tf.Examples: this project's keys or DeepLab's.",
    click.option("--files", required=True, metavar="PATTERN", help="e.g. 'data/train-*.tfrecord.gz'"),
    _CATEGORIES,
)
def _tfrecord(files: str, categories: str):
    from components.dataset_import.tfrecords import read_tfrecords

    names = names_of(categories)
    if not names:
        raise UserError("masks hold ids: give the categories' names with --categories a,b,c (id 1, 2, 3)")
    return read_tfrecords(files, names)
