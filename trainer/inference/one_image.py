"""One encoded image through a network and back onto its own pixels, outside any exported graph."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from trainer.data.orientation import exif_orientation, stored, upright
from trainer.data.preprocessing import decode_image, grid_to_image, to_network_input
from trainer.inference.looks import Look
from trainer.inference.tiles import on_pixels
from trainer.inference.views import segmentation_logits


def predict_on_pixels(
    network: Callable[[tf.Tensor], tf.Tensor], image_bytes: bytes, look: Look, channels: int | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """What a network says about an image. It sees the picture upright; the prediction fits the stored pixels.

    Args:
      network: float32 [1, S, S, 3] in 0..255 -> [1, g, g, K]; logits of K classes if `look` has several views.
      image_bytes: JPEG or PNG.
      look: how the network looks at the picture.
      channels: K; needed for tiles alone.

    Returns:
      (stored pixels, uint8 [H, W, 3]; the prediction, float32 [H, W, K]).

    Raises:
      tf.errors.InvalidArgumentError: the bytes are no image.
    """

    def one_look(inputs: list[tf.Tensor]) -> tf.Tensor:
        return segmentation_logits(network, inputs, look.mirror)

    image, orientation = decode_image(image_bytes), exif_orientation(tf.constant(image_bytes))
    picture = upright(image, orientation)
    if look.overlap is not None:
        kind = tf.TensorSpec([None, None, channels], tf.float32)
        prediction = on_pixels(picture, lambda tile: one_look([tile]), channels, look, tf.identity, kind)
    else:
        fitted = [to_network_input(picture, side, look.least_side) for side in look.sides]
        grid = one_look([network_input[tf.newaxis] for network_input, _ in fitted])[0]
        prediction = grid_to_image(grid, fitted[0][1], look.sides[0], *picture.shape[:2])
    return image, stored(prediction, orientation)
