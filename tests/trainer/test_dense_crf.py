"""The lattice filter against the Gaussian sum over all pairs, and what the CRF does to pictures."""

import numpy as np
import pytest

from trainer.baselines import dense_crf as crf
from trainer.baselines.dense_crf import Lattice, dense_crf


def exact(features, values):
    """Every point against every other: Gaussian with standard deviation 1."""
    distances = ((features[:, None] - features[None]) ** 2).sum(-1)
    return np.exp(-distances / 2) @ values


@pytest.mark.parametrize("dimensions", [1, 2, 3, 5])
def test_the_lattice_filters_like_a_gaussian(dimensions):
    rng = np.random.default_rng(dimensions)
    features, values = rng.uniform(0, 3, (600, dimensions)), rng.random((600, 3)).astype(np.float32)
    lattice = Lattice(features)
    ours, theirs = lattice(values), exact(features, values)
    ones = np.ones((600, 1), np.float32)
    # As it is used, divided by what it makes of ones: the lattice's kernel is a little wider than the Gaussian.
    np.testing.assert_allclose(ours / lattice(ones), theirs / exact(features, ones), atol=0.05)
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.97


@pytest.mark.parametrize("dimensions, asymmetry", [(2, 0.01), (5, 0.2)])
def test_filtering_is_linear_and_nearly_symmetric(dimensions, asymmetry):
    """Blurring axis after axis on the corners that exist, as Adams et al. do, is not quite symmetric."""
    rng = np.random.default_rng(0)
    lattice = Lattice(rng.normal(0, 2 if dimensions == 5 else 1, (200, dimensions)))
    a, b = rng.random((2, 200, 1)).astype(np.float32)
    np.testing.assert_allclose(lattice(a + 2 * b), lattice(a) + 2 * lattice(b), rtol=1e-4)
    kernel = lattice(np.eye(200, dtype=np.float32))
    assert kernel.min() >= 0
    assert np.abs(kernel - kernel.T).sum() < asymmetry * kernel.sum()


def scene():
    """A red square on blue, and probabilities that know it roughly, with noise."""
    rng = np.random.default_rng(1)
    truth = np.zeros((48, 64), int)
    truth[12:36, 16:44] = 1
    image = np.where(truth[..., None] == 1, [200, 30, 30], [30, 30, 200]) + rng.normal(0, 3, (48, 64, 3))
    blurred = np.zeros((48, 64))
    blurred[8:32, 20:48] = 0.65  # displaced by four pixels
    foreground = np.clip(blurred + 0.2 + rng.normal(0, 0.1, blurred.shape), 0.05, 0.95)
    return image.clip(0, 255).astype(np.uint8), np.stack([1 - foreground, foreground], -1), truth


def test_outlines_move_to_the_edges_of_the_picture():
    image, probabilities, truth = scene()
    refined = dense_crf(image, probabilities)
    np.testing.assert_allclose(refined.sum(-1), 1, rtol=1e-4)
    before, after = ((p.argmax(-1) == truth).mean() for p in (probabilities, refined))
    assert before < 0.9 and after > 0.97


def test_without_weights_nothing_changes(monkeypatch):
    image, probabilities, _ = scene()
    monkeypatch.setattr(crf, "BILATERAL_WEIGHT", 0)
    monkeypatch.setattr(crf, "SPATIAL_WEIGHT", 0)
    refined = dense_crf(image, probabilities)
    np.testing.assert_allclose(refined, probabilities, rtol=1e-4)


def test_mean_field_equals_the_exact_one_in_its_decisions(monkeypatch):
    """All pairs, by definition: normalised kernels, Potts model, ten updates."""
    image, probabilities, _ = scene()
    image, probabilities = image[10:34:2, 12:36:2], probabilities[10:34:2, 12:36:2]
    monkeypatch.setattr(crf, "BILATERAL_XY", 20.0)
    monkeypatch.setattr(crf, "BILATERAL_RGB", 20.0)
    ours = dense_crf(image, probabilities)
    height, width = image.shape[:2]
    places = np.indices((height, width)).reshape(2, -1).T.astype(float)
    features = [np.hstack([places / 20, image.reshape(-1, 3) / 20.0]), places / crf.SPATIAL_XY]
    kernels = []
    for feature in features:
        kernel = exact(feature, np.eye(len(feature)))
        norm = 1 / np.sqrt(kernel.sum(1))
        kernels.append(norm[:, None] * kernel * norm)
    unary = np.log(probabilities.reshape(-1, 2))
    q = probabilities.reshape(-1, 2)
    for _ in range(crf.ITERATIONS):
        scores = unary + 4.0 * kernels[0] @ q + 3.0 * kernels[1] @ q
        q = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    assert (ours.reshape(-1, 2).argmax(1) == q.argmax(1)).mean() > 0.97
    assert np.abs(ours.reshape(-1, 2) - q).mean() < 0.05
