"""A small network for the built-in demo data: trained from random weights on a CPU within a minute; all our choice.

Output stride 8 like the other backbones, so that one rule gives the grid of every network. Dilations 2 and 4 widen
the view to 127 pixels, a whole 129 x 129 image.
"""

from __future__ import annotations

import tensorflow as tf
from tensorflow.keras import layers

from trainer.models.dilated import Conv2D

# (channels, stride, dilation)
BLOCKS = ((24, 2, 1), (32, 2, 1), (48, 2, 1), (64, 1, 1), (64, 1, 2), (64, 1, 4))
GROUPS = 8


class GroupNormalization(layers.GroupNormalization):
    """Keras' layer by fewer steps, without a mask. Nothing is read three times, so no gradient is a sum of three terms:
    TensorFlow adds such up in an order that may change from run to run."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        centred = inputs - tf.cast(self._mean(inputs), inputs.dtype)
        factor = tf.math.rsqrt(self._mean(tf.square(centred)) + self.epsilon)
        return centred * (self.gamma * tf.cast(factor, inputs.dtype)) + self.beta

    def _mean(self, values: tf.Tensor) -> tf.Tensor:
        """[B, H, W, C] -> float32 [B, 1, 1, C], the mean of the channel's group; sums in bfloat16 are far off."""
        channels = values.shape[-1]
        of_channels = tf.reduce_mean(tf.cast(values, tf.float32), [1, 2])
        by_group = tf.reshape(of_channels, [-1, self.groups, channels // self.groups])
        means = tf.tile(tf.reduce_mean(by_group, -1, keepdims=True), [1, 1, channels // self.groups])
        return tf.reshape(means, [-1, 1, 1, channels])  # tf.repeat, by a twentieth of its steps


def features(images) -> list:
    """RGB float32 [B, H, W, 3] in 0..255 -> [B, g, g, 64], the only level."""
    x = layers.Rescaling(1 / 127.5, offset=-1.0, dtype="float32", name="normalise")(images)
    for index, (channels, stride, dilation) in enumerate(BLOCKS, start=1):
        conv = Conv2D(
            channels, 3, strides=stride, dilation_rate=dilation, padding="same", use_bias=False, name=f"conv{index}"
        )
        x = GroupNormalization(GROUPS, name=f"norm{index}")(conv(x))
        x = layers.ReLU(name=f"relu{index}")(x)
    return [x]
