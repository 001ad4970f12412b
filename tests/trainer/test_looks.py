"""How pictures are fitted for a look, and which looks cannot be."""

import numpy as np
import pytest
import tensorflow as tf
from pydantic import ValidationError

from trainer.data.preprocessing import MEAN_COLOUR, fitted_size, to_network_input
from trainer.inference.looks import InferenceConfig, Look, MapsConfig
from trainer.inference.views import mean_map, segmentation_logits


def test_by_default_a_network_is_tested_at_its_training_size():
    assert InferenceConfig().look(321, (1.0, 1.56)) == MapsConfig().look(321) == Look(size=321)
    assert InferenceConfig().look(321, "native") == Look(size=321, native=True)


def test_sides_of_the_views():
    look = InferenceConfig(size=513, scales=[0.5, 1.0, 1.25, 0.01]).look(321, "native")
    assert look.sides == [257, 513, 641, 33]
    assert look.one_view == Look(size=513, native=True)


def test_a_quarter_of_a_tile_is_shared_by_default():
    assert InferenceConfig(tile=513).look(321, "native") == Look(size=513, native=True, overlap=129)
    assert InferenceConfig(tile=33).look(321, "native").overlap == 9


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"size": 512}, "8k\\+1.*nearest: 513"),
        ({"size": 17}, "greater than or equal to 33"),
        ({"scales": []}, "at least one scale"),
        ({"scales": [0]}, "greater than 0"),
        ({"tile": 0}, "greater than or equal to 33"),
        ({"tile": -513}, "greater than or equal to 33"),
        ({"tile": 500}, "8k\\+1"),
        ({"tile": 513, "overlap": 128}, "8k\\+1"),
        ({"tile": 513, "overlap": 0}, "greater than or equal to 1"),
        ({"tile": 65, "overlap": 65}, "overlap \\(65\\) must be smaller than tile \\(65\\)"),
        ({"tile": 65, "overlap": 129}, "must be smaller than tile"),
        ({"overlap": 65}, "give tile too"),
        ({"tile": 65, "size": 65}, "not both"),
        ({"tile": 65, "scales": [1.0, 1.5]}, "leave scales at \\[1.0\\]"),
        ({"max_pixels": 10**9}, "less than or equal to 178000000"),
    ],
)
def test_looks_that_cannot_be_are_refused(values, words):
    with pytest.raises(ValidationError, match=words):
        InferenceConfig(**values)


def test_tiles_need_a_network_that_knows_pictures_at_their_own_pixels():
    with pytest.raises(ValueError, match="train with segmentation.scale: native"):
        InferenceConfig(tile=65).look(65, (1.0, 1.0))


@pytest.mark.parametrize(
    ("height", "width", "native", "expected"),
    [
        (375, 500, True, (375, 500)),
        (375, 500, False, (385, 513)),
        (1026, 200, True, (513, 100)),
        (1026, 200, False, (513, 100)),
        (513, 1, True, (513, 1)),
        (3, 2, True, (3, 2)),
        (3, 2, False, (513, 342)),
    ],
)
def test_a_native_picture_is_shrunk_only_if_it_is_larger_than_the_input(height, width, native, expected):
    least = Look(size=513, native=native).least_side
    assert tuple(fitted_size(height, width, 513, least_side=least).numpy()) == expected


def test_scales_keep_their_ratio_for_native_pictures():
    look = Look(size=513, native=True, scales=(0.5, 1.0, 1.5))
    sizes = [fitted_size(300, 200, side, least_side=look.least_side).numpy().tolist() for side in look.sides]
    assert sizes == [[round(n * side / 513) for n in (300, 200)] for side in (257, 513, 769)]


def test_a_native_picture_reaches_the_network_pixel_by_pixel():
    picture = np.random.default_rng(0).integers(0, 256, (40, 57, 3)).astype(np.uint8)
    network_input, valid = to_network_input(picture, 65, least_side=65)
    np.testing.assert_array_equal(network_input[:40, :57], picture)
    assert valid.numpy().tolist() == [40, 57]
    np.testing.assert_allclose(network_input[40:], np.broadcast_to(np.float32(MEAN_COLOUR), (25, 65, 3)), atol=1e-4)


def enlarged(grid: np.ndarray, cells: int) -> np.ndarray:
    """[g, g, K] -> [cells, cells, K], bilinear with common corners."""
    places = np.linspace(0, len(grid) - 1, cells)
    weights = np.maximum(0, 1 - abs(places[:, None] - np.arange(len(grid))))
    return np.einsum("pr,qc,rck->pqk", weights, weights, grid)


def softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


def test_several_views_give_the_logarithm_of_their_mean_probability():
    rng = np.random.default_rng(0)
    answers = {33: rng.normal(0, 4, (2, 5, 5, 3)), 65: rng.normal(0, 4, (2, 9, 9, 3))}
    flips = {33: rng.normal(0, 4, (2, 5, 5, 3)), 65: rng.normal(0, 4, (2, 9, 9, 3))}
    inputs = [tf.constant(np.tile(np.arange(s, dtype=np.float32), (2, s, 1))[..., None].repeat(3, 3)) for s in answers]

    def network(batch):
        """Answers by side, and by whether the input is mirrored."""
        side, is_mirrored = batch.shape[1], bool(batch[0, 0, 0, 0] > 0)
        return tf.constant((flips if is_mirrored else answers)[side], tf.float32)

    found = segmentation_logits(network, inputs, mirror=True).numpy()
    for i in range(2):
        views = [softmax(answers[33][i]), softmax(flips[33][i])[:, ::-1]]
        views = [enlarged(view, 9) for view in views]
        views += [softmax(answers[65][i]), softmax(flips[65][i])[:, ::-1]]
        np.testing.assert_allclose(np.exp(found[i]), np.mean(views, 0), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(segmentation_logits(network, inputs[1:], mirror=False), np.float32(answers[65]))


def test_probabilities_of_zero_do_not_spread():
    logits = tf.constant([[[[200.0, -200.0]]]])
    found = segmentation_logits(lambda batch: logits, [tf.zeros([1, 9, 9, 3])] * 2, mirror=False)
    assert np.isfinite(found).all() and tf.argmax(found, -1).numpy().item() == 0
    assert mean_map([tf.ones([1, 2, 2, 1]), tf.zeros([1, 3, 3, 1])]).numpy().mean() == 0.5
