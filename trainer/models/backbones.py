"""The feature extractors behind one interface; every network of a run is a backbone with a head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter

import tensorflow as tf
from tensorflow import keras

from trainer.config import STRIDE
from trainer.models import efficientnet_lite0, mobilenet, mobilenet_v2, resnet50, tiny, vgg16
from trainer.models.initial_values import initialise, made_up_images, rescale
from trainer.models.weights import HEAD, NEW_LAYERS, assign, fold_norms, stored_weights


@dataclass(frozen=True)
class BackboneParts:
    """What a head must know. Functions map Keras tensors to Keras tensors.

    Attributes:
      features: RGB float32 [B, H, W, 3] in 0..255 -> levels, each [B, g, g, channels], deepest last; normalises inside.
      before_fc6: levels -> fc6's input, same grid.
      before_cam: levels -> the features that the CAM classifier pools.
      width: channels of fc6 and fc7.
      dilation: of fc6.
      separable: fc6 is a depthwise and a 1x1 convolution (our choice; DeepLabV3+, Chen et al. 2018), a ninth of the
        work.
      dropout: after fc6 and fc7, share of values dropped.
      application: keras.applications' function for the network, if it is one of these.
      convert: Keras' arrays -> ours.
      xla_pays: on a GPU, once it has compiled: MobileNetV2's update of 16 images takes 13.8 ms with XLA, 37.1 without,
        VGG-16's of 30 takes 36.1 and 37.8 (321 pixels, float16, H200). The others were not measured.
    """

    features: Callable
    before_fc6: Callable = itemgetter(-1)
    before_cam: Callable = itemgetter(-1)
    width: int = 256  # our choice for all but VGG-16
    dilation: int = 12
    separable: bool = False
    dropout: float = 0.5
    application: Callable | None = None
    convert: Callable = fold_norms
    xla_pays: bool = True


def hypercolumns(levels):
    """All levels side by side (our choice; Hariharan et al. 2015): [B, g, g, 448] of MobileNetV2, 472 of Lite0.

    The last bottleneck alone says what is in the image better than where: on MobileNetV2's frozen features the same
    head reaches .16 mIoU with it and .31 with all three (docs/results.md).
    """
    return keras.layers.Concatenate(name="levels")(levels)


BACKBONES = {
    "vgg16": BackboneParts(
        vgg16.features,
        vgg16.pool5,
        vgg16.cam_features,
        width=1024,
        application=keras.applications.VGG16,
        convert=vgg16.convert,
        xla_pays=False,
    ),
    "resnet50": BackboneParts(
        resnet50.features, separable=True, application=keras.applications.ResNet50, convert=resnet50.convert
    ),
    "mobilenet_v2": BackboneParts(
        mobilenet_v2.features,
        hypercolumns,
        mobilenet_v2.cam_features,
        dilation=6,
        separable=True,
        application=keras.applications.MobileNetV2,
    ),
    "efficientnet_lite0": BackboneParts(
        efficientnet_lite0.features,
        hypercolumns,
        efficientnet_lite0.cam_features,
        dilation=6,
        separable=True,
        convert=efficientnet_lite0.convert,
    ),
    "mobilenet": BackboneParts(mobilenet.features, separable=True, application=keras.applications.MobileNet),
    "tiny": BackboneParts(tiny.features, width=64, dilation=4, dropout=0.0),
}


def grid_size(image_size: int) -> int:
    """Side g of a network's output for an S x S input, S = 8k+1: 321 -> 41."""
    return (image_size - 1) // STRIDE + 1


def begin(
    model: keras.Model,
    name: str,
    weights: str | None,
    seed: int,
    heads: Sequence[str] = (HEAD,),
    others: Sequence[tf.Tensor] = (),
) -> None:
    """Gives a network built on backbone `name` the weights that its training begins with.

    Stored ones where there are some; the others are random ones, scaled to what the layers before them put out.

    Args:
      model: built; its first input is images.
      weights: path of a Keras .h5 file, "imagenet" (Keras downloads it) or None (all are random).
      seed: of the random ones.
      heads: layers whose outputs are logits.
      others: examples of the model's further inputs, as many as `made_up_images` gives.

    Raises:
      UserError: no such file, no download, a file of another network, or a backbone without ImageNet weights.
    """
    initialise(model, seed, heads)
    backbone = BACKBONES[name]
    arrays = {}
    if weights is not None:
        arrays = backbone.convert(stored_weights(name, weights, backbone.application))
        assign(model, arrays)
    rescale(model, [made_up_images(), *others], heads, known=arrays)


def freeze_backbone(model: keras.Model) -> None:
    """Leaves only the layers that ImageNet files do not hold trainable."""
    for layer in model.layers:
        layer.trainable = layer.name in NEW_LAYERS
