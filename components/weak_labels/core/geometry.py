"""Network grid to image pixels in numpy: trainer.data's preprocessing and orientation without TensorFlow."""

import numpy as np

from trainer.data import keys
from trainer.data.pictures import stored_pixels


def grid_to_image(grid: np.ndarray, valid: tuple[int, int], image_size: int, size: tuple[int, int]) -> np.ndarray:
    """Resamples a network's prediction onto the image: bilinear, aligned with both grids, edge values repeated.

    Args:
      grid: float32 [g, g, K], the prediction for the padded S x S input; cell i lies on pixel i * (S - 1) / (g - 1).
      valid: h, w of the image inside the input.
      image_size: S.
      size: H, W of the prediction: the image's own, or less to save memory (`label_image` takes maps of any size).

    Returns:
      float32 [H, W, K].
    """
    down, across = (_interpolation(len(grid), valid[axis], image_size, size[axis]) for axis in (0, 1))
    rows = np.tensordot(down, grid.astype(np.float32), 1)  # [H, g, K]
    return np.matmul(across, rows)


def map_on_stored_pixels(outputs: dict[str, np.ndarray], image_size: int, size: tuple[int, int]) -> np.ndarray:
    """One image's maps from an exported network, as they lie on its stored pixels.

    Args:
      outputs: maps, valid and orientation as in `serving.map_signatures`, without the batch axis.
      image_size: S.
      size: H, W of the prediction, in proportion to the stored pixels.

    Returns:
      float32 [H, W, K].
    """
    orientation = int(outputs[keys.ORIENTATION])
    upright = size[::-1] if orientation >= 5 else size
    return stored_pixels(grid_to_image(outputs[keys.MAPS], outputs[keys.VALID], image_size, upright), orientation)


def _interpolation(cells: int, valid: int, image_size: int, pixels: int) -> np.ndarray:
    """float32 [pixels, cells]: the linear interpolation along one axis; bilinear resampling is separable."""
    stride = (image_size - 1) / (cells - 1)
    position = ((np.arange(pixels) + 0.5) * valid / pixels - 0.5) / stride
    distance = np.abs(np.clip(position, 0, cells - 1)[:, None] - np.arange(cells))
    return np.maximum(1 - distance, 0).astype(np.float32)
