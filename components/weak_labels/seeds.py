"""Which superpixels are sure enough to start the diffusion."""

import numpy as np


def find_seeds(activations: np.ndarray, objectness: np.ndarray, threshold: float, background: float) -> np.ndarray:
    """Seeds of every tag and of background; a superpixel seeds one label at most.

    A tag's seeds are the superpixels whose activation reaches `threshold` of the tag's hottest one; where tags compete,
    the relatively hotter one wins. Background's seeds are neither object-like nor active for any tag.

    Args:
      activations: float [N, K], mean activation of each tag, 0..1.
      objectness: float [N], mean of L-Net's map, 0..1.
      threshold: 0..1.
      background: 0..1, below which objectness and all activations must lie.

    Returns:
      bool [N, K + 1], background last. A tag whose map is all zero has no seed.
    """
    hottest = activations.max(0)
    relative = activations / np.where(hottest > 0, hottest, 1)
    best = relative.max(1, initial=0)
    winner = relative == best[:, None]
    winner &= winner.cumsum(1) == 1  # of equals the first
    tags = winner & (relative >= threshold)
    dull = (objectness < background) & (activations.max(1, initial=0) < background) & ~tags.any(1)
    return np.column_stack([tags, dull])
