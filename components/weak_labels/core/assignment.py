"""From diffused values to labels: the tag with the larger q (paper, below Eq. 2), the background rule and the band."""

from collections.abc import Sequence

import numpy as np

from components.weak_labels.core.boxed import BoxRegions, box_scores
from components.weak_labels.core.label_config import LabelConfig
from trainer.data.categories import BACKGROUND, VOID


def assign(q: np.ndarray, objectness: np.ndarray, tags: Sequence[int], settings: LabelConfig) -> np.ndarray:
    """Labels every superpixel.

    The paper does not say how background is found. Here it is one more label of the diffusion, and a superpixel's
    foreground score joins what the diffusion says with what L-Net says: w M + (1 - w) q_c / (q_c + q_0), c the best
    tag. Either alone is a special case: w = 0 with cut .5 is the larger q, w = 1 a threshold on M.

    Args:
      q: float [N, K + 1], background last.
      objectness: float [N], 0..1.
      tags: K >= 1 category ids.
      settings: objectness_weight w, background_cut, ignore_band.

    Returns:
      uint8 [N]: a tag, 0 for background, 255 within the ignore band.
    """
    best, score = foreground_scores(q, objectness, settings.objectness_weight)
    reached = q[:, :-1].max(1) > 0
    labels = np.asarray(tags, np.uint8)[best]
    labels[(score < settings.background_cut) | ~reached] = BACKGROUND
    labels[(np.abs(score - settings.background_cut) < settings.ignore_band) & reached] = VOID
    return labels


def assign_boxed(
    q: np.ndarray,
    objectness: np.ndarray,
    lab: np.ndarray,
    boxes: BoxRegions,
    tags: Sequence[int],
    settings: LabelConfig,
) -> np.ndarray:
    """Labels every superpixel of an image with boxes.

    A tag with boxes needs a score of one half in one of them (`box_scores`), another one is judged as in `assign`. A
    box that comes out without its tag gets the superpixel where that is likeliest.

    Args, Returns: as `assign`; lab: float [N, 3], mean CIELAB in 0..1.
    """
    number = len(tags)
    own = np.where(boxes.allowed(number), q[:, :-1], 0.0)
    share = own / np.where(own + q[:, -1:] > 0, own + q[:, -1:], 1)
    in_boxes = box_scores(boxes, lab, share[:, boxes.tags])
    weight = settings.objectness_weight
    above = weight * objectness[:, None] + (1 - weight) * share - settings.background_cut
    for tag in set(boxes.tags.tolist()):
        above[:, tag] = in_boxes[:, boxes.tags == tag].max(1) - 0.5
    best = own.argmax(1)
    chosen, reached = above[np.arange(len(best)), best], own.max(1) > 0
    labels = np.asarray(tags, np.uint8)[best]
    labels[(chosen < 0) | ~reached] = BACKGROUND
    labels[(np.abs(chosen) < settings.ignore_band) & reached] = VOID
    for inside, score, tag in zip(boxes.inside.T, in_boxes.T, boxes.tags, strict=True):
        if not (labels[inside] == tags[tag]).any():
            labels[score.argmax()] = tags[tag]
    return labels


def foreground_scores(
    q: np.ndarray, objectness: np.ndarray, weight: float | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The best tag's index, int [N], and the foreground score, float [N] in 0..1; weights [W, 1] give [W, N]."""
    best, background = q[:, :-1].max(1), q[:, -1]
    share = best / np.where(best + background > 0, best + background, 1)
    return q[:, :-1].argmax(1), weight * objectness + (1 - weight) * share


def margin(q: np.ndarray) -> np.ndarray:
    """Best less second-best q of every superpixel: float [N, K + 1] with K >= 1 -> float [N] in 0..1."""
    ordered = np.sort(q, 1)
    return ordered[:, -1] - ordered[:, -2]
