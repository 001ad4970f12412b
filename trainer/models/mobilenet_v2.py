"""MobileNetV2 (Sandler et al. 2018) without classifier, at output stride 8 by dilation.

Names, padding and folded batch norms as in mobilenet.py.
"""

from __future__ import annotations

from tensorflow.keras import layers

from trainer.models.mobilenet import depthwise

# (output channels, stride of the whole network after this block, as published)
BLOCKS = (
    *[(24, 4)] * 2,
    *[(32, 8)] * 3,
    *[(64, 16)] * 4,
    *[(96, 16)] * 3,
    *[(160, 32)] * 3,
    (320, 32),
)
EXPANSION = 6


LEVELS = (5, 12, 16)  # the last blocks that the published network runs at strides 8, 16 and 32


def features(images) -> list:
    """RGB float32 [B, H, W, 3] in 0..255 -> the bottlenecks after LEVELS: [B, g, g, 32], [.., 96] and [.., 320]."""
    levels = []
    x = layers.Rescaling(1 / 127.5, offset=-1.0, dtype="float32", name="normalise")(images)
    x = layers.Conv2D(32, 3, strides=2, padding="same", name="Conv1")(x)
    x = layers.ReLU(6.0, name="Conv1_relu")(x)
    x = _tail(x, 16, 2, 2, "expanded_conv")
    before = 2
    for block, (channels, after) in enumerate(BLOCKS, start=1):
        name = f"block_{block}"
        inputs = x
        x = layers.Conv2D(EXPANSION * inputs.shape[-1], 1, name=f"{name}_expand")(inputs)
        x = layers.ReLU(6.0, name=f"{name}_expand_relu")(x)
        x = _tail(x, channels, before, after, name)
        if inputs.shape[-1] == channels:
            x = layers.Add(name=f"{name}_add")([inputs, x])
        before = after
        if block in LEVELS:
            levels.append(x)
    return levels


def _tail(x, channels: int, before: int, after: int, name: str):
    x = depthwise(x, before, after, f"{name}_depthwise")
    x = layers.ReLU(6.0, name=f"{name}_depthwise_relu")(x)
    return layers.Conv2D(channels, 1, name=f"{name}_project")(x)


def cam_features(levels):
    """Last bottleneck -> [B, g, g, 1280], the features that the published network pools (and ImageNet weights know)."""
    x = layers.Conv2D(1280, 1, name="Conv_1")(levels[-1])
    return layers.ReLU(6.0, name="out_relu")(x)
