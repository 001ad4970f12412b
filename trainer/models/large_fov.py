"""DeepLab-LargeFOV (Chen et al. 2015), the segmentation network; with one output it is L-Net."""

from __future__ import annotations

from tensorflow import keras
from tensorflow.keras import layers

from trainer.models.backbones import BACKBONES, load_weights
from trainer.weights import HEAD, initialise


def build_segmentation(backbone: str, num_classes: int, weights: str | None, seed: int) -> keras.Model:
    """Fully convolutional network; layers take the global mixed-precision policy at the time of the call.

    Args:
      backbone: "vgg16" (the paper's, 20.5 M parameters), "mobilenet_v2", "mobilenet" or "tiny".
      num_classes: C; 1 for L-Net.
      weights: path of a Keras .h5 file, "imagenet" or None.
      seed: of the random layers and of dropout, >= 0.

    Returns:
      float32 [B, S, S, 3] RGB in 0..255, S = 8k+1 -> float32 logits [B, g, g, C], g = (S - 1) / 8 + 1, corners aligned.
      Dropout's generator state is part of the model's checkpoint, so a resumed run draws the same masks.

    Raises:
      UserError: the weights cannot be read or belong to another network.
    """
    parts = BACKBONES[backbone]
    images = keras.Input([None, None, 3], name="images")
    x = parts.before_fc6(parts.features(images))
    x = layers.Conv2D(parts.width, 3, padding="same", dilation_rate=parts.dilation, activation="relu", name="fc6")(x)
    x = _dropout(x, parts.dropout, 2 * seed, "drop6")
    x = layers.Conv2D(parts.width, 1, activation="relu", name="fc7")(x)
    x = _dropout(x, parts.dropout, 2 * seed + 1, "drop7")
    logits = layers.Conv2D(num_classes, 1, dtype="float32", name=HEAD)(x)
    model = keras.Model(images, logits, name=f"large_fov_{backbone}")
    initialise(model, seed)
    load_weights(model, backbone, weights)
    return model


def _dropout(x, rate: float, seed: int, name: str):
    if not rate:
        return x
    return layers.Dropout(rate, seed=seed, rng_type="stateful", name=name)(x)
