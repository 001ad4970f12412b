"""Tiles against numpy: where they lie, how they are blended, and that nobody sees where one ends."""

import numpy as np
import pytest
import tensorflow as tf
from labelling_samples import colour_net, scene

from trainer.data.preprocessing import MEAN_COLOUR, grid_to_image, to_network_input
from trainer.inference.looks import Look
from trainer.inference.tiles import blending_weights, on_pixels
from trainer.models.large_fov import build_segmentation

LOGITS, IDS = tf.TensorSpec([None, None, 4], tf.float32), tf.TensorSpec([None, None], tf.uint8)
LOOKS = [Look(size=65, native=True, overlap=overlap) for overlap in (1, 17, 33, 49)]
WHOLE = Look(size=257, native=True, overlap=9)  # one tile holds the pictures here


@pytest.fixture(scope="module")
def net():
    """Sees far beyond a tile's edges, with random weights: a wrong place or weight shows."""
    return build_segmentation("tiny", 4, None, 0)


def logits_of(picture: np.ndarray, net, look: Look) -> np.ndarray:
    return on_pixels(tf.constant(picture), net, 4, look, tf.identity, LOGITS).numpy()


def reference(picture: np.ndarray, net, size: int, overlap: int) -> np.ndarray:
    """float64 [H, W, C]: every tile's prediction goes into one grid, with its weights; then bilinear interpolation."""
    height, width = picture.shape[:2]
    step, cells = size - overlap, (size - 1) // 8 + 1
    starts = [[0] for _ in range(2)]
    for begins, length in zip(starts, (height, width), strict=True):
        while begins[-1] + size < length:
            begins.append(begins[-1] + step)
    padded = np.tile(np.float32(MEAN_COLOUR), (starts[0][-1] + size, starts[1][-1] + size, 1))
    padded[:height, :width] = picture
    ramp = np.minimum(np.arange(1, cells + 1), np.arange(cells, 0, -1))
    weight = np.outer(ramp, ramp)[..., None].astype(float)
    shape = [(side - 1) // 8 + 1 for side in padded.shape[:2]]
    total, weights = np.zeros((*shape, 4)), np.zeros((*shape, 1))
    for top in starts[0]:
        for left in starts[1]:
            prediction = net(padded[None, top : top + size, left : left + size])[0].numpy()
            place = np.s_[top // 8 : top // 8 + cells, left // 8 : left // 8 + cells]
            total[place] += weight * prediction
            weights[place] += weight
    grid = total / weights
    y, x = np.arange(height) / 8, np.arange(width) / 8
    down = np.maximum(0, 1 - abs(y[:, None] - np.arange(shape[0])))
    across = np.maximum(0, 1 - abs(x[:, None] - np.arange(shape[1])))
    return np.einsum("yr,xc,rck->yxk", down, across, grid)


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: str(look.overlap))
@pytest.mark.parametrize(("height", "width"), [(100, 161), (66, 20), (1, 150), (200, 64)])
def test_tiled_answers_equal_the_numpy_reference(net, look, height, width):
    picture = np.random.default_rng(height).integers(0, 256, (height, width, 3)).astype(np.uint8)
    expected = reference(picture, net, look.size, look.overlap)
    np.testing.assert_allclose(logits_of(picture, net, look), expected, atol=2e-4)


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: str(look.overlap))
@pytest.mark.parametrize(("height", "width"), [(65, 65), (30, 64), (1, 1)])
def test_a_picture_that_fits_into_one_tile_gets_the_whole_answer(net, look, height, width):
    picture = np.random.default_rng(1).integers(0, 256, (height, width, 3)).astype(np.uint8)
    network_input, valid = to_network_input(picture, 65, least_side=65)
    assert valid.numpy().tolist() == [height, width]
    whole = grid_to_image(net(network_input[None])[0], valid, 65, height, width).numpy()
    np.testing.assert_allclose(logits_of(picture, net, look), whole, atol=1e-6)


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: str(look.overlap))
def test_weights_at_one_place_sum_to_one_and_are_one_where_one_tile_looks(look):
    weights, step = blending_weights(4, look).numpy(), (65 - look.overlap) // 8
    total = np.zeros(3 * step + 9)
    for number, row in enumerate(weights):
        total[number * step : number * step + 9] += row
    np.testing.assert_allclose(total, 1, rtol=1e-6)
    assert (weights > 0).all()
    assert (weights[0, :step] == 1).all() and (blending_weights(1, look).numpy() == 1).all()


def masks(picture: np.ndarray, look: Look) -> np.ndarray:
    net = colour_net(np.concatenate([np.zeros((3, 1)), np.eye(3)], 1), np.array([30.0, 0, 0, 0]))
    decide = lambda logits: tf.cast(tf.argmax(logits, -1), tf.uint8)  # noqa: E731
    return on_pixels(tf.constant(picture), net, 4, look, decide, IDS).numpy()


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: str(look.overlap))
def test_a_uniform_picture_gets_a_uniform_mask(look):
    uniform = np.zeros((150, 210, 3), np.uint8)
    uniform[..., 1] = 220
    assert (masks(uniform, look) == 2).all()


@pytest.mark.parametrize("look", LOOKS[1:3], ids=lambda look: str(look.overlap))
def test_a_shifted_picture_gets_the_shifted_mask(look):
    """Wherever its tiles lie: as well as one look at the whole does, whose cells come to lie elsewhere too."""
    picture, truth = scene(3, seed=2, height=160, width=240)
    mask, whole = masks(picture, look), masks(picture, WHOLE)
    assert (mask == truth).mean() > 0.97 and (mask == whole).mean() > 0.99
    for down, right in ((0, 8), (16, 24), (13, 22)):
        agreement = (masks(picture[down:, right:], look) == mask[down:, right:]).mean()
        assert agreement > (masks(picture[down:, right:], WHOLE) == whole[down:, right:]).mean() - 0.01


def test_the_same_in_a_graph(net):
    picture = np.random.default_rng(3).integers(0, 256, (90, 140, 3)).astype(np.uint8)

    @tf.function(input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)])
    def in_graph(picture):
        return on_pixels(picture, net, 4, LOOKS[1], tf.identity, LOGITS)

    np.testing.assert_allclose(in_graph(picture), logits_of(picture, net, LOOKS[1]), atol=1e-5)
