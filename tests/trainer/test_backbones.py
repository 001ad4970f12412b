"""Every backbone keeps the contract."""

from copy import deepcopy

import numpy as np
import pytest
import tensorflow as tf
from backbone_contract import (
    BackboneContract,
    PublishedBackboneContract,
    folded_size,
    separable_head_size,
)
from keras.src.applications import efficientnet
from tensorflow import keras

from trainer.models import efficientnet_lite0

pytestmark = pytest.mark.slow  # whole networks


def test_every_backbone_is_under_contract():
    from trainer.models.backbones import BACKBONES

    assert {kind.backbone for kind in globals().values() if hasattr(kind, "backbone")} == set(BACKBONES)


class TestVgg16(BackboneContract):
    """Not the published network: its pools are DeepLab's. What it takes from files is tested in test_models_weights."""

    backbone = "vgg16"
    channels = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
    convolutions = sum(9 * a * b + b for a, b in zip(channels, channels[1:], strict=False))

    def segmentation_size(self):
        fc6, fc7, fc8 = 9 * 512 * 1024 + 1024, 1024 * 1024 + 1024, 1024 * 21 + 21
        assert self.convolutions + fc6 + fc7 + fc8 == 20_505_429  # the paper's 20.5 million
        return 20_505_429

    def cam_size(self):
        return self.convolutions + 9 * 512 * 1024 + 1024 + 1024 * 20


class TestResNet50(PublishedBackboneContract):
    backbone, last = "resnet50", "conv5_block3_out"

    def reference(self):
        return keras.applications.ResNet50(include_top=False, weights=None, input_shape=(97, 97, 3))

    def normalise(self, x):
        return keras.applications.resnet50.preprocess_input(x)

    def segmentation_size(self):
        return folded_size(self.reference()) + separable_head_size(2048)

    def cam_size(self):
        return folded_size(self.reference()) + 2048 * 20


class TestMobileNetV2(PublishedBackboneContract):
    backbone, last = "mobilenet_v2", "out_relu"

    def reference(self):
        return keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(97, 97, 3))

    def normalise(self, x):
        return x / 127.5 - 1

    def segmentation_size(self):
        return folded_size(self.reference()) - (320 * 1280 + 1280) + separable_head_size(32 + 96 + 320)

    def cam_size(self):
        return folded_size(self.reference()) + 1280 * 20


class TestMobileNet(PublishedBackboneContract):
    """Keras pads this one for even sizes only, where its cells are the last of each four of ours."""

    backbone, last = "mobilenet", "conv_pw_13_relu"
    size, kept = 96, slice(3, None, 4)

    def reference(self):
        return keras.applications.MobileNet(include_top=False, weights=None, input_shape=(96, 96, 3))

    def normalise(self, x):
        return x / 127.5 - 1

    def segmentation_size(self):
        return folded_size(self.reference()) + separable_head_size(1024)

    def cam_size(self):
        return folded_size(self.reference()) + 1024 * 20


class TestEfficientNetLite0(PublishedBackboneContract):
    """Keras' EfficientNet-B0 without squeeze-and-excitation and with ReLU6: Lite0, with the names of its Keras port."""

    backbone, last = "efficientnet_lite0", "top_relu"

    def reference(self):
        blocks = deepcopy(efficientnet.DEFAULT_BLOCKS_ARGS)
        for block in blocks:
            block["se_ratio"] = 0
        return efficientnet.EfficientNet(
            *(1.0, 1.0, 224),
            activation=tf.nn.relu6,
            blocks_args=blocks,
            include_top=False,
            weights=None,
            input_shape=(97, 97, 3),
        )

    def normalise(self, x):
        return 255 * (x - 127) / 128  # Keras' network begins with a division by 255

    def segmentation_size(self):
        return folded_size(self.reference()) - (320 * 1280 + 1280) + separable_head_size(40 + 112 + 320)

    def cam_size(self):
        return folded_size(self.reference()) + 1280 * 20

    def test_blocks_may_be_counted_through_or_within_stages(self):
        kernel, norm = np.ones((1, 1, 24, 144), np.float32), [np.ones(144, np.float32)] * 4
        for name in ("block2b", "block2"):
            arrays = efficientnet_lite0.convert({f"{name}_expand_conv": [kernel], f"{name}_expand_bn": norm})
            assert list(arrays) == ["block2_expand_conv"]
        last = efficientnet_lite0.convert({"block7a_dwconv": [kernel[..., :1]], "block7a_bn": [n[:24] for n in norm]})
        assert list(last) == ["block15_dwconv"]


class TestTiny(BackboneContract):
    backbone = "tiny"
    channels = (3, 24, 32, 48, 64, 64, 64)
    size = sum(9 * a * b + 2 * b for a, b in zip(channels, channels[1:], strict=False))

    def segmentation_size(self):
        return self.size + 9 * 64 * 64 + 64 + 64 * 64 + 64 + 64 * 21 + 21

    def cam_size(self):
        return self.size + 64 * 20
