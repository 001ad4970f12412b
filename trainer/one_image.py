"""One encoded image through a network and back onto its own pixels, outside any exported graph."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from trainer.orientation import exif_orientation, stored, upright
from trainer.preprocessing import decode_image, grid_to_image, to_network_input


def answer_on_pixels(
    network: Callable[[tf.Tensor], tf.Tensor], image_bytes: bytes, image_size: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """What a network says about an image. It sees the picture upright; the answer fits the stored pixels.

    Args:
      network: float32 [1, S, S, 3] in 0..255 -> [1, g, g, K].
      image_bytes: JPEG or PNG.
      image_size: S.

    Returns:
      (stored pixels, uint8 [H, W, 3]; the answer, float32 [H, W, K]).

    Raises:
      tf.errors.InvalidArgumentError: the bytes are no image.
    """
    image, orientation = decode_image(image_bytes), exif_orientation(tf.constant(image_bytes))
    picture = upright(image, orientation)
    network_input, valid = to_network_input(picture, image_size)
    grid = tf.cast(network(network_input[tf.newaxis])[0], tf.float32)
    return image, stored(grid_to_image(grid, valid, image_size, *picture.shape[:2]), orientation)
