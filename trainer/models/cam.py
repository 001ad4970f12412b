"""CAM (Zhou et al. 2016): a multi-label classifier whose class activation maps show where each category is."""

from __future__ import annotations

import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers

from trainer.data import keys
from trainer.models.backbones import BACKBONES, begin
from trainer.models.weights import HEAD


def build_cam(backbone: str, num_categories: int, weights: str | None, seed: int) -> keras.Model:
    """Classifier over foreground categories.

    Zhou et al. pool the features and multiply by the class weights (no bias); the product is linear, so multiplying
    first and pooling the maps gives the same scores, and the maps come for nothing.

    Args:
      backbone: as for build_segmentation. VGG-16 runs to conv5_3 at stride 8, then conv 3x3 1024.
      num_categories: K, background not counted.
      weights, seed: as for build_segmentation.

    Returns:
      float32 [B, S, S, 3] RGB in 0..255, S = 8k+1 -> {"scores": float32 logits [B, K], "maps": float32 [B, g, g, K]},
      maps of any sign whose mean over the grid is the score.

    Raises:
      UserError: the weights cannot be read or belong to another network.
    """
    parts = BACKBONES[backbone]
    images = keras.Input([None, None, 3], name="images")
    x = parts.before_cam(parts.features(images))
    maps = layers.Conv2D(num_categories, 1, use_bias=False, dtype="float32", name=HEAD)(x)
    scores = layers.GlobalAveragePooling2D(dtype="float32", name="scores")(maps)
    model = keras.Model(images, {keys.SCORES: scores, keys.MAPS: maps}, name=f"cam_{backbone}")
    begin(model, backbone, weights, seed)
    return model


def normalise_maps(maps: tf.Tensor) -> tf.Tensor:
    """Maps of any sign, float [B, g, g, K] -> float in 0..1: ReLU, then divided by each map's maximum (0 stays 0)."""
    maps = tf.nn.relu(maps)
    return tf.math.divide_no_nan(maps, tf.reduce_max(maps, axis=[1, 2], keepdims=True))
