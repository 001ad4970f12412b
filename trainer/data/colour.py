"""Colour augmentation; the one module that knows tensorflow-addons (end of life, so nothing else may depend on it)."""

from __future__ import annotations

import math

import tensorflow as tf
from tensorflow_addons.image import adjust_hsv_in_yiq


def jitter(image: tf.Tensor, draws: tf.Tensor, amount: float) -> tf.Tensor:
    """Changes hue, saturation and brightness together in one linear pass through YIQ.

    Args:
      image: float32 [H, W, 3] RGB in 0..255.
      draws: float32 [3] in 0..1; .5 leaves the image as it is.
      amount: 0..1. Saturation and brightness change by up to this share, hue by up to a tenth of a turn times it.

    Returns:
      float32 [H, W, 3] in 0..255.
    """
    hue, saturation, value = tf.unstack(2.0 * draws - 1.0)
    image = adjust_hsv_in_yiq(image, 0.2 * math.pi * amount * hue, 1.0 + amount * saturation, 1.0 + amount * value)
    return tf.clip_by_value(image, 0.0, 255.0)
