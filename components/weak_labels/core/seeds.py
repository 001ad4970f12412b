"""Which superpixels are sure enough to start the diffusion."""

import numpy as np

from components.weak_labels.core.label_config import LabelConfig


def find_seeds(activations: np.ndarray, objectness: np.ndarray, settings: LabelConfig) -> np.ndarray:
    """Seeds of every tag and of background; a superpixel seeds one label at most.

    A tag's seeds are the superpixels whose activation reaches `seed_threshold` of the tag's hottest one; where tags
    compete, the relatively hotter one wins. Background's seeds are neither object-like nor active for any tag.

    Args:
      activations: float [N, K], mean activation of each tag, 0..1.
      objectness: float [N], mean of L-Net's map, 0..1.
      settings: seed_threshold; background_seed and background_activation, below which objectness and every activation
        must lie.

    Returns:
      bool [N, K + 1], background last. A tag whose map is all zero has no seed.
    """
    hottest = activations.max(0)
    relative = activations / np.where(hottest > 0, hottest, 1)
    best = relative.max(1, initial=0)
    winner = relative == best[:, None]
    winner &= winner.cumsum(1) == 1  # of equals the first
    tags = winner & (relative >= settings.seed_threshold)
    cold = activations.max(1, initial=0) < settings.background_activation
    dull = (objectness < settings.background_seed) & cold & ~tags.any(1)
    return np.column_stack([tags, dull])
