"""MobileNet (Howard et al. 2017) without classifier, at output stride 8 by dilation.

Layers carry Keras' names; batch norms are folded into the convolutions (see weights.fold_norms). Every convolution
pads "same": at even sizes that is Keras' own padding, at sizes 8k+1 it keeps the grid aligned with the image's corners.
"""

from __future__ import annotations

from tensorflow.keras import layers

from trainer.config import STRIDE
from trainer.models.dilated import DepthwiseConv2D

# (output channels, stride of the whole network after this block, as published)
BLOCKS = ((64, 2), (128, 4), (128, 4), (256, 8), (256, 8), *[(512, 16)] * 6, (1024, 32), (1024, 32))


def features(images) -> list:
    """RGB float32 [B, H, W, 3] in 0..255 -> conv_pw_13 [B, g, g, 1024], the only level."""
    x = layers.Rescaling(1 / 127.5, offset=-1.0, dtype="float32", name="normalise")(images)
    x = layers.Conv2D(32, 3, strides=2, padding="same", name="conv1")(x)
    x = layers.ReLU(6.0, name="conv1_relu")(x)
    before = 2
    for block, (channels, after) in enumerate(BLOCKS, start=1):
        x = depthwise(x, before, after, f"conv_dw_{block}")
        x = layers.ReLU(6.0, name=f"conv_dw_{block}_relu")(x)
        x = layers.Conv2D(channels, 1, name=f"conv_pw_{block}")(x)
        x = layers.ReLU(6.0, name=f"conv_pw_{block}_relu")(x)
        before = after
    return [x]


def depthwise(x, before: int, after: int, name: str, side: int = 3):
    """Depthwise convolution that the published network applies at stride `before` and leaves at stride `after`.

    Beyond stride 8 it keeps the grid and spreads its taps instead, so that every (after/8)-th output is exactly
    the published network's.
    """
    return DepthwiseConv2D(
        side,
        strides=min(after, STRIDE) // min(before, STRIDE),
        dilation_rate=max(before // STRIDE, 1),
        padding="same",
        name=name,
    )(x)
