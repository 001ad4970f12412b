"""The numpy resampling and the one in the graph are the same function."""

import numpy as np
import pytest

from components.weak_labels.core.geometry import grid_to_image
from trainer.data import preprocessing


@pytest.mark.parametrize("height, width", [(375, 500), (500, 333), (1, 1), (1, 700), (41, 41), (700, 640)])
@pytest.mark.parametrize("image_size, channels", [(321, 1), (97, 4)])
def test_equals_the_graphs_own(height, width, image_size, channels):
    cells = (image_size - 1) // 8 + 1
    grid = np.random.default_rng(height).random((cells, cells, channels), np.float32)
    valid = preprocessing.fitted_size(height, width, image_size)
    expected = preprocessing.grid_to_image(grid, valid, image_size, height, width).numpy()
    resampled = grid_to_image(grid, tuple(valid.numpy()), image_size, (height, width))
    assert resampled.shape == (height, width, channels) and resampled.dtype == np.float32
    np.testing.assert_allclose(resampled, expected, atol=1e-3)
