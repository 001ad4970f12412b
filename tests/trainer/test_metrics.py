import math

import numpy as np
import pytest

from trainer.categories import from_lists
from trainer.errors import UserError
from trainer.metrics import confusion_matrix, scores

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
    [(np.zeros((2, 2)), np.zeros((2, 3)), "sizes differ"), (np.full((2, 2), 7), np.zeros((2, 2)), "id 7")],
)
def test_bad_masks_are_named(truth, prediction, words):
    with pytest.raises(UserError, match=words):
        confusion_matrix(truth.astype(int), prediction.astype(int), 4)
