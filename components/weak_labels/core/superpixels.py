"""Superpixels: SLIC (Achanta et al. 2012) as batched matrix products.

The image is cut into rows x columns cells, each the start of one superpixel, and a pixel may only join the nine around
its cell. Hence all distances of an image are one batched product [cells, 9, 6] @ [cells, 6, pixels]. Cluster centres
are found on a coarse copy, pixels are assigned once on a finer one. Fragments are not merged: the region graph needs
no connected regions, and achievable accuracy is the better for it.
"""

import cv2
import numpy as np

# Open values, chosen on real masks: achievable segmentation accuracy against time (docs of benchmarks/labels_core.py).
COARSE, FINE = 8, 16  # pixels along a cell
ITERATIONS = 5

_OFFSETS = [(0, 0)] + [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]
_FAR = np.float32(1e30)  # further than any colour; with infinity, products warn of what is not a number
# OpenCV's 8-bit CIELAB holds L * 255 / 100, a + 128, b + 128; SLIC's compactness is defined on L in 0..100.
_LAB_SCALE = np.array([100 / 255, 1, 1], np.float32)


def segment(image: np.ndarray, count: int, compactness: float, method: str = "cells") -> tuple[np.ndarray, np.ndarray]:
    """Superpixels by a method of LabelConfig.superpixel_method; arguments and answer as `superpixels`.

    scikit-image's get the image at the same working resolution: time and memory stay bounded on large pictures.
    """
    if method == "cells":
        return superpixels(image, count, compactness)
    from skimage.segmentation import felzenszwalb, slic  # half a second that only these methods cost

    rows, columns = _cells(*image.shape[:2], count)
    working = _resized(image, rows, columns, FINE)
    lab = cv2.cvtColor(working, cv2.COLOR_RGB2LAB).astype(np.float32) / 255
    cell = working.shape[0] * working.shape[1] / count  # pixels of a superpixel of mean size
    if method == "slic":
        labels = slic(working, count, compactness=compactness, start_label=0)
    else:  # its scale weighs size against contrast in 0..1; our choice
        labels = felzenszwalb(working, scale=cell / 2, sigma=0.8, min_size=max(1, int(cell / 3)))
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape), lab


def superpixels(image: np.ndarray, count: int, compactness: float) -> tuple[np.ndarray, np.ndarray]:
    """Segments an image at a working resolution of at most 16 x 16 pixels a superpixel.

    Args:
      image: uint8 [H, W, 3] RGB, any size from 1 x 1.
      count: superpixels aimed at; fewer if the image has fewer pixels or clusters die out.
      compactness: weight of position against colour, as in skimage.segmentation.slic.

    Returns:
      (int64 [h, w] labels 0..N-1, each used; float32 [h, w, 3] CIELAB in 0..1), both spanning the whole image.
    """
    rows, columns = _cells(*image.shape[:2], count)
    candidates, outside = _candidates(rows, columns)
    shift = np.float32(compactness) * np.array(_OFFSETS, np.float32)  # of a candidate's cell against the pixel's own
    working = _resized(image, rows, columns, FINE)
    coarse, _ = _pixels(_resized(working, rows, columns, COARSE), rows, columns, compactness)
    centres = coarse[:, :5].mean(2)
    for _ in range(ITERATIONS):
        centres = _update(coarse, _nearest(coarse, centres, candidates, outside, shift), candidates, shift, centres)
    fine, lab = _pixels(working, rows, columns, compactness)
    chosen = _nearest(fine, centres, candidates, outside, shift)
    blocks = np.take_along_axis(candidates, chosen, 1)
    height, width = lab.shape[:2]
    labels = blocks.reshape(rows, columns, height // rows, width // columns).swapaxes(1, 2).reshape(height, width)
    used = np.bincount(labels.ravel(), minlength=rows * columns) > 0
    return (np.cumsum(used) - 1)[labels], lab


def _cells(height: int, width: int, count: int) -> tuple[int, int]:
    """Rows and columns of about `count` nearly square cells, none smaller than a pixel."""
    rows = int(np.clip(round((count * height / width) ** 0.5), 1, min(height, count)))
    return rows, int(np.clip(round(count / rows), 1, width))


def _candidates(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """int [n, 9]: the cells around each, itself first and in place of any outside; bool [n, 9]: which lie outside."""
    cell = np.arange(rows * columns)
    around = np.pad(cell.reshape(rows, columns), 1, constant_values=-1)
    near = np.stack([around[1 + y : 1 + y + rows, 1 + x : 1 + x + columns].ravel() for y, x in _OFFSETS], 1)
    return np.where(near < 0, cell[:, None], near), near < 0


def _resized(image: np.ndarray, rows: int, columns: int, side: int) -> np.ndarray:
    """The image at `side` pixels along a cell, or about its own resolution if that is lower: uint8 [h, w, 3]."""
    tall = min(side, max(1, round(image.shape[0] / rows)))
    wide = min(side, max(1, round(image.shape[1] / columns)))
    return cv2.resize(image, (columns * wide, rows * tall), interpolation=cv2.INTER_AREA)


def _pixels(image: np.ndarray, rows: int, columns: int, compactness: float) -> tuple[np.ndarray, np.ndarray]:
    """Pixel values, cell by cell, of an image whose sides are multiples of `rows` and `columns`.

    Returns:
      (float32 [n, 6, p]: L, a, b, y, x relative to the cell's middle, and 1 for each pixel; float32 [h, w, 3] CIELAB).
    """
    tall, wide = image.shape[0] // rows, image.shape[1] // columns
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32)
    pixels = np.ones((rows, columns, 6, tall, wide), np.float32)
    pixels[:, :, :3] = (lab * _LAB_SCALE).reshape(rows, tall, columns, wide, 3).transpose(0, 2, 4, 1, 3)
    pixels[:, :, 3] = (compactness * ((np.arange(tall) + 0.5) / tall - 0.5))[:, None]
    pixels[:, :, 4] = compactness * ((np.arange(wide) + 0.5) / wide - 0.5)
    return pixels.reshape(rows * columns, 6, tall * wide), lab / 255


def _nearest(
    pixels: np.ndarray, centres: np.ndarray, candidates: np.ndarray, outside: np.ndarray, shift: np.ndarray
) -> np.ndarray:
    """int [n, p]: which of its nine candidates each pixel is nearest to, by |c|^2 - 2 p.c (|p|^2 does not matter)."""
    around = centres[candidates]
    around[:, :, 3:] += shift
    squares = np.where(outside, _FAR, (around * around).sum(2))
    return (np.concatenate([-2 * around, squares[:, :, None]], 2) @ pixels).argmin(1)


def _update(
    pixels: np.ndarray, chosen: np.ndarray, candidates: np.ndarray, shift: np.ndarray, centres: np.ndarray
) -> np.ndarray:
    """float32 [n, 5]: the mean of each superpixel's pixels; one that lost all its pixels stays where it was."""
    labels = np.take_along_axis(candidates, chosen, 1).ravel()
    values = pixels[:, :5].swapaxes(0, 1).copy()
    values[3:] -= shift.T[:, chosen]
    sums = np.stack([np.bincount(labels, value.ravel(), len(centres)) for value in values], 1)
    counts = np.bincount(labels, minlength=len(centres))[:, None]
    return np.where(counts, sums / np.maximum(counts, 1), centres).astype(np.float32)
