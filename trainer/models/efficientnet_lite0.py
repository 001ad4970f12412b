"""EfficientNet-Lite0 (Tan and Le 2019; Liu 2020) without classifier, at output stride 8 by dilation.

EfficientNet-B0 without squeeze-and-excitation and with ReLU6 for swish. Padding and folded batch norms as in
mobilenet.py.
"""

from __future__ import annotations

import re

from tensorflow.keras import layers

from trainer.models.mobilenet import depthwise
from trainer.models.weights import Arrays, fold_norms

# (output channels, side of the depthwise kernel, stride of the whole network after this block, as published)
STAGES = (
    [(16, 3, 2)],
    [(24, 3, 4)] * 2,
    [(40, 5, 8)] * 2,
    [(80, 3, 16)] * 3,
    [(112, 5, 16)] * 3,
    [(192, 5, 32)] * 4,
    [(320, 3, 32)],
)
BLOCKS = sum(STAGES, [])
EXPANSION = 6
LEVELS = (4, 10, 15)  # the last blocks that the published network runs at strides 8, 16 and 32


def features(images) -> list:
    """RGB float32 [B, H, W, 3] in 0..255 -> the bottlenecks after LEVELS: [B, g, g, 40], [.., 112] and [.., 320]."""
    levels = []
    x = layers.Rescaling(1 / 128, offset=-127 / 128, dtype="float32", name="normalise")(images)
    x = layers.Conv2D(32, 3, strides=2, padding="same", name="stem_conv")(x)
    x = layers.ReLU(6.0, name="stem_relu")(x)
    before = 2
    for block, (channels, side, after) in enumerate(BLOCKS):
        name = f"block{block}"
        inputs = x
        if block > 0:
            x = layers.Conv2D(EXPANSION * inputs.shape[-1], 1, name=f"{name}_expand_conv")(x)
            x = layers.ReLU(6.0, name=f"{name}_expand_relu")(x)
        x = depthwise(x, before, after, f"{name}_dwconv", side)
        x = layers.ReLU(6.0, name=f"{name}_relu")(x)
        x = layers.Conv2D(channels, 1, name=f"{name}_project_conv")(x)
        if inputs.shape[-1] == channels:
            x = layers.Add(name=f"{name}_add")([inputs, x])
        before = after
        if block in LEVELS:
            levels.append(x)
    return levels


def cam_features(levels):
    """Last bottleneck -> [B, g, g, 1280], the features that the published network pools (and ImageNet weights know)."""
    x = layers.Conv2D(1280, 1, name="top_conv")(levels[-1])
    return layers.ReLU(6.0, name="top_relu")(x)


def convert(stored: Arrays) -> Arrays:
    """Arrays of either Keras port -> ours: blocks are counted through (block3_bn), or within stages (block3a_bn)."""
    first = [sum(map(len, STAGES[:stage])) for stage in range(len(STAGES))]

    def counted(name: str) -> str:
        place = re.match(r"block([1-7])([a-d])_", name)
        if place is None:
            return name
        return f"block{first[int(place[1]) - 1] + ord(place[2]) - ord('a')}_{name[place.end() :]}"

    return fold_norms({counted(name): arrays for name, arrays in stored.items()})
