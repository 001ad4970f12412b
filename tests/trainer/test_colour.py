import numpy as np
import tensorflow as tf

from trainer.data.colour import jitter

IMAGE = tf.constant(np.random.default_rng(0).uniform(0, 255, (9, 7, 3)).astype(np.float32))


def test_the_middle_draw_changes_nothing():
    np.testing.assert_allclose(jitter(IMAGE, tf.constant([0.5, 0.5, 0.5]), 0.8), IMAGE, atol=0.2)


def test_draws_change_colours_within_range():
    for draws in ([0.0, 0.5, 0.5], [0.5, 1.0, 0.5], [0.5, 0.5, 1.0], [1.0, 0.0, 0.0]):
        changed = jitter(IMAGE, tf.constant(draws), 0.5).numpy()
        assert changed.min() >= 0 and changed.max() <= 255
        assert np.abs(changed - IMAGE.numpy()).mean() > 1


def test_brightness_scales_the_pixels():
    dark = IMAGE * 0.5
    np.testing.assert_allclose(jitter(dark, tf.constant([0.5, 0.5, 1.0]), 0.4), dark * 1.4, atol=0.5)
