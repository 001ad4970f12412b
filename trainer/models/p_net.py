"""P-Net (Table 1): tells ground-truth masks from predicted ones, given the image."""

from __future__ import annotations

import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers

from trainer.models.initial_values import initialise
from trainer.models.pooling import MaxPool2D


def build_p_net(grid_size: int, num_classes: int, seed: int) -> keras.Model:
    """Table 1 layer by layer.

    Args:
      grid_size: g, side of the segmentation network's prediction (paper: 41).
      num_classes: C with background.
      seed: >= 0.

    Returns:
      float32 [B, g, g, 3C] from encode_p_net_input -> float32 logit [B, 1], large for ground truth. Table 1's sigmoid
      is part of the losses, where it is computed stably from the logit.
    """
    inputs = keras.Input([grid_size, grid_size, 3 * num_classes], name="masked_images")
    x = inputs
    for block, channels in enumerate(((16, 32), (64, 64), (128, 128)), start=1):
        for index, count in enumerate(channels, start=1):
            x = layers.Conv2D(count, 3, padding="same", activation="relu", name=f"conv{block}_{index}")(x)
        x = MaxPool2D(2, name=f"pool{block}")(x)
    x = layers.Dense(256, activation="tanh", name="fc4")(layers.Flatten(name="flatten")(x))
    x = layers.Dense(512, activation="tanh", name="fc5")(x)
    model = keras.Model(inputs, layers.Dense(1, dtype="float32", name="fc6")(x), name="p_net")
    # A pixel's class weights sum to 1: only three of its 3C channels carry signal.
    initialise(model, seed, heads=["fc6"], fan_in={"conv1_1": 3 * 3 * 3})
    return model


def encode_p_net_input(images: tf.Tensor, masks: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """The image seen through the mask of each class, side by side (product encoding, Luc et al. 2016).

    Images are scaled to 0..1 rather than centred (our choice): a product of 0 must mean "not this class", and black is
    rarer in photographs than the mean grey.

    Args:
      images: [B, g, g, 3] RGB in 0..255, shrunk to the grid.
      masks: [B, g, g, C], softmax of a prediction or one-hot ground truth.
      valid: [B, g, g] bool or number, 0 on void and padding: zero for both kinds of mask, or P-Net would learn to
        find the void.

    Returns:
      float32 [B, g, g, 3C] in 0..1, channel 3c + k is colour k times class c.
    """
    masks = tf.cast(masks, tf.float32) * tf.cast(valid, tf.float32)[..., tf.newaxis]
    product = masks[..., tf.newaxis] * (tf.cast(images, tf.float32) / 255.0)[..., tf.newaxis, :]
    shape = tf.shape(product)
    flat = tf.reshape(product, [shape[0], shape[1], shape[2], -1])
    return tf.ensure_shape(flat, [*masks.shape[:3], None if masks.shape[-1] is None else 3 * masks.shape[-1]])
