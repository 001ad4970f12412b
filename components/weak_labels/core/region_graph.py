"""The graph of superpixels: node features, which superpixels are linked, how strongly (paper, Eq. 2)."""

import numpy as np


def region_means(labels: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Mean of every map over every superpixel: int [h, w] labels 0..N-1, float [h, w, K] -> float64 [N, K]."""
    flat = labels.ravel()
    counts = np.bincount(flat)
    sums = [np.bincount(flat, maps[..., k].ravel(), len(counts)) for k in range(maps.shape[2])]
    return np.reshape(sums, (maps.shape[2], len(counts))).T / counts[:, None]


def adjacency(labels: np.ndarray, second_neighbours: bool, border_links: bool) -> np.ndarray:
    """Which superpixels are linked: those that share a pixel edge, and by choice more (Kong et al. 2016).

    Args:
      labels: int [h, w], 0..N-1.
      second_neighbours: link neighbours of neighbours too.
      border_links: link all superpixels that touch the image border with each other.

    Returns:
      bool [N, N], symmetric, diagonal False.
    """
    count = labels.max() + 1
    linked = np.zeros((count, count), bool)
    linked[labels[:, 1:], labels[:, :-1]] = True
    linked[labels[1:], labels[:-1]] = True
    linked |= linked.T
    if second_neighbours:
        links = linked.astype(np.float32)
        linked |= links @ links > 0
    if border_links:
        border = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
        linked[np.ix_(border, border)] = True
    np.fill_diagonal(linked, False)
    return linked


def edge_weights(features: np.ndarray, linked: np.ndarray, sigma: float) -> np.ndarray:
    """z_ij = exp(-||F_i - F_j|| / (2 sigma^2)) on edges, 0 elsewhere (paper, below Eq. 2: the norm is not squared).

    Args:
      features: float [N, 4], mean CIELAB in 0..1 and mean objectness.
      linked: bool [N, N].
      sigma: > 0.

    Returns:
      float64 [N, N], symmetric, 0..1.
    """
    squared = sum(np.subtract.outer(column, column) ** 2 for column in features.T)
    return np.exp(np.sqrt(squared) / (-2 * sigma**2)) * linked
