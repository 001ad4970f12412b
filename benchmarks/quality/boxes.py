"""Boxes of images whose masks are held back: what people would draw around the objects, as far as masks can tell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainer.data.boxes import TagBox, pixels_of
from trainer.data.instances import instances

_LEAST = 100  # pixels: nobody draws a box around less, unless it is all there is of a category


def boxes_in(truth: np.ndarray, one_a_tag: bool = False) -> list[TagBox]:
    """The boxes around the connected regions of a mask (VOC's void borders part objects that touch).

    Args:
      truth: uint8 [H, W] of ids.
      one_a_tag: instead one box around all of a category, as of a person in a hurry.
    """
    found = [one.box for one in instances(truth, 1 if one_a_tag else _LEAST)]
    if not one_a_tag:
        return found
    corners = {tag: np.array([box.corners for box in found if box.tag == tag]) for tag in {box.tag for box in found}}
    return [TagBox(tag, *own.min(0)[:2].tolist(), *own.max(0)[2:].tolist()) for tag, own in sorted(corners.items())]


def boxes_filled(truth: np.ndarray, boxes: Sequence[TagBox]) -> np.ndarray:
    """uint8 [H, W]: every box full of its tag, small ones on top: what boxes are worth without any method."""
    mask = np.zeros_like(truth)
    for box in sorted(boxes, key=lambda box: -(box.x2 - box.x1) * (box.y2 - box.y1)):
        mask[pixels_of(box, truth.shape)] = box.tag
    return mask
