"""Dilated convolutions by the short way equal those by the long way and plain numpy, gradients included."""

import platform

import numpy as np
import pytest
import tensorflow as tf

from trainer.models import dilated
from trainer.models.xla import building_for_xla
from trainer.training.devices import resolve_precision


def dilated_by_hand(values: np.ndarray, kernel: np.ndarray, rate: int) -> np.ndarray:
    """Tap by tap: values [B, H, W, C], kernel [3, 3, C, O] -> [B, H, W, O], padded with zeros."""
    height, width = values.shape[1:3]
    padded = np.pad(values, [(0, 0), (rate, rate), (rate, rate), (0, 0)])
    taps = [(y, x, padded[:, y * rate :][:, :height, x * rate :][:, :, :width]) for y in range(3) for x in range(3)]
    return sum(shifted @ kernel[y, x] for y, x, shifted in taps)


def layer_of(kind: str, rate: int, bias: bool = True):
    settings = {"dilation_rate": rate, "padding": "same", "activation": "relu", "use_bias": bias}
    layer = dilated.Conv2D(5, 3, **settings) if kind == "full" else dilated.DepthwiseConv2D(3, **settings)
    layer.build([None, None, None, 4])
    return layer


def updated(layer, values: tf.Tensor) -> list[np.ndarray]:
    """The layer's output, and the gradients of its sum and squares by the values and the layer's variables."""

    @tf.function
    def step(values: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(values)
            output = layer(values, training=True) if isinstance(layer, dilated.DepthwiseConv2D) else layer(values)
            loss = tf.reduce_sum(output + output**2)
        return [output, *tape.gradient(loss, [values, *layer.trainable_variables])]

    return [result.numpy() for result in step(values)]


@pytest.fixture
def values() -> tf.Tensor:
    return tf.constant(np.random.default_rng(0).normal(0, 1, (2, 9, 11, 4)).astype(np.float32))


@pytest.mark.parametrize("rate", [2, 4, 12])
@pytest.mark.parametrize("kind", ["full", "depthwise"])
def test_short_way_equals_long_way(kind, rate, values, monkeypatch):
    layer = layer_of(kind, rate)
    short = updated(layer, values)
    monkeypatch.setattr(dilated, "_works", lambda *_: False)
    for a, b in zip(short, updated(layer, values), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["full", "depthwise"])
def test_xla_gets_small_pictures(kind, values, monkeypatch):
    layer = layer_of(kind, 3)
    monkeypatch.setattr(dilated, "_works", lambda *_: True)

    def operations(xla: bool) -> list[str]:
        with building_for_xla(xla):
            graph = tf.function(lambda x: layer(x, training=True)).get_concrete_function(values).graph
        return [operation.type for operation in graph.get_operations()]

    assert "SpaceToBatchND" in operations(True)
    assert "SpaceToBatchND" not in operations(False)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("kind", ["full", "depthwise"])
def test_half_precision_is_the_same_but_for_rounding(kind, precision, values):
    first = layer_of(kind, 2)
    config = first.get_config() | {"activation": "linear"}  # ReLU's gradient jumps where rounding changes a sign
    layer, half = (type(first).from_config(config | {"dtype": dtype}) for dtype in ("float32", precision))
    for each in (layer, half):
        each.build([None, None, None, 4])
        each.set_weights(first.get_weights())
    exact = updated(layer, values)
    for a, b in zip(updated(half, values), exact, strict=True):
        np.testing.assert_allclose(a.astype(np.float32), b, atol=0.05 * np.abs(b).max())


@pytest.mark.skipif(platform.machine() != "x86_64", reason="TensorFlow has oneDNN for x86 alone")
def test_the_short_way_is_taken_on_every_x86():
    """Without oneDNN, which trainer/__init__.py turns on, it is not."""
    assert dilated._works(dilated._native, tf.nn.convolution, tf.float32)


def test_the_short_way_is_taken_in_bfloat16():
    if resolve_precision("auto") != "mixed_bfloat16":
        pytest.skip("this CPU has no bfloat16 of its own")
    assert dilated._works(dilated._native, tf.nn.convolution, tf.bfloat16)


@pytest.mark.parametrize("kind", ["full", "depthwise"])
def test_without_a_graph_it_is_the_same(kind, values):
    layer = layer_of(kind, 3)
    compiled = updated(layer, values)
    tf.config.run_functions_eagerly(True)
    try:
        for a, b in zip(updated(layer, values), compiled, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    finally:
        tf.config.run_functions_eagerly(False)


@pytest.mark.parametrize("rate", [2, 5])
def test_full_convolution_equals_numpy(rate, values):
    layer = layer_of("full", rate)
    expected = dilated_by_hand(values.numpy(), layer.kernel.numpy(), rate)
    np.testing.assert_allclose(updated(layer, values)[0], np.maximum(expected, 0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rate", [2, 5])
def test_depthwise_convolution_and_its_gradients_equal_numpy(rate, values):
    """Each channel is a full convolution with one input and one output channel."""
    layer = layer_of("depthwise", rate, bias=False)
    kernel, found = layer.depthwise_kernel.numpy(), updated(layer, values)
    for channel in range(4):
        one, taps = values.numpy()[..., channel : channel + 1], kernel[:, :, channel : channel + 1]
        output = np.maximum(dilated_by_hand(one, taps, rate), 0)
        upstream = (output > 0) * (1 + 2 * output)
        np.testing.assert_allclose(found[0][..., channel : channel + 1], output, rtol=1e-4, atol=1e-5)
        back = dilated_by_hand(upstream, taps[::-1, ::-1], rate)
        np.testing.assert_allclose(found[1][..., channel : channel + 1], back, rtol=1e-4, atol=1e-4)
        padded = np.pad(one, [(0, 0), (rate, rate), (rate, rate), (0, 0)])
        for y, x in np.ndindex(3, 3):
            shifted = padded[:, y * rate :][:, :9, x * rate :][:, :, :11]
            np.testing.assert_allclose(found[2][y, x, channel, 0], (shifted * upstream).sum(), rtol=1e-3, atol=1e-3)


def test_a_graph_to_serve_has_no_depthwise_operation_that_not_every_tensorflow_has(values):
    layer = layer_of("depthwise", 4)
    graph = tf.function(lambda x: layer(x, training=False)).get_concrete_function(values).graph
    rates = [op.get_attr("dilations") for op in graph.get_operations() if op.type == "DepthwiseConv2dNative"]
    assert rates == [[1, 1, 1, 1]]


def test_a_wrong_gradient_is_noticed():
    """As TensorFlow's own of a dilated depthwise convolution, which forgets the dilation."""

    def wrong(values, kernel, rates):
        return tf.stop_gradient(dilated._depthwise(values, kernel, "SAME", rates)) + 0 * tf.reduce_sum(
            values
        ) * tf.reduce_sum(kernel)

    assert not dilated._works(wrong, dilated._depthwise, tf.float32)
    assert dilated._works(lambda v, k, rates: dilated._depthwise(v, k, "SAME", rates), dilated._depthwise, tf.float32)
