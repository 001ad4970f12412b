"""VGG-16 (Simonyan and Zisserman 2014) as DeepLab-LargeFOV uses it (Chen et al. 2015): stride 8, dilated conv5.

At input sizes 8k+1 "same" padding puts one row of padding on every side, as Caffe's pad 1 does.
"""

from __future__ import annotations

import numpy as np
from tensorflow.keras import layers

from trainer.data.preprocessing import MEAN_COLOUR
from trainer.models.dilated import Conv2D
from trainer.models.pooling import MaxPool2D
from trainer.models.weights import Arrays, bgr_to_rgb

FIRST = "block1_conv1"
BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions


def features(images) -> list:
    """RGB float32 [B, H, W, 3] in 0..255 -> conv5_3 [B, g, g, 512], the only level; ImageNet's mean is subtracted."""
    x = subtract_mean(images)
    for block, (channels, count) in enumerate(BLOCKS, start=1):
        dilation = 2 if block == 5 else 1  # pool4 has stride 1, so conv5's taps lie twice as far apart
        for index in range(1, count + 1):
            name = f"block{block}_conv{index}"
            conv = Conv2D(channels, 3, padding="same", dilation_rate=dilation, activation="relu", name=name)
            x = conv(x)
        if block < 5:
            x = MaxPool2D(3, strides=2 if block < 4 else 1, padding="same", name=f"pool{block}")(x)
    return [x]


def subtract_mean(images):
    """RGB float32 [B, H, W, 3] in 0..255 -> the same without ImageNet's mean colour."""
    return layers.Rescaling(1.0, offset=[-value for value in MEAN_COLOUR], dtype="float32", name="normalise")(images)


def pool5(levels):
    """conv5_3 -> fc6's input, same shape: pool5 (max) and pool5a (average), 3x3 at stride 1.

    Caffe divides pool5a's sums by 9 everywhere, zero padding counted; "same" padding would leave the border out.
    """
    x = MaxPool2D(3, strides=1, padding="same", name="pool5")(levels[-1])
    return layers.AveragePooling2D(3, strides=1, name="pool5a")(layers.ZeroPadding2D(1, name="pool5a_pad")(x))


def cam_features(levels):
    """conv5_3 -> the features of the CAM classifier, [B, g, g, 1024] (Zhou et al. 2016: conv 3x3 1024)."""
    return layers.Conv2D(1024, 3, padding="same", activation="relu", name="cam")(levels[-1])


def convert(stored: Arrays) -> Arrays:
    """Keras' VGG-16 arrays -> ours.

    Keras' first convolution expects BGR, ours RGB. fc1 [25088, 4096] is read as a 7x7 convolution of which taps
    0, 3, 6 in each direction and every 4th output stay: fc6 [3, 3, 512, 1024]; every 4th row and column of fc2
    [4096, 4096] stay: fc7 [1, 1, 1024, 1024]. (Which taps the paper does not say; these are SSD's, Liu et al. 2016.)
    A file without fc1 and fc2 leaves fc6 and fc7 random.
    """
    arrays = bgr_to_rgb({name: value for name, value in stored.items() if name.startswith("block") and value}, FIRST)
    if "fc1" in stored:
        kernel, bias = stored["fc1"]
        arrays["fc6"] = [kernel.reshape(7, 7, 512, 4096)[::3, ::3, :, ::4], bias[::4]]
    if "fc2" in stored:
        kernel, bias = stored["fc2"]
        arrays["fc7"] = [kernel[np.newaxis, np.newaxis, ::4, ::4], bias[::4]]
    return arrays
