"""L-Net on categories it has never seen, beside a box that needs no training and an L-Net that has seen them all."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from components.label_calibration.search import KnownImage
from trainer.data.categories import Categories

THRESHOLD = 0.5
BOX = (0.55, 0.7, 0.85)  # sides of the centre box, share of the image's; the best one is reported


def foreground_rows(images: Iterable[KnownImage], all_images: Iterable[KnownImage], categories: Categories) -> dict:
    """IoU of the foreground of weak categories over the images that show one, in 0..1.

    Pixels of strong categories are left out: finding them is no transfer.

    Args:
      images: with the objectness of the split's own L-Net.
      all_images: the same ones, with the objectness of the L-Net that was trained on all categories.
    """
    counts: dict[str, np.ndarray] = {}

    def add(name: str, prediction: np.ndarray, truth: np.ndarray, valid: np.ndarray) -> None:
        both, either = (prediction & truth & valid).sum(), ((prediction | truth) & valid).sum()
        counts[name] = counts.get(name, np.zeros(2)) + (both, either)

    number = 0
    for own, full in zip(images, all_images, strict=True):
        truth = np.isin(own.truth, categories.weak_ids)
        if not truth.any():
            continue
        number += 1
        valid = truth | (own.truth == 0)
        add("l_net", own.objectness >= THRESHOLD, truth, valid)
        add("all_categories", full.objectness >= THRESHOLD, truth, valid)
        add("everything", np.ones_like(truth), truth, valid)
        for share in BOX:
            add(f"box {share}", _box(truth.shape, share), truth, valid)
    iou = {name: float(both / either) for name, (both, either) in counts.items()}
    boxes = [iou.pop(f"box {share}") for share in BOX]
    return {
        "images": number,
        **iou,
        "centre_box": max(boxes),
        "l_net_over_all_categories": iou["l_net"] / iou["all_categories"],
    }


def _box(shape: tuple[int, int], share: float) -> np.ndarray:
    """bool [H, W], True in the centred box with `share` of each side."""
    inside = [np.abs((np.arange(side) + 0.5) / side - 0.5) < share / 2 for side in shape]
    return inside[0][:, None] & inside[1]
