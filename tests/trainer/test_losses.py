"""Losses against plain numpy, with void pixels, empty batches and the paper's learning-rate trap."""

import numpy as np
import pytest
import tensorflow as tf
from backbone_contract import mean

from trainer import losses

RNG = np.random.default_rng(0)


def batch(channels: int, void: float = 0.2, grid: int = 5):
    """Logits [2, g, g, C] and labels [2, S, S] whose void cells are chosen at random."""
    logits = RNG.normal(0, 3, (2, grid, grid, channels)).astype(np.float32)
    side = 8 * (grid - 1) + 1
    labels = RNG.integers(0, max(channels, 3), (2, side, side)).astype(np.uint8)
    labels[RNG.random(labels.shape) < void] = 255
    return logits, labels


def softmax_entropy(logits: np.ndarray, label: int) -> float:
    logits = logits.astype(np.float64)
    return float(np.log(np.exp(logits).sum()) - logits[label])


def binary_entropy(logit: float, target: float) -> float:
    p = 1 / (1 + np.exp(-np.float64(logit)))
    return float(-target * np.log(p) - (1 - target) * np.log(1 - p))


def test_segmentation_loss_equals_numpy():
    logits, labels = batch(4)
    cells = [(b, y, x) for b, y, x in np.ndindex(2, 5, 5) if labels[b, 8 * y, 8 * x] != 255]
    expected = sum(softmax_entropy(logits[b, y, x], labels[b, 8 * y, 8 * x]) for b, y, x in cells)
    total, count = losses.segmentation_loss(tf.constant(logits), tf.constant(labels))
    np.testing.assert_allclose(total, expected, rtol=1e-5)
    assert count == len(cells) < 50


def test_foreground_loss_is_eq_1_on_binarised_masks():
    logits, labels = batch(1)
    cells = [(b, y, x) for b, y, x in np.ndindex(2, 5, 5) if labels[b, 8 * y, 8 * x] != 255]
    expected = sum(binary_entropy(logits[b, y, x, 0], int(labels[b, 8 * y, 8 * x] > 0)) for b, y, x in cells)
    total, count = losses.foreground_loss(tf.constant(logits), tf.constant(labels))
    np.testing.assert_allclose(total, expected, rtol=1e-5)
    assert count == len(cells)


def test_tag_loss_equals_numpy():
    logits = RNG.normal(0, 2, (3, 4)).astype(np.float32)
    tags = RNG.integers(0, 2, (3, 4))
    expected = np.mean([binary_entropy(logits[i], tags[i]) for i in np.ndindex(3, 4)])
    np.testing.assert_allclose(mean(losses.tag_loss(tf.constant(logits), tf.constant(tags))), expected, rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_p_net_loss_is_eq_5(smoothing):
    real, fake = RNG.normal(0, 2, (2, 6, 1)).astype(np.float32)
    expected = np.mean(
        [binary_entropy(r, 1 - smoothing) + binary_entropy(f, 0) for r, f in zip(real, fake, strict=True)]
    )
    total = losses.p_net_loss(tf.constant(real), tf.constant(fake), smoothing)
    np.testing.assert_allclose(mean(total), np.squeeze(expected), rtol=1e-5)


def test_generator_loss_is_the_second_term_of_eq_4():
    fake = RNG.normal(0, 2, (6, 1)).astype(np.float32)
    expected = np.mean([binary_entropy(f, 1) for f in fake[:, 0]])
    np.testing.assert_allclose(mean(losses.generator_loss(tf.constant(fake))), expected, rtol=1e-5)


@pytest.mark.parametrize(("loss", "channels"), [(losses.segmentation_loss, 4), (losses.foreground_loss, 1)])
def test_void_has_no_gradient_and_an_all_void_batch_no_loss(loss, channels):
    logits, labels = batch(channels, void=0.4)
    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        value = mean(loss(variable, tf.constant(labels)))
    gradient = tape.gradient(value, variable).numpy()
    void = labels[:, ::8, ::8] == 255
    assert void.any()
    assert not gradient[void].any()
    assert np.abs(gradient[~void]).min() > 0
    with tf.GradientTape() as tape:
        value = mean(loss(variable, tf.fill(labels.shape, tf.constant(255, tf.uint8))))
    assert value == 0
    assert not tape.gradient(value, variable).numpy().any()


def test_parts_of_a_batch_add_up_to_the_whole():
    logits, labels = batch(4, void=0.5)
    whole = losses.segmentation_loss(tf.constant(logits), tf.constant(labels))
    parts = [losses.segmentation_loss(tf.constant(logits[i : i + 1]), tf.constant(labels[i : i + 1])) for i in range(2)]
    np.testing.assert_allclose(whole, np.sum(parts, axis=0), rtol=1e-6)


@pytest.mark.parametrize("logit", [-300.0, 300.0])
def test_extreme_and_half_precision_logits_stay_finite(logit):
    logits = tf.constant(logit, tf.bfloat16, [1, 3, 3, 1])
    total, _ = losses.foreground_loss(logits, tf.ones([1, 17, 17], tf.uint8))
    assert total.dtype == tf.float32
    np.testing.assert_allclose(total, 9 * max(-logit, 0))


def test_labels_are_taken_from_under_the_grid_cells():
    labels = np.arange(17 * 17, dtype=np.int32).reshape(1, 17, 17)
    np.testing.assert_array_equal(losses.grid_labels(tf.constant(labels), 3)[0], labels[0, [0, 8, 16]][:, [0, 8, 16]])
    with pytest.raises(ValueError, match="side 18"):
        losses.grid_labels(tf.zeros([1, 18, 18], tf.int32), 3)


def test_the_papers_5e_8_on_a_sum_is_8_4e_5_on_a_mean():
    """One 41 x 41 prediction without void: SGD on the summed loss and on the mean move the weights alike."""
    features = RNG.normal(size=(1, 41, 41, 8)).astype(np.float32)
    labels = tf.constant(RNG.integers(0, 2, (1, 321, 321)), tf.uint8)
    moved = []
    for of_sum, rate in ((True, 5e-8), (False, 8.4e-5)):
        weights = tf.Variable(np.full((8, 1), 0.1, np.float32))
        with tf.GradientTape() as tape:
            total, count = losses.foreground_loss(tf.constant(features) @ weights, labels)
            loss = total if of_sum else total / count
        moved.append(rate * tape.gradient(loss, weights).numpy())
    assert np.abs(moved[0]).max() > 0
    np.testing.assert_allclose(moved[0], moved[1], rtol=1e-3)  # 5e-8 * 1681 = 8.405e-5
