"""`transferseg calibrate`: the label core's values from a config's strong images and two exported models."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
from rich.console import Console
from rich.progress import track
from rich.table import Table

from components.beam_masks.faults import first_of
from components.image_example_gen.records import STRONG
from components.image_example_gen.write_examples import read_list
from components.label_calibration.calibration_files import CURVES, write_calibration
from components.label_calibration.known_images import known_images, rehearsal_images
from components.label_calibration.search import Calibration, calibrate
from components.weak_labels.core.label_config import VALUES
from pipeline.config.run_config import RunConfig
from serving.export import read_categories
from serving.saved_model import check_saved_model
from trainer.errors import UserError


def calibrate_folder(
    config: RunConfig, cam: Path, l_net: Path, output: Path, max_images: int, console: Console
) -> Calibration:
    """Calibrates and writes labels.yaml, calibration.json and calibration.png to `output`.

    Raises:
      UserError: a model or the dataset is missing, too many images are bad, a model knows other categories, or the
        L-Net has seen all strong ones.
    """
    _check_names(config, cam, l_net)
    output.mkdir(parents=True, exist_ok=True)  # now: an OSError after the search would come late
    examples = rehearsal_images(_strong_examples(config, console), str(l_net), max_images)
    found = known_images(str(cam), str(l_net), examples)
    images = list(track(found, "Networks", total=len(examples), console=console, transient=True))
    with console.status(f"Searching on {len(images)} images") as status:
        result = calibrate(
            images, config.labels, progress=lambda name, miou: status.update(f"{name} settled, mIoU {miou:.3f}")
        )
    write_calibration(output, result)
    _print(result, config, output, console)
    return result


def _check_names(config: RunConfig, cam: Path, l_net: Path) -> None:
    """Raises UserError unless the models' ids mean what the config's do."""
    names = config.categories.resolve().foreground
    for kind, model in (("cam", cam), ("l_net", l_net)):
        check_saved_model(model)
        known = read_categories(model, kind).foreground
        if known != names:
            own = f"the config has {', '.join(names)}: names and order must be the same"
            raise UserError(f"{model}: knows {', '.join(known)}; {own}")


def _strong_examples(config: RunConfig, console: Console) -> list[tf.train.Example]:
    """The strong images of dataset.train, as a run reads them."""
    rejected: list[dict[str, str]] = []
    records = read_list(config.dataset, config.categories.resolve(), evaluation=False, rejected=rejected)
    examples = [tf.train.Example.FromString(record.example) for record in records if record.split == STRONG]
    if rejected:
        text = f"{len(rejected)} training images are left out: {first_of(rejected)}"
        console.print(text, markup=False, highlight=False)
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
        f"{output / CURVES}: what each value does",
        markup=False,
    )
