import math

import numpy as np
import pytest

from trainer.data.categories import from_lists
from trainer.errors import UserError
from trainer.metrics import BAND, boundary_band, boundary_confusion, confusion_matrix, scores

CATEGORIES = from_lists(["cat", "bus"], ["dog"])


def reference_iou(truth: np.ndarray, prediction: np.ndarray, label: int) -> float:
    """Pixel by pixel, no counts shared with the implementation."""
    inter = union = 0
    for t, p in zip(truth.ravel().tolist(), prediction.ravel().tolist(), strict=True):
        if t == 255:
            continue
        inter += t == label and p == label
        union += t == label or p == label
    return inter / union if union else math.nan


def test_equals_a_pixel_loop():
    rng = np.random.default_rng(0)
    truth = rng.choice([0, 1, 2, 255], size=(17, 23)).astype(np.uint8)
    prediction = rng.choice([0, 1, 2], size=(17, 23)).astype(np.uint8)
    result = scores(confusion_matrix(truth, prediction, 4), CATEGORIES)
    for label, name in enumerate(CATEGORIES.names):
        np.testing.assert_equal(result.per_class[name], reference_iou(truth, prediction, label))
    known = [value for value in result.per_class.values() if not math.isnan(value)]
    assert result.miou == pytest.approx(np.mean(known))
    assert result.strong_miou == pytest.approx(np.mean([result.per_class["cat"], result.per_class["bus"]]))


def test_absent_class_is_not_available_and_not_zero():
    result = scores(confusion_matrix(np.zeros((4, 4), int), np.zeros((4, 4), int), 4), CATEGORIES)
    assert result.miou == 1.0 and math.isnan(result.weak_miou) and math.isnan(result.per_class["dog"])


def test_predicted_but_never_true_is_zero():
    result = scores(confusion_matrix(np.zeros((1, 2), int), np.array([[0, 3]]), 4), CATEGORIES)
    assert result.weak_miou == 0.0


def test_void_prediction_is_a_miss():
    result = scores(confusion_matrix(np.array([[1, 1]]), np.array([[1, 255]]), 4), CATEGORIES)
    assert result.per_class["cat"] == 0.5 and result.pixel_accuracy == 0.5


def test_counts_add_up_over_images():
    rng = np.random.default_rng(1)
    truth, prediction = rng.integers(0, 4, (2, 6, 10, 10))
    parts = sum(confusion_matrix(t, p, 4) for t, p in zip(truth, prediction, strict=True))
    np.testing.assert_array_equal(parts, confusion_matrix(truth, prediction, 4))


@pytest.mark.parametrize(
    ("truth", "prediction", "words"),
    [
        (np.zeros((2, 2), int), np.zeros((2, 3), int), "sizes differ"),
        (np.full((2, 2), 7), np.zeros((2, 2), int), "truth mask holds id 7"),
        (np.zeros((2, 2), int), np.full((2, 2), -1), "prediction mask holds id -1"),
        (np.zeros((2, 2), np.int8), np.zeros((2, 2)), "prediction mask holds float64, must be integers"),
    ],
)
def test_bad_masks_are_named(truth, prediction, words):
    with pytest.raises(UserError, match=words):
        confusion_matrix(truth, prediction, 4)


def test_boundary_band_equals_a_search_of_every_window():
    rng = np.random.default_rng(2)
    for shape in ((37, 90), (1, 30), (64, 5), (1, 1)):
        truth = (rng.random(shape) < 0.01).astype(np.uint8) * 7
        radius = max(1, round(BAND * math.hypot(*shape)))
        expected = np.zeros(shape, bool)
        changes = [
            (r, c)
            for r in range(shape[0])
            for c in range(shape[1])
            for dr, dc in ((0, 1), (0, -1), (1, 0), (-1, 0))
            if 0 <= r + dr < shape[0] and 0 <= c + dc < shape[1] and truth[r + dr, c + dc] != truth[r, c]
        ]
        for r, c in changes:
            expected[max(0, r - radius) : r + radius + 1, max(0, c - radius) : c + radius + 1] = True
        np.testing.assert_array_equal(boundary_band(truth), expected)


def test_boundary_miou_sees_ragged_outlines_that_miou_hardly_sees():
    truth = np.zeros((200, 200), np.uint8)
    truth[50:150, 50:150] = 1
    ragged = truth.copy()
    ragged[48:50, 50:150:2] = 1
    result = scores(confusion_matrix(truth, ragged, 4), CATEGORIES, boundary_confusion(truth, ragged, 4))
    assert result.miou > 0.985 and result.boundary_miou < result.miou - 0.02
    assert scores(confusion_matrix(truth, truth, 4), CATEGORIES, boundary_confusion(truth, truth, 4)).boundary_miou == 1
