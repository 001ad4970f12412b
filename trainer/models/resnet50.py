"""ResNet-50 (He et al. 2016, Keras' first version) without classifier, at output stride 8 by dilation.

Layers carry Keras' names; batch norms are folded into the convolutions (see weights.fold_norms). At sizes 8k+1 "same"
padding is Keras' own: as much on every side.
"""

from __future__ import annotations

from tensorflow.keras import layers

from trainer.config import STRIDE
from trainer.models.dilated import Conv2D
from trainer.models.pooling import MaxPool2D
from trainer.models.vgg16 import subtract_mean
from trainer.models.weights import Arrays, bgr_to_rgb, fold_norms

STAGES = ((64, 3, 4), (128, 4, 8), (256, 6, 16), (512, 3, 32))  # channels, blocks, stride of the whole as published
NORM_EPSILON = 1.001e-5  # Keras' batch norm here


def features(images) -> list:
    """RGB float32 [B, H, W, 3] in 0..255 -> conv5_block3_out [B, g, g, 2048], the only level."""
    x = subtract_mean(images)
    x = layers.Conv2D(64, 7, strides=2, padding="same", activation="relu", name="conv1_conv")(x)
    x = MaxPool2D(3, strides=2, padding="same", name="pool1_pool")(x)
    before = 4
    for stage, (channels, blocks, after) in enumerate(STAGES, start=2):
        for block in range(1, blocks + 1):
            x = _block(x, channels, before, after, f"conv{stage}_block{block}")
            before = after
    return [x]


def _block(x, channels: int, before: int, after: int, name: str):
    """A bottleneck that the published network applies at stride `before` and leaves at stride `after`.

    Its first convolution strides, so the 3x3 one spreads its taps as wide as the published grid *after* it is.
    """
    stride = min(after, STRIDE) // min(before, STRIDE)
    dilation = max(after // STRIDE, 1)
    shortcut = x
    if x.shape[-1] != 4 * channels:
        shortcut = layers.Conv2D(4 * channels, 1, strides=stride, name=f"{name}_0_conv")(x)
    x = layers.Conv2D(channels, 1, strides=stride, activation="relu", name=f"{name}_1_conv")(x)
    conv = Conv2D(channels, 3, padding="same", dilation_rate=dilation, activation="relu", name=f"{name}_2_conv")
    x = layers.Conv2D(4 * channels, 1, name=f"{name}_3_conv")(conv(x))
    return layers.ReLU(name=f"{name}_out")(layers.Add(name=f"{name}_add")([shortcut, x]))


def convert(stored: Arrays) -> Arrays:
    """Keras' ResNet-50 arrays, whose first convolution expects BGR -> ours."""
    return bgr_to_rgb(fold_norms(stored, NORM_EPSILON), "conv1_conv")
