"""The four feature extractors behind one interface; every network of a run is a backbone with a head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter

from tensorflow import keras

from trainer import weights as stored_weights
from trainer.errors import UserError
from trainer.models import mobilenet, mobilenet_v2, tiny, vgg16

STRIDE = 8  # pixels between neighbouring grid cells


@dataclass(frozen=True)
class Backbone:
    """What a head must know. Functions map Keras tensors to Keras tensors.

    Attributes:
      features: RGB float32 [B, H, W, 3] in 0..255 -> levels, each [B, g, g, channels], deepest last; normalises inside.
      before_fc6: levels -> fc6's input, same grid.
      before_cam: levels -> the features that the CAM classifier pools.
      width: channels of fc6 and fc7.
      dilation: of fc6.
      separable: fc6 is a depthwise and a 1x1 convolution (open; DeepLabV3+, Chen et al. 2018): a ninth of the work.
      dropout: after fc6 and fc7, share of values dropped.
      application: keras.applications' function that downloads ImageNet weights; None has none.
      include_top: ImageNet files serve fc6 and fc7 too.
      convert: Keras' arrays -> ours.
    """

    features: Callable
    before_fc6: Callable = itemgetter(-1)
    before_cam: Callable = itemgetter(-1)
    width: int = 256  # open for all but VGG-16
    dilation: int = 12
    separable: bool = False
    dropout: float = 0.5
    application: Callable | None = None
    include_top: bool = False
    convert: Callable = stored_weights.fold_norms


BACKBONES = {
    "vgg16": Backbone(
        vgg16.features,
        vgg16.pool5,
        vgg16.cam_features,
        width=1024,
        application=keras.applications.VGG16,
        include_top=True,
        convert=vgg16.convert,
    ),
    "mobilenet_v2": Backbone(
        mobilenet_v2.features,
        mobilenet_v2.fc6_input,
        mobilenet_v2.cam_features,
        dilation=6,
        separable=True,
        application=keras.applications.MobileNetV2,
    ),
    "mobilenet": Backbone(mobilenet.features, separable=True, application=keras.applications.MobileNet),
    "tiny": Backbone(tiny.features, width=64, dilation=4, dropout=0.0),
}


def grid_size(image_size: int) -> int:
    """Side g of a network's answer for an S x S input, S = 8k+1: 321 -> 41."""
    return (image_size - 1) // STRIDE + 1


def load_weights(model: keras.Model, name: str, weights: str | None) -> None:
    """Copies ImageNet weights into a network built on backbone `name`.

    Args:
      model: built; layers without stored counterpart (the new heads) keep their values.
      name: key of BACKBONES.
      weights: path of a Keras .h5 file, "imagenet" (Keras downloads it) or None (nothing is loaded).

    Raises:
      UserError: no such file, no download, a file of another network, or a backbone without ImageNet weights.
    """
    if weights is None:
        return
    backbone = BACKBONES[name]
    if backbone.application is None:
        raise UserError(f"weights: backbone '{name}' has no stored weights; set weights: null")
    if weights == "imagenet":
        arrays = stored_weights.download(backbone.application, backbone.include_top)
    else:
        arrays = stored_weights.read_h5(weights)
    stored_weights.assign(model, backbone.convert(arrays))


def freeze_backbone(model: keras.Model) -> None:
    """Leaves only the layers that ImageNet files do not hold trainable."""
    for layer in model.layers:
        layer.trainable = layer.name in stored_weights.NEW_LAYERS
