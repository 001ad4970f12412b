"""Starting weights: random ones from one seed, and ImageNet ones from Keras' own files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
from tensorflow import keras

from trainer.errors import UserError

Arrays = dict[str, list[np.ndarray]]  # layer name -> its arrays, kernel first

HEAD = "fc8"  # the last layer of every network, trained from random weights at its own learning rate
NEW_LAYERS = frozenset(  # layers that ImageNet files need not hold
    {
        *("fc6_depthwise", "fc6", "fc7", "cam", HEAD),
        *("factors", "asked", "energy", "attended_category"),  # TransferNet
        *("decoder1_conv", "decoder1_up", "decoder2_conv", "decoder2_up"),
    }
)
HEAD_STDDEV = 0.01  # DeepLab-LargeFOV's own filler for fc8
NORM_EPSILON = 1e-3  # Keras' batch norm in both MobileNets


def initialise(model: keras.Model, seed: int, fan_in: Mapping[str, int] | None = None) -> None:
    """Fills every variable from `seed` alone: the same seed gives the same network in any process.

    Kernels are normal with variance 2 / fan_in (He et al. 2015), the last layer's normal with deviation 0.01, biases
    and norm offsets 0, norm scales 1.

    Args:
      model: a built model; its last layer with variables is the head.
      seed: >= 0.
      fan_in: layer name -> number of inputs that carry signal, where that is not the kernel's own.
    """
    variables = model.trainable_variables
    head = variables[-1].name.split("/")[-2]
    for index, variable in enumerate(variables):
        layer, kind = variable.name.split(":")[0].split("/")[-2:]
        shape = variable.shape.as_list()
        if not kind.endswith("kernel"):
            variable.assign(np.full(shape, float(kind == "gamma"), np.float32))
            continue
        inputs = math.prod(shape[:2]) if kind == "depthwise_kernel" else math.prod(shape[:-1])
        inputs = (fan_in or {}).get(layer, inputs)
        stddev = HEAD_STDDEV if layer == head else math.sqrt(2.0 / inputs)
        values = np.random.default_rng([seed, index]).standard_normal(shape, np.float32)
        variable.assign(values * np.float32(stddev))


def read_h5(path: str | Path) -> Arrays:
    """Reads a Keras .h5 file, of weights or of a whole model.

    Returns:
      layer name -> its arrays in Keras' order (kernel, bias, or gamma, beta, mean, variance).

    Raises:
      UserError: no such file, or not a Keras .h5 file.
    """
    if not Path(path).is_file():
        raise UserError(f"weights: no file {path}; give a Keras .h5 file, 'imagenet' or null")
    try:
        with h5py.File(path) as file:
            root = file.get("model_weights", file)
            names = [_text(name) for name in root.attrs["layer_names"]]
            return {n: [root[n][_text(w)][()] for w in root[n].attrs["weight_names"]] for n in names}
    except (OSError, KeyError) as error:
        raise UserError(f"weights: {path} is not a Keras .h5 weights file; {error}") from error


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def download(application, include_top: bool) -> Arrays:
    """ImageNet weights through keras.applications' own download (cached in ~/.keras).

    Args:
      application: a model function, e.g. keras.applications.VGG16.
      include_top: also the classifier's layers.

    Raises:
      UserError: the download failed.
    """
    try:
        model = application(include_top=include_top, weights="imagenet")
    except Exception as error:  # Keras wraps every network failure in a bare Exception
        reason = str(error).splitlines()[0]
        raise UserError(f"weights: 'imagenet' could not be downloaded; give an .h5 file or null; {reason}") from error
    return {layer.name: layer.get_weights() for layer in model.layers}


def fold_norms(stored: Arrays) -> Arrays:
    """Makes each bias-free convolution and its batch norm one convolution with a bias.

    A norm at rest is affine, y = gamma (x - mean) / sqrt(var + eps) + beta, so folding changes no output; it leaves
    nothing to freeze and about half the layers to run. (Files with folded norms hold gamma = sqrt(1 + eps), mean 0,
    var 1: for them it is the identity.)
    """
    folded = {}
    for name, arrays in stored.items():
        norm = next((n for n in (f"{name}_BN", f"{name}_bn", f"bn_{name}") if n in stored), None)
        if norm is None or len(arrays) != 1:
            continue
        gamma, beta, mean, variance = stored[norm]
        scale = gamma / np.sqrt(variance + NORM_EPSILON)
        kernel = arrays[0]
        depthwise = kernel.shape[-1] == 1 and kernel.shape[-2] == len(scale)  # [3, 3, channels, 1]
        folded[name] = [kernel * (scale[:, np.newaxis] if depthwise else scale), beta - mean * scale]
    return folded


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
