"""Pictures of a network's predictions beside input and truth, for TensorBoard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from trainer.data import keys
from trainer.data.categories import palette
from trainer.models.cam import normalise_maps

Panel = Callable[[Any, dict[str, tf.Tensor]], tf.Tensor]  # the network's outputs and the batch -> uint8 [B, S, W, 3]


def segmentation_panel(logits: tf.Tensor, batch: dict[str, tf.Tensor]) -> tf.Tensor:
    """Input, truth and prediction side by side in VOC's colours.

    Args:
      logits: float [B, g, g, C].
      batch: see `input_pipeline.training_batches`.

    Returns:
      uint8 [B, S, 3S, 3].
    """
    return _row(batch, tf.argmax(_to_pixels(logits, batch), axis=-1))


def foreground_panel(logits: tf.Tensor, batch: dict[str, tf.Tensor]) -> tf.Tensor:
    """As `segmentation_panel` for L-Net's logits [B, g, g, 1]; its map M is grey, white for 1."""
    return _row(batch, tf.sigmoid(_to_pixels(logits, batch)))


def activation_panel(outputs: dict[str, tf.Tensor], batch: dict[str, tf.Tensor]) -> tf.Tensor:
    """As `segmentation_panel` for the CAM classifier: the highest activation of the image's tags is grey."""
    tagged = tf.cast(batch[keys.TAGS][:, tf.newaxis, tf.newaxis], tf.float32)
    hottest = tf.reduce_max(normalise_maps(outputs[keys.MAPS]) * tagged, axis=-1, keepdims=True)
    return _row(batch, tf.clip_by_value(_to_pixels(hottest, batch), 0.0, 1.0))


def _row(batch: dict[str, tf.Tensor], prediction: tf.Tensor) -> tf.Tensor:
    """`prediction`: integer ids [B, S, S], or values in 0..1 [B, S, S, 1]."""
    if prediction.dtype.is_floating:
        picture = tf.repeat(tf.cast(255.0 * prediction, tf.uint8), 3, axis=-1)
    else:
        picture = tf.gather(palette(), prediction)
    truth = tf.gather(palette(), tf.cast(batch[keys.LABELS], tf.int32))
    return tf.concat([tf.cast(batch[keys.IMAGE], tf.uint8), truth, picture], axis=2)


def _to_pixels(grid: tf.Tensor, batch: dict[str, tf.Tensor]) -> tf.Tensor:
    return tf.image.resize(tf.cast(grid, tf.float32), tf.shape(batch[keys.LABELS])[1:3])
