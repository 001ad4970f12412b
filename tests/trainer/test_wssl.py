"""Adaptive EM: the E-step against a loop in numpy, and that training learns from tags."""

import numpy as np
import pytest
import tensorflow as tf

from trainer.baselines.wssl import BACKGROUND_SHARE, FOREGROUND_SHARE, _inside, expected_labels, targets
from trainer.data.preprocessing import pad


def reference(logits, tags, inside, order):
    """Cell by cell: biases found by sorting how far each class lies behind."""
    result = np.full(logits.shape[:3], 255)
    for b, image in enumerate(logits):
        present = [True, *(tag > 0 for tag in tags[b])]
        cells = [tuple(cell) for cell in np.argwhere(inside[b])]
        scores = {cell: [s if p else -np.inf for s, p in zip(image[cell], present, strict=True)] for cell in cells}
        for c in np.argsort(order[b]):
            if not present[c]:
                continue
            share = FOREGROUND_SHARE if c else BACKGROUND_SHARE
            wanted = max(1, int(np.floor(np.float32(share) * len(cells))))
            leads = sorted((s[c] - max(s[:c] + s[c + 1 :]) for s in scores.values()), reverse=True)
            bias = max(0.0, 1e-3 - leads[wanted - 1])
            for s in scores.values():
                s[c] += bias
        for (row, column), s in scores.items():
            result[b, row, column] = int(np.argmax(s))
    return result


@pytest.mark.parametrize("seed", range(5))
def test_equals_a_loop(seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (4, 6, 6, 5)).astype(np.float32)
    tags = np.array([[1, 0, 0, 0], [1, 1, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]], np.float32)
    inside = np.ones((4, 6, 6), bool)
    inside[1, 4:] = inside[2, :, 3:] = False
    order = rng.random((4, 5)).astype(np.float32)
    found = expected_labels(*(tf.constant(x) for x in (logits, tags, inside, order))).numpy()
    np.testing.assert_array_equal(found, reference(logits, tags, inside, order))


def test_a_tag_gets_its_share_against_all_odds_and_absent_classes_get_nothing():
    logits = np.zeros((1, 10, 10, 4), np.float32)
    logits[..., 0], logits[..., 3] = 9.0, 30.0
    logits[0, :3, :, 2] = 1.0
    tags, inside = np.array([[0, 1, 0]], np.float32), np.ones((1, 10, 10), bool)
    labels = expected_labels(*map(tf.constant, (logits, tags, inside)), tf.constant([[0.0, 1, 2, 3]])).numpy()[0]
    assert set(np.unique(labels)) == {0, 2} and (labels == 2).sum() >= 20 and (labels[:3] == 2).sum() >= 20


def test_padding_is_found_and_bright_or_grey_images_are_not_padding():
    image = tf.fill([30, 49, 3], 128.0)
    padded = pad(image, 49)
    inside = _inside(padded[tf.newaxis], 7).numpy()[0]
    assert inside[:4].all() and not inside[4:].any()  # cells every 8 pixels: rows 0, 8, 16, 24 of 30


def test_estimates_fill_images_without_a_mask_and_the_void_of_weak_images_only():
    labels = tf.constant([[[1, 255]], [[1, 255]], [[255, 255]], [[255, 255]]])
    estimated = tf.constant([[[3, 3]], [[3, 3]], [[3, 0]], [[3, 255]]])
    found = targets(labels, estimated, tf.constant([False, True, True, False]))
    assert found.numpy().tolist() == [[[1, 255]], [[1, 3]], [[3, 0]], [[3, 255]]]
