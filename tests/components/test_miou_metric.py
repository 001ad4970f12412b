"""The TFMA metric equals the formula on raw masks, and the gate's thresholds say what they should."""

import numpy as np
import pytest

from components.miou.eval_config import make_eval_config
from components.miou.metric import MeanIoU
from trainer.categories import from_lists
from trainer.metrics import boundary_confusion, confusion_matrix, scores

CATEGORIES = from_lists(["cat", "bus"], ["dog"])


class Inputs:
    """What TFMA hands to a combiner, reduced to what the metric reads."""

    def __init__(self, confusion, boundary):
        self._counts = {"confusion": confusion, "boundary": boundary}

    def get_predictions(self, model_name):
        return self._counts


def test_combined_counts_give_the_scores_of_all_pixels_together():
    rng = np.random.default_rng(0)
    masks = [
        (rng.choice([0, 1, 2, 3, 255], size=shape), rng.integers(0, 4, shape)) for shape in ((5, 8), (9, 3), (6, 6))
    ]
    [computation] = MeanIoU(foreground=list(CATEGORIES.foreground), strong=list(CATEGORIES.strong)).computations(
        model_names=[""]
    )
    combiner = computation.combiner
    halves = [combiner.create_accumulator(), combiner.create_accumulator()]
    for index, (truth, prediction) in enumerate(masks):
        truth = truth.astype(np.uint8)
        counts = [
            count(truth, prediction, 4)[:, :4].ravel().astype(np.float32)
            for count in (confusion_matrix, boundary_confusion)
        ]
        halves[index % 2] = combiner.add_input(halves[index % 2], Inputs(*counts))
    values = {key.name: value for key, value in combiner.extract_output(combiner.merge_accumulators(halves)).items()}

    whole = scores(
        sum(confusion_matrix(t, p, 4) for t, p in masks),
        CATEGORIES,
        sum(boundary_confusion(t.astype(np.uint8), p, 4) for t, p in masks),
    )
    assert values["boundary_miou"] == whole.boundary_miou
    assert values["miou"] == whole.miou and values["weak_miou"] == whole.weak_miou
    assert values["strong_miou"] == whole.strong_miou and values["pixel_accuracy"] == whole.pixel_accuracy
    assert {name: values[f"iou/{name}"] for name in CATEGORIES.names} == whole.per_class


def test_a_model_of_other_classes_scores_nothing():
    [computation] = MeanIoU(foreground=list(CATEGORIES.foreground), strong=list(CATEGORIES.strong)).computations(
        model_names=[""]
    )
    combiner = computation.combiner
    counts = combiner.add_input(combiner.create_accumulator(), Inputs(np.ones(9), np.ones(9)))
    values = {key.name: value for key, value in combiner.extract_output(counts).items()}
    assert values["miou"] == values["weak_miou"] == values["iou/dog"] == 0


def test_a_gate_has_absolute_and_change_thresholds():
    config = make_eval_config(CATEGORIES, {"miou": 0.5, "weak_miou": 0.4}, {"miou": 0.0, "weak_miou": 0.02})
    limits = {}
    for name, thresholds in config.metrics_specs[0].per_slice_thresholds.items():
        [whole] = thresholds.thresholds
        assert [list(spec.feature_keys) for spec in whole.slicing_specs] == [[]]  # all images, no slice
        limits[name] = whole.threshold
    assert limits["weak_miou"].value_threshold.lower_bound.value == pytest.approx(0.4)
    assert limits["weak_miou"].change_threshold.absolute.value == pytest.approx(-0.02)
    assert limits["miou"].change_threshold.absolute.value < 0  # an equal model passes


def test_without_minimum_there_is_no_gate():
    assert not make_eval_config(CATEGORIES).metrics_specs[0].per_slice_thresholds


def test_thresholds_find_the_metric():
    """TFMA treats a threshold whose key it does not find as missed, so equal keys are what lets a good model pass."""
    from tensorflow_model_analysis.metrics import metric_specs

    config = make_eval_config(CATEGORIES, {"miou": 0.5, "weak_miou": 0.4}, {"miou": 0.01, "weak_miou": 0.01})
    wanted = metric_specs.metric_thresholds_from_metrics_specs(config.metrics_specs, eval_config=config)
    [computation] = MeanIoU(foreground=list(CATEGORIES.foreground), strong=list(CATEGORIES.strong)).computations(
        model_names=[""]
    )
    assert {key for key in wanted if not key.is_diff} <= set(computation.keys)
