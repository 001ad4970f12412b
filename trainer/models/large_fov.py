"""DeepLab-LargeFOV (Chen et al. 2015), the segmentation network; with one output it is L-Net."""

from __future__ import annotations

from tensorflow import keras
from tensorflow.keras import layers

from trainer.models.backbones import BACKBONES, BackboneParts, begin
from trainer.models.dilated import Conv2D, DepthwiseConv2D
from trainer.models.dropout import Dropout
from trainer.models.weights import HEAD


def build_segmentation(backbone: str, num_classes: int, weights: str | None, seed: int) -> keras.Model:
    """Fully convolutional network; layers take the global mixed-precision policy at the time of the call.

    Args:
      backbone: key of BACKBONES; "vgg16" is the paper's, 20.5 M parameters.
      num_classes: C; 1 for L-Net.
      weights: path of a Keras .h5 file, "imagenet" or None.
      seed: of the random layers and of dropout, >= 0.

    Returns:
      float32 [B, S, S, 3] RGB in 0..255, S = 8k+1 -> float32 logits [B, g, g, C], g = (S - 1) / 8 + 1, corners aligned.
      Dropout's random state is part of the model's checkpoint.

    Raises:
      UserError: the weights cannot be read or belong to another network.
    """
    parts = BACKBONES[backbone]
    images = keras.Input([None, None, 3], name="images")
    x = _fc6(parts.before_fc6(parts.features(images)), parts)
    x = Dropout(parts.dropout, 2 * seed, name="drop6")(x)
    x = layers.Conv2D(parts.width, 1, activation="relu", name="fc7")(x)
    x = Dropout(parts.dropout, 2 * seed + 1, name="drop7")(x)
    logits = layers.Conv2D(num_classes, 1, dtype="float32", name=HEAD)(x)
    model = keras.Model(images, logits, name=f"large_fov_{backbone}")
    begin(model, backbone, weights, seed)
    return model


def _fc6(x, parts: BackboneParts):
    """The large field of view: 3x3 taps `dilation` cells apart, for the MobileNets as depthwise and 1x1 convolution."""
    size, dilation = 3, parts.dilation
    if parts.separable:
        x = DepthwiseConv2D(size, dilation_rate=dilation, padding="same", use_bias=False, name="fc6_depthwise")(x)
        size, dilation = 1, 1
    conv = Conv2D(parts.width, size, dilation_rate=dilation, padding="same", activation="relu", name="fc6")
    return conv(x)
