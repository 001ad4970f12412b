"""The values that training begins with where no file has any: random, from one seed, on the scale of their inputs."""

from __future__ import annotations

import functools
import math
from collections.abc import Container, Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow import keras

from trainer.data.preprocessing import MEAN_COLOUR

HEAD_STDDEV = 0.01  # DeepLab-LargeFOV's own filler for fc8
# Open: root mean squares of a layer's outputs: least, aim, most.
HIDDEN = (0.35, 0.7, 1.4)  # .7 after ReLU is variance 1 before
LOGITS = (0.0, 0.125, 0.25)  # .25 adds .03 to a first loss of ln(classes), with dropout .13


def initialise(model: keras.Model, seed: int, heads: Container[str], fan_in: Mapping[str, int] | None = None) -> None:
    """Fills every variable from `seed` alone: the same seed gives the same network in any process.

    Kernels are normal with variance 2 / fan_in (He et al. 2015), those of heads normal with deviation 0.01, biases and
    norm offsets 0, norm scales 1.

    Args:
      model: a built model.
      seed: >= 0.
      heads: names of the layers that give logits.
      fan_in: layer name -> number of inputs that carry signal, where that is not the kernel's own.
    """
    for index, variable in enumerate(model.trainable_variables):
        layer, kind = variable.name.split(":")[0].split("/")[-2:]
        shape = variable.shape.as_list()
        if not kind.endswith("kernel"):
            variable.assign(np.full(shape, float(kind == "gamma"), np.float32))
            continue
        inputs = math.prod(shape[:2]) if kind == "depthwise_kernel" else math.prod(shape[:-1])
        inputs = (fan_in or {}).get(layer, inputs)
        stddev = HEAD_STDDEV if layer in heads else math.sqrt(2.0 / inputs)
        values = np.random.default_rng([seed, index]).standard_normal(shape, np.float32)
        variable.assign(values * np.float32(stddev))


def rescale(model: keras.Model, inputs: Sequence[tf.Tensor], heads: Container[str], known: Container[str] = ()) -> None:
    """Brings the outputs of new layers to the scale that He's rule assumes their inputs have, one layer after another.

    He's variance keeps a signal of mean square 1 what it is, but on photographs ImageNet's conv5_3 has a
    deviation of 13 and a maximum of 560, and unnormalised residual blocks add up. Logits of fc8 are then so large that
    the first loss is 8 instead of ln(21), and the paper's rates end in NaN. Caffe's one deviation, 0.01 for every new
    layer, mends that for conv5_3 alone: after a depthwise convolution nothing would be left. So each new layer's
    kernel is divided by what its outputs on `inputs` are too large or too small by (layer-sequential unit variance,
    Mishkin and Matas 2016): by a power of two, and only beyond the bounds HIDDEN or LOGITS, so that neither other
    processors nor other precisions change a weight, and what fits already is left as it is.

    Args:
      model: a functional model, `initialise`d, with the arrays of `known` layers assigned.
      inputs: examples of the model's inputs, [B, ...] each.
      heads: names of the layers that give logits.
      known: names of the layers to be left alone.
    """
    values = {id(place): value for place, value in zip(model.inputs, inputs, strict=True)}
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        taken = tf.nest.map_structure(lambda place: values[id(place)], layer.input)
        output = layer(taken)
        kernel = next((weight for weight in layer.weights if "kernel" in weight.name), None)
        if kernel is not None and layer.name not in known:
            least, aim, most = LOGITS if layer.name in heads else HIDDEN
            rms = float(tf.sqrt(tf.reduce_mean(tf.square(tf.cast(output, tf.float32)))))
            if 0 < rms < least or most < rms < math.inf:
                kernel.assign(kernel * 2.0 ** -round(math.log2(rms / aim)))
                output = layer(taken)
        values[id(layer.output)] = output


@functools.lru_cache
def made_up_images(size: int = 129) -> np.ndarray:
    """Two images as bright, as coloured and as full of edges as photographs are; always the same ones.

    Dead leaves (Lee, Mumford and Huang 2001): discs of one colour each that hide each other, small ones more often.

    Returns:
      float32 [2, size, size, 3] RGB in 0..255.
    """
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size]
    images = np.empty((2, size, size, 3), np.float32)
    images[:] = MEAN_COLOUR
    smallest, largest = 1 / size, 0.5  # radii, of the side; how many there are falls with the cube
    for image in images:
        for share in rng.random(4 * size):
            radius = size / math.sqrt(share * (smallest**-2 - largest**-2) + largest**-2)
            row, column = rng.random(2) * size
            colour = np.add(MEAN_COLOUR, 90 * rng.standard_normal() + 30 * rng.standard_normal(3))
            image[(y - row) ** 2 + (x - column) ** 2 < radius**2] = np.clip(colour, 0, 255)
    images.setflags(write=False)
    return images
