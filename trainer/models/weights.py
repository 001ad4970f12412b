"""ImageNet weights: reading Keras' own files, and copying their arrays into networks of ours."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tensorflow import keras

from trainer.errors import UserError, one_line
from trainer.models.weight_files import FILES, check_weights, no_download, stored_layers, text

Arrays = dict[str, list[np.ndarray]]  # layer name -> its arrays, kernel first

HEAD = "fc8"  # the last layer of every network, trained from random weights at its own learning rate
NEW_LAYERS = frozenset(  # layers that ImageNet files need not hold
    {
        *("fc6_depthwise", "fc6", "fc7", "cam", HEAD),
        *("factors", "asked", "energy", "attended_category"),  # TransferNet
        *("decoder1_conv", "decoder1_up", "decoder2_conv", "decoder2_up"),
    }
)
NORM_EPSILON = 1e-3  # Keras' batch norm in both MobileNets and EfficientNet-Lite


def read_h5(path: str | Path) -> Arrays:
    """Reads a Keras .h5 file.

    Returns:
      layer name -> its arrays in Keras' order (kernel, bias, or gamma, beta, mean, variance).

    Raises:
      UserError: see `stored_layers`.
    """
    with stored_layers(path) as (root, names):
        return {n: [root[n][text(w)][()] for w in root[n].attrs["weight_names"]] for n in names}


def stored_weights(backbone: str, weights: str, application: Callable | None) -> Arrays:
    """The arrays that the config key `weights` stands for.

    Args:
      backbone: its name, in errors and in weight_files.FILES.
      weights: path of a Keras .h5 file, or "imagenet": Keras downloads it into its cache, or finds it there.
      application: keras.applications' function for this network; None: the file's URL is in FILES.

    Raises:
      UserError: no such file, not a Keras file, no download, or a backbone without stored weights.
    """
    check_weights(backbone, weights)
    if weights != "imagenet":
        return read_h5(weights)
    file = FILES[backbone]
    try:
        if application is None:
            return read_h5(keras.utils.get_file(file.name, file.url, cache_subdir="models", file_hash=file.md5))
        model = application(include_top=file.with_top, weights="imagenet")
    except Exception as error:  # Keras wraps every network failure in a bare Exception
        raise no_download(backbone, one_line(error)) from error
    return {layer.name: layer.get_weights() for layer in model.layers}


def fold_norms(stored: Arrays, epsilon: float = NORM_EPSILON) -> Arrays:
    """Makes each convolution and its batch norm one convolution with a bias.

    A norm at rest is affine, y = gamma (x - mean) / sqrt(var + eps) + beta, so folding changes no output; it leaves
    nothing to freeze and about half the layers to run. (Files with folded norms hold gamma = sqrt(1 + eps), mean 0,
    var 1: for them it is the identity.)
    """
    folded = {}
    for name, arrays in stored.items():
        norm = next((n for n in _norm_names(name) if n in stored and n != name), None)
        if norm is None or not arrays:
            continue
        kernel, bias = arrays[0], arrays[1] if len(arrays) > 1 else 0.0
        gamma, beta, mean, variance = stored[norm]
        scale = gamma / np.sqrt(variance + epsilon)
        depthwise = kernel.shape[-1] == 1 and kernel.shape[-2] == len(scale)  # [3, 3, channels, 1]
        folded[name] = [kernel * (scale[:, np.newaxis] if depthwise else scale), beta + (bias - mean) * scale]
    return folded


def _norm_names(conv: str) -> tuple[str, ...]:
    """What Keras' networks call the norm behind a convolution."""
    return f"{conv}_BN", f"{conv}_bn", f"bn_{conv}", re.sub("(dw)?conv$", "bn", conv)


def bgr_to_rgb(arrays: Arrays, first: str) -> Arrays:
    """The arrays with the inputs of layer `first`, if it is there, in reverse order."""
    if first not in arrays:
        return arrays
    kernel, *others = arrays[first]
    return arrays | {first: [np.ascontiguousarray(kernel[:, :, ::-1]), *others]}


def assign(model: keras.Model, arrays: Arrays) -> None:
    """Copies arrays into the layers of the same name; layers in NEW_LAYERS that have none keep their values.

    Raises:
      UserError: a backbone layer has no arrays, or arrays of another shape.
    """
    for layer in model.layers:
        if not layer.weights or (layer.name in NEW_LAYERS and layer.name not in arrays):
            continue
        if layer.name not in arrays:
            raise UserError(f"weights: no layer '{layer.name}' in the weights; they belong to another backbone")
        shapes = [tuple(w.shape) for w in layer.weights], [a.shape for a in arrays[layer.name]]
        if shapes[0] != shapes[1]:
            raise UserError(f"weights: layer '{layer.name}' needs shapes {shapes[0]}, the weights have {shapes[1]}")
        layer.set_weights(arrays[layer.name])
