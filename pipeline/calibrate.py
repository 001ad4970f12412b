"""`transferseg calibrate`: the label core's open values from a config's strong images and two exported models."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
from rich.console import Console
from rich.progress import track
from rich.table import Table

from components.image_example_gen.records import STRONG, read_record
from components.image_example_gen.tags import read_tags
from components.label_calibration.known_images import known_images, rehearsal_images
from components.label_calibration.outputs import CURVES, VALUES, write_calibration
from components.label_calibration.search import Calibration, calibrate
from pipeline.config import RunConfig
from trainer.errors import ImageFault, UserError


def calibrate_folder(
    config: RunConfig, cam: Path, l_net: Path, output: Path, max_images: int, console: Console
) -> Calibration:
    """Calibrates and writes labels.yaml, calibration.json and calibration.png to `output`.

    Raises:
      UserError: a model or the dataset is missing, or the L-Net has seen all strong categories.
    """
    for model in (cam, l_net):
        if not (model / "saved_model.pb").is_file():
            raise UserError(f"{model}: not a SavedModel (no saved_model.pb); give the folder an export wrote")
    examples = rehearsal_images(_strong_examples(config), str(l_net), max_images)
    found = known_images(str(cam), str(l_net), examples)
    images = list(track(found, "Networks", total=len(examples), console=console, transient=True))
    with console.status(f"Searching on {len(images)} images") as status:
        result = calibrate(
            images, config.labels, progress=lambda name, miou: status.update(f"{name} settled, mIoU {miou:.3f}")
        )
    write_calibration(output, result)
    _print(result, config, output, console)
    return result


def _strong_examples(config: RunConfig) -> list[tf.train.Example]:
    """The strong images of dataset.train; bad records are left out, as the pipeline's first step leaves them out."""
    dataset, categories = config.dataset, config.categories.resolve()
    tags = read_tags(dataset.tags_path, categories) if dataset.tags_path else None
    examples = []
    for key in dataset.train_keys():
        try:
            record = read_record(dataset.root, key, categories, tags=None if tags is None else tags.get(key))
        except ImageFault:
            continue
        if record.split == STRONG:
            examples.append(tf.train.Example.FromString(record.example))
    return examples


def _print(result: Calibration, config: RunConfig, output: Path, console: Console) -> None:
    table = Table("value", "before", "after")
    for name in result.curves:
        before, after = getattr(config.labels, name), getattr(result.settings, name)
        table.add_row(name, f"{before:.3g}", f"[bold]{after:.3g}[/]" if before != after else "")
    console.print(table)
    console.print(
        f"label mIoU of {result.images} strong images: {result.start_miou:.3f} before, {result.miou:.3f} after\n"
        f"{output / VALUES}: for `transferseg label --settings`, or as the section `labels` of a config\n"
        f"{output / CURVES}: what each value does"
    )
