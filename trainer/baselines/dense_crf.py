"""Fully connected CRF (Krähenbühl and Koltun 2011), the usual post-processing of segmentations; paper, Table 3.

Mean-field inference with a Potts model and two Gaussian kernels, filtered on the permutohedral lattice (Adams et al.
2010). The packages that did this no longer build; here splatting is a sparse matrix and blurring a gather.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse

_EPSILON = 1e-20
# DeepLab's weights, standard deviations (pixels, and levels of 0..255) and iterations.
BILATERAL_WEIGHT, BILATERAL_XY, BILATERAL_RGB = 4.0, 121.0, 5.0
SPATIAL_WEIGHT, SPATIAL_XY = 3.0, 3.0
ITERATIONS = 10


def dense_crf(image: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Refines the class probabilities of an image's pixels.

    Args:
      image: uint8 [H, W, 3] RGB.
      probabilities: float [H, W, C], each pixel's sum to 1.

    Returns:
      float32 [H, W, C], likewise.
    """
    height, width, classes = probabilities.shape
    places = np.indices((height, width)).reshape(2, -1).T.astype(np.float32)
    colours = image.reshape(-1, 3).astype(np.float32)
    bilateral = np.hstack([places / BILATERAL_XY, colours / BILATERAL_RGB])
    kernels = [
        (BILATERAL_WEIGHT, _Normalised(Lattice(bilateral))),
        (SPATIAL_WEIGHT, _Normalised(Lattice(places / SPATIAL_XY))),
    ]
    unary = np.log(np.maximum(probabilities.reshape(-1, classes), _EPSILON)).astype(np.float32)
    q = probabilities.reshape(-1, classes).astype(np.float32)
    for _ in range(ITERATIONS):
        scores = unary + sum(weight * kernel(q) for weight, kernel in kernels)
        scores = np.exp(scores - scores.max(1, keepdims=True))
        q = scores / scores.sum(1, keepdims=True)
    return q.reshape(height, width, classes)


class _Normalised:
    """A filter made symmetric: divided by the square roots of what it makes of ones, before and after."""

    def __init__(self, lattice: Lattice):
        self._lattice = lattice
        ones = lattice(np.ones((lattice.points, 1), np.float32))
        self._norm = 1.0 / np.sqrt(ones + _EPSILON)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        return self._norm * self._lattice(self._norm * values)


class Lattice:
    """Gaussian filter (standard deviation 1) over scattered points, in time linear in their number.

    Each point is written to the d + 1 corners of its simplex, the corners are blurred along each axis of the lattice,
    and read back with the same weights.
    """

    def __init__(self, features: np.ndarray):
        """`features`: float [N, d]."""
        self.points, dimensions = features.shape
        corners, weights = _simplices(features.astype(np.float64))
        packed, radices = _pack(corners.reshape(-1, dimensions))
        nodes, index = np.unique(packed, return_inverse=True)
        rows = index.reshape(self.points, dimensions + 1)
        columns = np.repeat(np.arange(self.points), dimensions + 1)
        self._splat = scipy.sparse.csr_matrix(
            (weights.astype(np.float32).ravel(), (rows.ravel(), columns)), (len(nodes), self.points)
        )
        self._slice = self._splat.T.tocsr()
        self._neighbours = [_find(nodes, step) for step in _steps(dimensions, radices)]
        self._scale = np.float32(1 / (1 + 2.0**-dimensions))

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """float32 [N, C] -> float32 [N, C]."""
        nodes = self._splat @ values
        nodes = np.vstack([nodes, np.zeros((1, nodes.shape[1]), np.float32)])  # row -1: what lies outside
        for forward, backward in self._neighbours:
            nodes[:-1] += np.float32(0.5) * (nodes[forward] + nodes[backward])
        return self._scale * (self._slice @ nodes[:-1])


def _simplices(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float [N, d] -> corners of each point's simplex, int64 [N, d + 1, d], and weights, float [N, d + 1], sum 1."""
    number, d = features.shape
    scaled = features * (np.sqrt(2 / 3) * (d + 1) / np.sqrt(np.arange(1, d + 1) * np.arange(2, d + 2)))
    # Onto the plane in d + 1 dimensions whose coordinates add up to 0.
    tails = np.cumsum(scaled[:, ::-1], 1)[:, ::-1]
    elevated = np.hstack([tails, np.zeros((number, 1))])
    elevated[:, 1:] -= np.arange(1, d + 1) * scaled

    nearest = np.round(elevated / (d + 1)) * (d + 1)
    excess = np.round(nearest.sum(1) / (d + 1)).astype(np.int64)
    offsets = elevated - nearest
    rank = np.argsort(np.argsort(-offsets, 1, "stable"), 1) + excess[:, None]
    nearest += (d + 1) * ((rank < 0).astype(int) - (rank > d))
    rank += (d + 1) * ((rank < 0).astype(int) - (rank > d))

    weights = np.zeros((number, d + 2))
    parts = (elevated - nearest) / (d + 1)
    np.put_along_axis(weights, d - rank, parts, 1)
    shifted = np.zeros_like(weights)
    np.put_along_axis(shifted, d + 1 - rank, parts, 1)
    weights -= shifted
    weights[:, 0] += 1 + weights[:, -1]

    remainders = np.arange(d + 1)[:, None]
    canonical = np.where(np.arange(d + 1) <= d - remainders, remainders, remainders - (d + 1))
    corners = nearest[:, None, :d] + canonical[:, rank[:, :d]].transpose(1, 0, 2)
    return corners.astype(np.int64), weights[:, :-1]


def _pack(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int64 [M, d] -> one int64 for each row, and the factors: packed = (row - lowest) @ factors, with a margin."""
    margin = keys.shape[1] + 1  # neighbours lie up to d further
    low, high = keys.min(0) - margin, keys.max(0) + margin
    sizes = high - low + 1
    radices = np.concatenate([[1], np.cumprod(sizes[:-1])])
    return (keys - low) @ radices, radices


def _steps(dimensions: int, radices: np.ndarray) -> list[int]:
    """How a node's packed key changes to its neighbour along each of the d + 1 axes."""
    moves = np.ones((dimensions + 1, dimensions), np.int64)
    moves[np.arange(dimensions), np.arange(dimensions)] = -dimensions
    return (moves @ radices).tolist()


def _find(nodes: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of each node's two neighbours, -1 where there is none."""
    found = []
    for wanted in (nodes + step, nodes - step):
        place = np.minimum(np.searchsorted(nodes, wanted), len(nodes) - 1)
        found.append(np.where(nodes[place] == wanted, place, -1))
    return found[0], found[1]
