"""The palette PNG made in the graph is read alike by every library people use."""

import io

import cv2
import numpy as np
import pytest
import skimage.io
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from serving.palette_png import encode_palette_png
from trainer.data import categories

PALETTE = categories.palette()
encode = tf.function(
    lambda mask: encode_palette_png(mask, PALETTE), input_signature=[tf.TensorSpec([None, None], tf.uint8)]
)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_pillow_reads_the_same_ids_and_palette_at_any_size(height, width, seed):
    mask = np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.uint8)
    image = Image.open(io.BytesIO(encode(mask).numpy()))
    image.load()  # checks every chunk's CRC
    assert image.mode == "P"
    np.testing.assert_array_equal(np.asarray(image), mask)
    np.testing.assert_array_equal(np.reshape(image.getpalette(), (-1, 3)), PALETTE)


@pytest.mark.parametrize("reader", ["cv2", "tensorflow", "skimage"])
def test_other_readers_see_the_palette_colours(reader, tmp_path):
    mask = np.arange(256, dtype=np.uint8).reshape(8, 32)
    path = tmp_path / "mask.png"
    path.write_bytes(encode(mask).numpy())
    read = {
        "cv2": lambda: cv2.imread(str(path))[..., ::-1],
        "tensorflow": lambda: tf.io.decode_png(path.read_bytes(), channels=3).numpy(),
        "skimage": lambda: skimage.io.imread(path)[..., :3],
    }
    np.testing.assert_array_equal(read[reader](), PALETTE[mask])
