"""Max pooling by slices equals TensorFlow's, gradients and ties included, and XLA takes it under op determinism."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import config

from trainer.models.pooling import MaxPool2D
from trainer.models.xla import building_for_xla

CASES = [  # size, strides, padding, side
    (3, 2, "same", 9),
    (3, 2, "same", 8),
    (3, 1, "same", 6),
    (2, 2, "valid", 9),
    (2, 2, "valid", 8),
    (3, 2, "valid", 7),
]


def values_of(side: int, dtype: str, seed: int = 0) -> tf.Tensor:
    """Behind a ReLU many values are equal, so that ties decide."""
    values = np.maximum(np.random.default_rng(seed).normal(0, 1, (2, side, side + 2, 3)).round(1), 0)
    return tf.constant(values, dtype)


def pooled(layer, values, xla: bool):
    with tf.GradientTape() as tape, building_for_xla(xla):
        tape.watch(values)
        result = layer(values)
        loss = tf.reduce_sum(result * tf.cast(tf.reshape(tf.range(tf.size(result)), tf.shape(result)), result.dtype))
    return result, tape.gradient(loss, values)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize(("size", "strides", "padding", "side"), CASES)
def test_values_and_gradients_are_tensorflows(size, strides, padding, side, dtype):
    layer, values = MaxPool2D(size, strides=strides, padding=padding, dtype=dtype), values_of(side, dtype)
    plain, sliced = pooled(layer, values, False), pooled(layer, values, True)
    np.testing.assert_array_equal(plain[0], sliced[0])
    tolerance = {"float32": 0, "bfloat16": 0.02, "float16": 0.002}[dtype]  # where windows overlap, order counts
    np.testing.assert_allclose(
        tf.cast(plain[1], tf.float32), tf.cast(sliced[1], tf.float32), rtol=tolerance, atol=tolerance
    )


def test_negative_values_are_not_the_paddings():
    layer, values = MaxPool2D(3, strides=2, padding="same"), -1 - values_of(9, "float32")
    np.testing.assert_array_equal(pooled(layer, values, False)[0], pooled(layer, values, True)[0])


def test_xla_takes_it_under_determinism_and_not_tensorflows():
    layer, values = MaxPool2D(3, strides=2, padding="same"), values_of(9, "float32")
    compiled = tf.function(pooled, jit_compile=True)
    config.enable_op_determinism()
    try:
        np.testing.assert_array_equal(compiled(layer, values, True)[1], pooled(layer, values, False)[1])
        with pytest.raises(tf.errors.UnimplementedError, match="deterministic"):  # when it no longer does, delete ours
            compiled(layer, values, False)
    finally:
        config.disable_op_determinism()
