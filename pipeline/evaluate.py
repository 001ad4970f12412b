"""`transferseg evaluate`: scores a folder of predicted masks against a folder of true ones."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

from trainer.categories import VOC_SPLITS, Categories, from_lists, named_split
from trainer.errors import UserError
from trainer.metrics import Scores, boundary_confusion, confusion_matrix, scores


def evaluate_folders(truth: Path, prediction: Path, categories: str, strong: str, console: Console) -> dict:
    """Scores every PNG of `truth` against the PNG of the same name in `prediction`, over all pixels that are not void.

    Args:
      truth: folder of masks, palette or 8-bit grey PNG of ids 0..C-1 and 255. It decides which files count.
      prediction: folder of predicted masks of the same sizes; a pixel predicted void is a miss.
      categories: a split's name, or the foreground names by id, comma-separated.
      strong: comma-separated names of the strong categories; empty means those of the split, or none.
      console: gets the table.

    Returns:
      miou, strong_miou, weak_miou, boundary_miou, pixel_accuracy (0..1, None for n/a),
      per_class (name -> IoU), images (number of masks scored).

    Raises:
      UserError: unknown category; no masks; no prediction for a mask; a file that is no mask, has another size or
        ids out of range. The message names the file.
    """
    chosen = parse_categories(categories, strong)
    confusion, boundary = np.zeros((2, chosen.num_classes, chosen.num_classes + 1), np.int64)
    pairs = _pairs(truth, prediction)
    for true_path, predicted_path in track(pairs, "scoring", console=console, transient=True):
        true, predicted = _read_mask(true_path), _read_mask(predicted_path)
        try:
            confusion += confusion_matrix(true, predicted, chosen.num_classes)
            boundary += boundary_confusion(true, predicted, chosen.num_classes)
        except UserError as error:
            raise UserError(f"{predicted_path} against {true_path}: {error}") from None

    result = scores(confusion, chosen, boundary)
    values = _to_json(result) | {"images": len(pairs)}
    _print(result, chosen, len(pairs), console)
    return values


def parse_categories(categories: str, strong: str) -> Categories:
    """Categories from the command line's two texts; a leading "background" may be written or left out."""
    if categories in VOC_SPLITS:
        known = named_split(categories)
    else:
        names = _split(categories)
        if len(names) == 1:
            raise UserError(
                f"--categories {categories}: not a split ({', '.join(VOC_SPLITS)}); "
                f"if it is your only category, write background,{names[0]}"
            )
        known = from_lists([], names[1:] if names[:1] == ["background"] else names)
    if not strong:
        return known
    chosen = Categories(known.foreground, tuple(dict.fromkeys(_split(strong))))
    for name in chosen.strong:
        known.id_of(name)
    return chosen


def _split(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _pairs(truth: Path, prediction: Path) -> list[tuple[Path, Path]]:
    names = [path.name for path in _pngs(truth)]
    found = {path.name for path in _pngs(prediction)}
    missing = [name for name in names if name not in found]
    if len(missing) == len(names):
        raise UserError(f"{prediction}: no file has the name of a mask in {truth} (the first is {names[0]})")
    if missing:
        raise UserError(
            f"{prediction / missing[0]}: missing; {len(missing)} of {len(names)} masks in {truth} have no prediction"
        )
    return [(truth / name, prediction / name) for name in names]


def _pngs(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    paths = sorted(folder.glob("*.png"))
    if not paths:
        raise UserError(f"{folder}: holds no .png file; give a folder of masks")
    return paths


def _read_mask(path: Path) -> np.ndarray:
    """uint8 [H, W] of ids."""
    try:
        with Image.open(path) as image:
            mode, ids = image.mode, np.array(image)
    except Exception as error:  # Pillow raises many kinds on damaged files
        raise UserError(f"{path}: not a readable PNG ({' '.join(str(error).split())})") from None
    if mode not in ("P", "L"):
        raise UserError(f"{path}: is a {mode} image; masks are palette or 8-bit grey PNGs of category ids")
    return ids


def _to_json(result: Scores) -> dict:
    def known(value: float) -> float | None:
        return None if math.isnan(value) else value

    names = ("miou", "strong_miou", "weak_miou", "boundary_miou", "pixel_accuracy")
    return {name: known(getattr(result, name)) for name in names} | {
        "per_class": {name: known(value) for name, value in result.per_class.items()}
    }


def _print(result: Scores, categories: Categories, images: int, console: Console) -> None:
    table = Table(title=f"IoU over {images} images", title_justify="left")
    table.add_column("category")
    table.add_column("supervision")
    table.add_column("IoU", justify="right")
    for name, value in result.per_class.items():
        kind = "" if name == "background" else "strong" if name in categories.strong else "weak"
        table.add_row(name, kind, _percent(value))
    table.add_section()
    table.add_row("strong mean", "", _percent(result.strong_miou))
    table.add_row("weak mean", "", _percent(result.weak_miou))
    table.add_row("mean", "", _percent(result.miou), style="bold")
    table.add_row("mean near outlines", "", _percent(result.boundary_miou))
    table.add_row("pixel accuracy", "", _percent(result.pixel_accuracy))
    console.print(table)


def _percent(value: float) -> str:
    return "n/a" if math.isnan(value) else f"{100 * value:.1f}"
