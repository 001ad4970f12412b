"""Commands over folders of images and masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.cli.common import BEAM_ARGS, JSON, LOG, PATH, batch, cli, console, loading, model_folder, write_json
from trainer.data.pictures import MAX_PIXELS, MOST_PIXELS
from trainer.errors import UserError

_PIXELS = click.IntRange(1, MOST_PIXELS)
_LARGER = "larger pictures are dead letters; memory grows with it"


@cli.command()
@click.option("--l-net", type=PATH, required=True, help="exported L-Net (a SavedModel folder)")
@click.option("--cam", type=PATH, help="exported CAM classifier; its categories give the ids")
@click.option("--images", type=PATH, required=True, help="folder of images")
@click.option("--tags", type=PATH, required=True, help="CSV with the columns image,tags; tags separated by |")
@click.option(
    "--boxes", type=PATH, help="CSV with the columns image,category,x1,y1,x2,y2 in pixels; a box is a tag too"
)
@click.option("--output", type=PATH, required=True, help="folder for masks, confidences and dead letters")
@click.option(
    "--format",
    type=click.Choice(["png", "coco", "coco-polygons", "tfrecord"]),
    default="png",
    show_default=True,
    help="beside the masks: annotations.json of run lengths or polygons, or tf.Examples",
)
@click.option(
    "--mode",
    type=click.Choice(["cam", "class-agnostic"]),
    default="cam",
    show_default=True,
    help="class-agnostic: one tag an image, of any name, labelled by L-Net alone",
)
@click.option("--settings", type=PATH, help="labels.yaml of a calibration, or a config; its section `labels` is used")
@click.option("--max-dead-share", type=click.FloatRange(0, 1), default=0.1, show_default=True, help="else exit 1")
@click.option("--max-pixels", type=_PIXELS, default=MAX_PIXELS, show_default=True, help=_LARGER)
@LOG
@JSON
@BEAM_ARGS
def label(l_net: Path, cam: Path | None, settings: Path | None, json_path: Path | None, **options: Any) -> None:
    """Makes pixel labels for a folder of tagged images. Options behind -- go to Beam.

    What is already labelled is kept: after a kill, the same command goes on where it stopped. Files that it did not
    make are never replaced.

    Example: transferseg label --l-net models/l_net --cam models/cam --images photos --tags tags.csv --output masks
    -- --direct_running_mode=multi_processing --direct_num_workers=2
    """
    l_net, cam = model_folder(l_net), model_folder(cam)
    from components.weak_labels.core.label_config import read_label_settings

    with loading():
        from components.weak_labels.label_folder import label_folder

    chosen = read_label_settings(settings) if settings else None
    batch(lambda: label_folder(l_net, cam, settings=chosen, **options), json_path)


@cli.command()
@click.option("--model", type=PATH, required=True, help="exported segmentation model, or its versions' folder")
@click.option("--images", type=PATH, required=True, help="folder of images")
@click.option("--output", type=PATH, required=True, help="folder for masks and dead letters")
@click.option(
    "--format",
    type=click.Choice(["png", "coco", "coco-polygons"]),
    default="png",
    show_default=True,
    help="beside the masks: annotations.json of run lengths or polygons",
)
@click.option("--max-dead-share", type=click.FloatRange(0, 1), default=0.1, show_default=True, help="else exit 1")
@click.option("--max-pixels", type=_PIXELS, show_default="the model's inference.max_pixels", help=_LARGER)
@LOG
@JSON
@BEAM_ARGS
def predict(model: Path, json_path: Path | None, **options: Any) -> None:
    """Predicts masks for a folder of images. Options behind -- go to Beam.

    Files that it did not make are never replaced.

    Example: transferseg predict --model build/demo/serving/demo --images photos --output masks
    """
    folder = model_folder(model)
    with loading():
        from components.beam_masks.predict_folder import predict_folder

    batch(lambda: predict_folder(folder, **options), json_path)


@cli.command()
@click.option("--truth", type=PATH, help="folder of true masks")
@click.option("--prediction", type=PATH, required=True, help="folder of predicted masks")
@click.option("--categories", help="a split's name (voc-split-1) or all names by id, comma-separated")
@click.option("--strong", default="", help="comma-separated names of the strong categories")
@click.option(
    "--reference",
    type=PATH,
    help="a pushed version, or a folder of predictions: warns if these predictions have drifted from its own; "
    "needs no --truth (docs/serving.md)",
)
@JSON
def evaluate(
    truth: Path | None,
    prediction: Path,
    categories: str | None,
    strong: str,
    reference: Path | None,
    json_path: Path | None,
) -> None:
    """Scores a folder of predicted masks against a folder of true ones, or against what the model answered before.

    Example: transferseg evaluate --truth SegmentationClass --prediction masks --categories voc-split-1
    """
    if (truth is None) != (categories is None) or truth is None and reference is None:
        raise UserError("give --truth and --categories to score masks, --reference to look for drift, or all three")
    screen, found = console(), {}
    if reference:
        with loading():
            from pipeline.drift import compare

        found["drift"] = compare(prediction, reference, screen)
    if truth and categories:
        with loading():
            from pipeline.evaluate import evaluate_folders

        found |= evaluate_folders(truth, prediction, categories, strong, screen)
    write_json(json_path, found)
