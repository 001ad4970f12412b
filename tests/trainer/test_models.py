"""Networks: LargeFOV's layers, seeds, resumable dropout, mixed precision, CAM, P-Net. Backbones: test_backbones."""

import numpy as np
import pytest
import tensorflow as tf
from backbone_contract import images
from tensorflow import keras

from trainer.models.cam import build_cam, normalise_maps
from trainer.models.large_fov import build_segmentation
from trainer.models.p_net import build_p_net, encode_p_net_input


@pytest.fixture(scope="module")
def vgg():
    return build_segmentation("vgg16", 21, None, 0)


@pytest.fixture
def policy():
    before = keras.mixed_precision.global_policy()
    yield keras.mixed_precision.set_global_policy
    keras.mixed_precision.set_global_policy(before)


def test_large_fov_is_built_as_method_section_2_says(vgg):
    def of(name, *attributes):
        return tuple(getattr(vgg.get_layer(name), attribute) for attribute in attributes)

    for pool, stride in (("pool1", 2), ("pool2", 2), ("pool3", 2), ("pool4", 1), ("pool5", 1), ("pool5a", 1)):
        assert of(pool, "pool_size", "strides") == ((3, 3), (stride, stride))
    assert [of(f"block{b}_conv1", "dilation_rate")[0] for b in range(1, 6)] == [(1, 1)] * 4 + [(2, 2)]
    assert of("fc6", "kernel_size", "dilation_rate", "filters") == ((3, 3), (12, 12), 1024)
    assert of("fc7", "kernel_size", "filters") == ((1, 1), 1024)
    assert of("drop6", "rate") == of("drop7", "rate") == (0.5,)


def test_pool5a_counts_zero_padding(vgg):
    x = keras.Input([5, 5, 512])
    pooled = keras.Model(x, vgg.get_layer("pool5a")(vgg.get_layer("pool5a_pad")(x)))(np.ones((1, 5, 5, 512)))
    np.testing.assert_allclose(pooled[0, 0, :3, 0], [4 / 9, 6 / 9, 6 / 9], rtol=1e-6)


def test_seed_decides_every_weight():
    first, same, other = (build_segmentation("tiny", 4, None, seed) for seed in (1, 1, 2))
    for a, b in zip(first.get_weights(), same.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(first.get_weights(), other.get_weights(), strict=True))


def test_dropout_continues_from_a_checkpoint(tmp_path):
    """The generator's state is saved with the model: the next training-mode answers are the same bits."""
    x = images(33)
    net = build_segmentation("mobilenet", 3, None, 0)
    net(x, training=True)
    path = tf.train.Checkpoint(net=net).save(tmp_path / "checkpoint")
    expected = [net(x, training=True).numpy() for _ in range(2)]
    assert (expected[0] != expected[1]).any()
    resumed = build_segmentation("mobilenet", 3, None, 0)
    tf.train.Checkpoint(net=resumed).restore(path).assert_consumed()
    for answer in expected:
        np.testing.assert_array_equal(resumed(x, training=True), answer)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_answers_are_float32_under_mixed_precision(policy, precision):
    policy(precision)
    x = images(33)
    assert build_segmentation("tiny", 3, None, 0)(x).dtype == tf.float32
    assert {v.dtype for v in build_cam("tiny", 3, None, 0)(x).values()} == {tf.float32}
    assert build_p_net(8, 3, 0)(tf.zeros([1, 8, 8, 9])).dtype == tf.float32


def test_cam_scores_are_pooled_features_times_class_weights():
    """Zhou et al. 2016: pooling features then multiplying equals pooling the maps."""
    cam = build_cam("tiny", 5, None, 0)
    x = images(65, 2)
    features = keras.Model(cam.input, cam.get_layer("fc8").input)(x).numpy()
    answer = cam(x)
    np.testing.assert_allclose(answer["scores"], features.mean((1, 2)) @ cam.get_layer("fc8").kernel[0, 0], atol=1e-5)
    np.testing.assert_allclose(answer["maps"], features @ cam.get_layer("fc8").kernel[0, 0], atol=1e-5)


def test_normalised_maps():
    maps = np.zeros((1, 2, 2, 3), np.float32)
    maps[..., 0] = [[4, -2], [1, 0]]
    maps[..., 1] = -1
    maps[..., 2] = [[0.1, 0.05], [0, 0]]
    expected = np.stack([[[1, 0], [0.25, 0]], np.zeros((2, 2)), [[1, 0.5], [0, 0]]], axis=-1)
    np.testing.assert_allclose(normalise_maps(tf.constant(maps))[0], expected, rtol=1e-6)


def test_p_net_is_table_1():
    net = build_p_net(41, 21, 0)
    convs = sum(9 * a * b + b for a, b in ((63, 16), (16, 32), (32, 64), (64, 64), (64, 128), (128, 128)))
    dense = (5 * 5 * 128) * 256 + 256 + 256 * 512 + 512 + 512 + 1  # 41 -> 20 -> 10 -> 5 by pooling
    assert net.count_params() == convs + dense == 1_242_145
    activations = {layer.name: layer.activation.__name__ for layer in net.layers if layer.weights}
    assert list(activations.values()) == ["relu"] * 6 + ["tanh", "tanh", "linear"]
    assert net(tf.zeros([2, 41, 41, 63])).shape == (2, 1)


def test_p_net_input_is_the_image_times_each_mask():
    rng = np.random.default_rng(0)
    image, mask = images(4, 2), rng.random((2, 4, 4, 5)).astype(np.float32)
    valid = rng.integers(0, 2, (2, 4, 4))
    encoded = encode_p_net_input(tf.constant(image), tf.constant(mask), tf.constant(valid))
    assert encoded.shape == (2, 4, 4, 15)
    for b, y, x, c, k in np.ndindex(2, 4, 4, 5, 3):
        expected = image[b, y, x, k] / 255 * mask[b, y, x, c] * valid[b, y, x]
        np.testing.assert_allclose(encoded[b, y, x, 3 * c + k], expected, rtol=1e-5)
