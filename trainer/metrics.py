"""mIoU: counts first, formula second. Everything that scores masks goes through these functions."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from trainer.data.categories import VOID, Categories
from trainer.errors import UserError

BAND = 0.02  # of the image's diagonal, as in Cheng et al. 2021 (Boundary IoU)


@dataclass(frozen=True)
class Scores:
    """Scores in 0..1; nan stands for n/a (a class absent from truth and prediction, an empty set of classes).

    Attributes:
      per_class: IoU by name, background first.
      miou: mean over all classes with background, as PASCAL VOC reports it.
      strong_miou, weak_miou: means over the strong and the weak categories, without background.
      pixel_accuracy: right pixels / labelled pixels.
      boundary_miou: as miou, over the pixels of `boundary_band` alone: how sharp the outlines are.
    """

    per_class: dict[str, float]
    miou: float
    strong_miou: float
    weak_miou: float
    pixel_accuracy: float
    boundary_miou: float = float("nan")


def confusion_matrix(truth: np.ndarray, prediction: np.ndarray, num_classes: int) -> np.ndarray:
    """Pixel counts.

    Args:
      truth: integers, any shape: 0..C-1 or 255 (ignored).
      prediction: integers, same shape: 0..C-1 or 255; a void prediction counts as a miss in an extra column.
      num_classes: C.

    Returns:
      int64 [C, C + 1]: rows truth, columns prediction, the last column void predictions.

    Raises:
      UserError: shapes differ, or an id is no integer or out of range.
    """
    if truth.shape != prediction.shape:
        raise UserError(f"mask sizes differ: truth {truth.shape}, prediction {prediction.shape}")
    for name, ids in (("truth", truth), ("prediction", prediction)):
        if ids.dtype.kind not in "iub":
            raise UserError(f"{name} mask holds {ids.dtype}, must be integers")
        wrong = (ids >= num_classes) & (ids != VOID)
        bad = ids[wrong | (ids < 0) if ids.dtype.kind == "i" else wrong]
        if bad.size:
            raise UserError(
                f"{name} mask holds id {int(bad.flat[0])}; ids are 0..{num_classes - 1} and {VOID} for void"
            )
    labelled = truth != VOID
    rows = truth[labelled].astype(np.int64)
    columns = np.minimum(prediction[labelled], num_classes).astype(np.int64)
    return np.bincount(rows * (num_classes + 1) + columns, minlength=num_classes * (num_classes + 1)).reshape(
        num_classes, num_classes + 1
    )


def boundary_band(truth: np.ndarray) -> np.ndarray:
    """Where a mask's outlines are: pixels within `BAND` of the diagonal (along rows and columns) of a change of id.

    The void rings that VOC draws around objects are ids too, so both of their sides count as outlines.

    Args:
      truth: uint8 [H, W].

    Returns:
      bool [H, W].
    """
    edge = np.zeros(truth.shape, np.uint8)
    across, down = truth[:, 1:] != truth[:, :-1], truth[1:] != truth[:-1]
    for part, change in ((edge[:, 1:], across), (edge[:, :-1], across), (edge[1:], down), (edge[:-1], down)):
        part |= change
    radius = band_radius(*truth.shape)
    return cv2.dilate(edge, np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)) > 0


def band_radius(height: int, width: int) -> int:
    """Pixels, at least 1."""
    return max(1, int(BAND * np.sqrt(height * height + width * width) + 0.5))


def boundary_confusion(truth: np.ndarray, prediction: np.ndarray, num_classes: int) -> np.ndarray:
    """`confusion_matrix` of the pixels in `boundary_band`."""
    return confusion_matrix(np.where(boundary_band(truth), truth, VOID), prediction, num_classes)


def scores(confusion: np.ndarray, categories: Categories, boundary: np.ndarray | None = None) -> Scores:
    """The formula over counts of `confusion_matrix` ([C, C + 1], or [C, C] without void predictions).

    `boundary` holds the counts of `boundary_confusion`, for boundary_miou.
    """
    confusion = np.asarray(confusion, np.int64)
    iou = class_iou(confusion)
    total = confusion.sum()
    return Scores(
        per_class={name: float(value) for name, value in zip(categories.names, iou, strict=True)},
        miou=mean_iou(iou),
        strong_miou=mean_iou(iou[list(categories.strong_ids)]),
        weak_miou=mean_iou(iou[list(categories.weak_ids)]),
        pixel_accuracy=float(np.trace(confusion) / total) if total else float("nan"),
        boundary_miou=mean_iou(class_iou(np.asarray(boundary, np.int64))) if boundary is not None else float("nan"),
    )


def score_masks(pairs: Iterable[tuple[np.ndarray, np.ndarray]], categories: Categories) -> Scores:
    """Scores predicted masks over all pixels of all images together.

    Args:
      pairs: (truth, prediction) of each image, integers [H, W]: ids 0..C-1 and 255. Where the truth is 255 nothing
        counts; a prediction of 255 is a miss.
      categories: of the ids.

    Raises:
      UserError: there is no pair, sizes differ, or an id is out of range; names the pair's number.
    """
    counts = np.zeros((2, categories.num_classes, categories.num_classes + 1), np.int64)
    number = -1
    for number, (truth, prediction) in enumerate(pairs):
        truth, prediction = np.asarray(truth), np.asarray(prediction)
        try:
            if truth.ndim != 2 or not truth.size:
                raise UserError(f"masks must be [H, W], not {list(truth.shape)}")
            counts[0] += confusion_matrix(truth, prediction, categories.num_classes)
            counts[1] += boundary_confusion(truth, prediction, categories.num_classes)
        except UserError as error:
            raise UserError(f"pair {number}: {error}") from None
    if number < 0:
        raise UserError("no pair of masks to score")
    return scores(counts[0], categories, counts[1])


def class_iou(confusion: np.ndarray) -> np.ndarray:
    """IoU of every class, float64 [C], nan where absent, from counts as for `scores`."""
    square = confusion[:, : len(confusion)]
    hits = np.diag(square).astype(np.float64)
    union = confusion.sum(axis=1) + square.sum(axis=0) - hits
    return np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0)


def mean_iou(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def known(value: float) -> float | None:
    """A score as JSON has it: None for nan, which JSON has not got."""
    return None if math.isnan(value) else float(value)
