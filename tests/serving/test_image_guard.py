"""GIFs tell their size in several places; the decoder unpacks what the frames say."""

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from serving.image_guard import guarded_decode
from trainer.preprocessing import decode_image

LIMIT = 1000
guarded = tf.function(
    lambda data: guarded_decode(data, tf.constant("x"), LIMIT), input_signature=[tf.TensorSpec([], tf.string)]
)


def gif(frames: int, size: tuple[int, int] = (30, 20), screen: tuple[int, int] | None = None) -> bytes:
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), np.uint8)) for _ in range(frames)]
    buffer = io.BytesIO()
    pictures[0].save(buffer, "GIF", save_all=True, append_images=pictures[1:], comment=b"eXIf , ! ;" * 60)
    data = bytearray(buffer.getvalue())
    data[6:10] = struct.pack("<HH", *(screen or size))
    return bytes(data)


def test_moving_pictures_pass():
    for data in (gif(1), gif(6), gif(2, screen=(31, 32))):
        np.testing.assert_array_equal(guarded(tf.constant(data)), decode_image(data))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (gif(1, (40, 30), screen=(10, 10)), "30 x 40 pixels; the limit is 1000"),
        (gif(1, (10, 10), screen=(40, 30)), "30 x 40 pixels; the limit is 1000"),
        (gif(7), "too many frames"),
        (gif(1)[:13], "Invalid GIF"),
        (gif(1)[:-1] + b"!\xfe" + b"\x01a" * 150_000 + b"\0;", "too many frames"),
    ],
    ids=["large frame", "large screen", "many frames", "head alone", "many blocks"],
)
def test_gifs_that_take_much_are_refused(data, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        guarded(tf.constant(data))
