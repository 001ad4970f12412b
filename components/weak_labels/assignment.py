"""From diffused values to labels: the tag with the larger q (paper, below Eq. 2), the background rule and the band."""

from collections.abc import Sequence

import numpy as np

from components.weak_labels.settings import LabelSettings
from trainer.categories import BACKGROUND, VOID


def assign(q: np.ndarray, objectness: np.ndarray, tags: Sequence[int], settings: LabelSettings) -> np.ndarray:
    """Labels every superpixel.

    The paper leaves background open. Here it is one more label of the diffusion, and a superpixel's foreground score
    joins what the diffusion says with what L-Net says: w M + (1 - w) q_c / (q_c + q_0), c the best tag. Either alone is
    a special case: w = 0 with cut .5 is the larger q, w = 1 a threshold on M.

    Args:
      q: float [N, K + 1], background last.
      objectness: float [N], 0..1.
      tags: K >= 1 category ids.
      settings: objectness_weight w, background_cut, ignore_band.

    Returns:
      uint8 [N]: a tag, 0 for background, 255 within the ignore band.
    """
    best, background = q[:, :-1].max(1), q[:, -1]
    share = best / np.where(best + background > 0, best + background, 1)
    score = settings.objectness_weight * objectness + (1 - settings.objectness_weight) * share
    labels = np.asarray(tags, np.uint8)[q[:, :-1].argmax(1)]
    labels[(score < settings.background_cut) | (best == 0)] = BACKGROUND
    labels[(np.abs(score - settings.background_cut) < settings.ignore_band) & (best > 0)] = VOID
    return labels


def margin(q: np.ndarray) -> np.ndarray:
    """Best less second-best q of every superpixel: float [N, K + 1] with K >= 1 -> float [N] in 0..1."""
    ordered = np.sort(q, 1)
    return ordered[:, -1] - ordered[:, -2]
