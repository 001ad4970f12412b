"""Dilated convolutions without the detour that Keras takes, where this machine can.

Keras rearranges the picture into dilation^2 small ones (space-to-batch), because TensorFlow's own kernels for CPUs lack
gradients of dilated convolutions. oneDNN has them, and cuDNN: fc6 of VGG-16 on 41 x 41 cells, forward and backward,
takes 180 instead of 575 ms on two cores (float32), 1.5 instead of 2.2 on an H200 (float16). Values are the same,
gradients to rounding. XLA is left with Keras' way: of its convolutions that repeat to the last bit, the dilated ones
take 8.2 ms there, 1.4 on small pictures.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import tensorflow as tf
from tensorflow.keras import layers

from trainer.graphs import graph_function
from trainer.models.xla import is_for_xla

_ROUNDING = 0.02  # of the largest value; our choice: a forgotten dilation is off by a fifth
Convolution = Callable[..., tf.Tensor]  # values [B, H, W, C], kernel, rates -> [B, H, W, C']


class Conv2D(layers.Conv2D):
    """Keras' layer. Every TensorFlow runs it forward, so it may be in an exported graph."""

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        if not _may_be_short(self) or not _works(_native, tf.nn.convolution, tf.as_dtype(self.compute_dtype)):
            return super().convolution_op(inputs, kernel)  # the compute type, for the kernel's own is float32
        return _native(inputs, kernel, tuple(self.dilation_rate))


class DepthwiseConv2D(layers.DepthwiseConv2D):
    """Keras' layer, the short way in training alone: not every TensorFlow that may serve an exported graph has it."""

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        short = training and _may_be_short(self) and self.data_format == "channels_last"
        if not short or not _works(_native_depthwise, _depthwise, tf.as_dtype(self.compute_dtype)):
            return super().call(inputs)
        outputs = _native_depthwise(inputs, self.depthwise_kernel, tuple(self.dilation_rate))
        if self.use_bias:
            outputs = tf.nn.bias_add(outputs, self.bias)
        return outputs if self.activation is None else self.activation(outputs)


def _may_be_short(layer: layers.Layer) -> bool:
    return tuple(layer.dilation_rate) != (1, 1) and layer.padding == "same" and not is_for_xla()


def _native(values: tf.Tensor, kernel: tf.Tensor, rates: tuple[int, int]) -> tf.Tensor:
    return tf.nn.conv2d(values, kernel, strides=1, padding="SAME", dilations=rates)


def _native_depthwise(values: tf.Tensor, kernel: tf.Tensor, rates: tuple[int, int]) -> tf.Tensor:
    """oneDNN's, forward alone: TensorFlow's gradients of it are wrong, for they forget the dilation."""

    def forward(values: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        return tf.raw_ops.DepthwiseConv2dNative(
            input=values, filter=kernel, strides=[1, 1, 1, 1], padding="SAME", dilations=[1, *rates, 1]
        )

    @tf.custom_gradient
    def convolve(values: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        def gradients(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            if tf.executing_eagerly():
                with tf.GradientTape() as tape:
                    tape.watch(kernel)
                    output = _depthwise(values, kernel, "SAME", rates)
                of_kernel = tape.gradient(output, kernel, upstream)
            else:  # the forward pass in it is never run
                [of_kernel] = tf.gradients(_depthwise(values, kernel, "SAME", rates), [kernel], upstream)
            return forward(upstream, tf.reverse(kernel, [0, 1])), of_kernel  # its sides are odd

        return forward(values, kernel), gradients

    return convolve(values, tf.convert_to_tensor(kernel))


def _depthwise(values: tf.Tensor, kernel: tf.Tensor, padding: str, dilations: tuple[int, int]) -> tf.Tensor:
    return tf.nn.depthwise_conv2d(values, kernel, [1, 1, 1, 1], padding, dilations=dilations)


@functools.lru_cache
def _works(short: Convolution, long: Convolution, dtype: tf.DType) -> bool:
    """Whether a convolution and its gradients work here in this type, and are those of the long way."""
    rates = (2, 2)

    @graph_function
    def results(values: tf.Tensor, kernel: tf.Tensor, convolve: Convolution) -> list[tf.Tensor]:
        output = convolve(values, kernel)
        return [output, *tf.gradients(output, [values, kernel])]  # no tape: the scope below pauses all of them

    with tf.init_scope():
        values = tf.cast(tf.reshape(tf.range(2 * 7 * 7 * 4) % 5, [2, 7, 7, 4]), dtype)
        kernel = tf.cast(tf.reshape(tf.range(3 * 3 * 4) % 3, [3, 3, 4, 1]), dtype)
        expected = results(values, kernel, lambda *pair: long(*pair, padding="SAME", dilations=rates))
        try:
            found = results(values, kernel, lambda *pair: short(*pair, rates))
        except (tf.errors.UnimplementedError, tf.errors.InvalidArgumentError, tf.errors.NotFoundError):
            return False
        return all(
            bool(tf.reduce_max(tf.abs(a - b)) <= _ROUNDING * tf.reduce_max(tf.abs(a)))
            for a, b in zip(expected, found, strict=True)
        )
