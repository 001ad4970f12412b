"""TransferNet (Hong et al. 2016): where is the category that is asked for, and which pixels are it?

An encoder, an attention that depends on the category, and a decoder that turns the attention into a mask. The decoder
never learns which category it draws, so what it learns from masks of some categories serves all others.
"""

from __future__ import annotations

import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers

from trainer.data import keys
from trainer.models.backbones import BACKBONES, begin
from trainer.models.initial_values import made_up_images
from trainer.models.weights import HEAD

FACTORS = 256  # our choice: width of the product of features and category
DECODER = (128, 64)  # our choice: channels at strides 16 and 8


def build_transfer_net(backbone: str, num_categories: int, weights: str | None, seed: int) -> keras.Model:
    """Network for one category at a time.

    The attention lies on a grid of stride 16: (20 x 20 = 400 places in Hong et al., from 320 pixels; 21 x 21 from 321).

    Args:
      backbone, weights, seed: as for build_segmentation.
      num_categories: K, background not counted.

    Returns:
      [images float32 [B, S, S, 3] RGB in 0..255 with S = 16k+1, category float32 [B, K] one-hot] -> {"attention":
      float32 [B, a, a, 1] summing to 1, a = (S - 1) / 16 + 1; "scores": float32 logits [B, K] of what is attended;
      "mask": float32 logits [B, 4a - 3, 4a - 3, 1], stride 4, corners aligned}.

    Raises:
      UserError: the weights cannot be read or belong to another network.
    """
    parts = BACKBONES[backbone]
    images, category = keras.Input([None, None, 3], name="images"), keras.Input([num_categories], name="category")
    x = layers.AveragePooling2D(3, strides=2, padding="same", name="stride16")(parts.features(images)[-1])
    factors = layers.Conv2D(FACTORS, 1, name="factors")(x)
    asked = layers.Dense(FACTORS, use_bias=False, name="asked")(category)
    product = layers.Multiply(name="product")([factors, layers.Reshape([1, 1, FACTORS])(asked)])
    energy = layers.Conv2D(1, 1, use_bias=False, name="energy")(layers.ReLU()(product))
    attention = layers.Softmax([1, 2], dtype="float32", name="attention")(energy)
    attended = layers.Lambda(lambda pair: tf.reduce_sum(pair[0] * pair[1], [1, 2], keepdims=True), dtype="float32")(
        [attention, x]
    )
    scores = layers.Dense(num_categories, dtype="float32", name="attended_category")(layers.Flatten()(attended))
    # the densified attention: how much each place is like what is attended
    dense = layers.Dot(-1, normalize=True, dtype="float32", name="likeness")
    places = layers.Reshape([-1, x.shape[-1]])(x)
    likeness = dense([places, layers.Reshape([1, x.shape[-1]])(attended)])
    grid = layers.Lambda(lambda pair: tf.reshape(pair[0], tf.shape(pair[1])), dtype="float32")([likeness, attention])
    y = layers.Concatenate(name="densified")([grid, layers.Lambda(_relative, dtype="float32")(attention)])
    for index, width in enumerate(DECODER, start=1):
        y = layers.Conv2D(width, 3, padding="same", activation="relu", name=f"decoder{index}_conv")(y)
        y = layers.Conv2DTranspose(width, 3, strides=2, padding="same", activation="relu", name=f"decoder{index}_up")(y)
        y = layers.Cropping2D(((1, 0), (1, 0)))(y)  # input place i lies on output 2i + 1, cropped 2i
    mask = layers.Conv2D(1, 3, padding="same", dtype="float32", name=HEAD)(y)
    outputs = {"attention": attention, keys.SCORES: scores, "mask": mask}
    model = keras.Model([images, category], outputs, name=f"transfer_net_{backbone}")
    asked_for = tf.one_hot(range(len(made_up_images())), num_categories)
    begin(model, backbone, weights, seed, heads=("attended_category", HEAD), others=[asked_for])
    return model


def _relative(attention: tf.Tensor) -> tf.Tensor:
    """Attention over its maximum, 0..1: the sum 1 makes single places tiny."""
    return attention / tf.reduce_max(attention, [1, 2], keepdims=True)
