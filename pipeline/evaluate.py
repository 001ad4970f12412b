"""`transferseg evaluate`: scores a folder of predicted masks against a folder of true ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import track

from components.beam_masks.output import SUMMARY
from components.image_example_gen import voc
from pipeline.report.templates import iou_table
from trainer.data.categories import BACKGROUND, VOC_SPLITS, VOID, Categories, from_lists, named_split
from trainer.data.category_names import names_by_id, order_fault, read_names
from trainer.data.files import read_bytes, read_json
from trainer.data.masks import are_binary, read_mask
from trainer.data.names import MASK_SUFFIXES, Pictures, suffix_of
from trainer.errors import ImageFault, UserError, shown, some
from trainer.metrics import Scores, boundary_confusion, confusion_matrix, known, scores

_CATEGORY = 1  # the id of an only category
_NAMED = 5  # our choice: files that are written out

Read = Callable[[Path], np.ndarray]


def evaluate_folders(truth: Path, prediction: Path, categories: str, strong: str, console: Console) -> dict:
    """Scores every mask of `truth` against that of the same name in `prediction`, over all pixels that are not void.

    Args:
      truth: folder of masks as trainer.data.masks reads them. It decides which files count.
      prediction: folder of predicted masks of the same sizes; a pixel predicted void is a miss.
      categories: a split's name, or the foreground names by id, comma-separated.
      strong: comma-separated names of the strong categories; empty means those of the split, or none.
      console: gets the table, and a line on whatever may make the scores other than expected.

    Returns:
      miou, strong_miou, weak_miou, boundary_miou, pixel_accuracy (0..1, None for n/a),
      per_class (name -> IoU), images (number of masks scored), notes (the lines).

    Raises:
      UserError: unknown category; a file beside the masks gives their ids another order; no masks; masks without a
        prediction; files that are no mask, have another size or ids out of range. The message names the files.
    """
    chosen = parse_categories(categories, strong)
    _check_order(chosen, truth, prediction)
    pairs, notes = _pairs(truth, prediction)
    read_truth = _reader(chosen, [true for true, _ in pairs], "true", notes)
    read_prediction = _reader(chosen, [predicted for _, predicted in pairs], "predicted", notes)
    confusion, boundary = np.zeros((2, chosen.num_classes, chosen.num_classes + 1), np.int64)
    faults, void, all_void = [], 0.0, 0
    for true_path, predicted_path in track(pairs, "scoring", console=console, transient=True):
        try:
            true, predicted = read_truth(true_path), read_prediction(predicted_path)
        except UserError as error:
            faults.append(str(error))
            continue
        try:
            confusion += confusion_matrix(true, predicted, chosen.num_classes)
            boundary += boundary_confusion(true, predicted, chosen.num_classes)
        except UserError as error:
            faults.append(f"{predicted_path} against {true_path}: {error}")
            continue
        share = float(np.mean(true == VOID))
        void, all_void = void + share, all_void + (share == 1)
    if faults:
        raise UserError(some(faults))
    if all_void:
        notes.append(f"{all_void} of {len(pairs)} true masks are void (255) everywhere: nothing of them counts")
    if not confusion[BACKGROUND + 1 :].any():
        notes.append(
            f"no pixel of the true masks is of a category ({100 * void / len(pairs):.1f} % are void, 255): the scores "
            "are of background alone"
        )
    result = scores(confusion, chosen, boundary)
    _print(result, chosen, len(pairs), notes, console)
    return _to_json(result) | {"images": len(pairs), "notes": notes}


def _check_order(chosen: Categories, truth: Path, prediction: Path) -> None:
    """By what a dataset says beside its true masks, and `predict` and `label` beside theirs."""
    said: dict[Path, list[str]] = {}
    for path in (truth / voc.CATEGORIES, truth.parent / voc.CATEGORIES):
        if path.is_file():
            said[path] = read_names(path)
    with suppress(UserError, OSError, KeyError, TypeError):  # another's summary.json
        names = read_json(prediction / SUMMARY, "our own")["categories"]
        said[prediction / SUMMARY] = names[1:] if all(isinstance(name, str) for name in names) else []
    for path, names in said.items():
        if fault := order_fault(chosen.foreground, names, path):
            raise UserError(f"--categories: {fault}; give all names in that order: {','.join(names)}")


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
        known = from_lists([], names_by_id(names, "--categories"))
    if not strong:
        return known
    chosen = Categories(known.foreground, tuple(dict.fromkeys(_split(strong))))
    for name in chosen.strong:
        known.id_of(name)
    return chosen


def _split(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _pairs(truth: Path, prediction: Path) -> tuple[list[tuple[Path, Path]], list[str]]:
    """(true mask, its prediction) for each; a line on files that are no masks by their names."""
    names, others = _masks(truth)
    predicted = Pictures(_masks(prediction)[0])
    found: dict[str, str] = {}
    faults = []
    for name in names:
        try:
            match = predicted.find(name)
            if match in found:
                raise ImageFault("read", f"'{shown(name)}' and '{shown(found[match])}' both mean '{shown(match)}'")
            found[match] = name
        except ImageFault as fault:
            faults.append(str(fault))
    if faults:
        raise UserError(
            f"{prediction}: {len(faults)} of {len(names)} masks in {truth} have no prediction: {some(faults)}"
        )
    notes = [f"{truth}: not scored, no masks by their names: {', '.join(others[:_NAMED])}"] if others else []
    return [(truth / name, prediction / match) for match, name in found.items()], notes


def _masks(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the files in a folder that are masks by their suffix, and of the others; hidden ones left out."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    masks = [name for name in names if suffix_of(name, MASK_SUFFIXES)]
    if not masks:
        raise UserError(f"{folder}: holds no mask ({', '.join(MASK_SUFFIXES)}); give a folder of masks")
    return masks, [shown(name) for name in names if not suffix_of(name, MASK_SUFFIXES)]


def _reader(categories: Categories, paths: Sequence[Path], kind: str, notes: list[str]) -> Read:
    """What reads a mask. With one category, masks of 0 and 255 alone are read as showing it, and a note says so."""

    def read(path: Path) -> np.ndarray:
        try:
            return read_mask(read_bytes(path), len(categories.foreground))
        except ImageFault as fault:
            raise UserError(f"{shown(str(path))}: {fault}") from None

    def read_binary(path: Path) -> np.ndarray:
        mask = read(path)
        return np.where(mask == VOID, np.uint8(_CATEGORY), mask)

    if len(categories.foreground) > 1 or not are_binary(paths):
        return read
    notes.append(
        f"the {kind} masks hold 0 and 255 alone: 255 is read as {categories.foreground[0]}, not as void; "
        "if it is void, these masks show no category"
    )
    return read_binary


def _to_json(result: Scores) -> dict:
    names = ("miou", "strong_miou", "weak_miou", "boundary_miou", "pixel_accuracy")
    return {name: known(getattr(result, name)) for name in names} | {
        "per_class": {name: known(value) for name, value in result.per_class.items()}
    }


def _print(result: Scores, categories: Categories, images: int, notes: Sequence[str], console: Console) -> None:
    means = {"mean": result.miou, "mean near outlines": result.boundary_miou, "pixel accuracy": result.pixel_accuracy}
    if categories.strong:
        means = {"mean of those with masks": result.strong_miou, "mean of those with tags": result.weak_miou} | means
    console.print(iou_table(f"IoU over {images} images", categories, {"IoU": (result.per_class, means)}))
    for note in notes:
        console.print(escape(note), soft_wrap=True)
