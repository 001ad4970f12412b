"""The TFMA metric equals the formula on raw masks, and the gate's thresholds say what they should."""

import io

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma
from PIL import Image

from components.image_example_gen import voc
from components.image_example_gen.records import read_record
from components.mean_iou.eval_config import make_eval_config
from components.mean_iou.metric import MeanIoU
from pipeline.report.facts import scalars
from serving.export import export_segmentation
from serving.prediction_counts import counted
from trainer.data import features
from trainer.data.categories import from_lists, named_split
from trainer.metrics import boundary_confusion, confusion_matrix, scores
from trainer.models.large_fov import build_segmentation

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


def scores_of_a_model_of_other_classes():
    [computation] = MeanIoU(foreground=list(CATEGORIES.foreground), strong=list(CATEGORIES.strong)).computations(
        model_names=[""]
    )
    combiner = computation.combiner
    counts = combiner.add_input(combiner.create_accumulator(), Inputs(np.ones(9), np.ones(9)))
    return {key.name: value for key, value in combiner.extract_output(counts).items()}


def test_a_model_of_other_classes_scores_nothing():
    values = scores_of_a_model_of_other_classes()
    assert values["miou"] == values["weak_miou"] == values["iou/dog"] == 0


def test_the_gate_leaves_out_what_no_mask_shows_whatever_a_model_sees():
    """Else a model that sees a little of it is worse, by a mean of other classes, than one with half the IoU."""
    categories = from_lists(["cat"], ["dog", "bird"])  # no mask shows bird
    [computation] = MeanIoU(foreground=list(categories.foreground), strong=["cat"]).computations(model_names=[""])
    found = []
    for truth_by_prediction in (
        [[80, 0, 0, 2], [0, 10, 0, 0], [2, 0, 8, 0], [0, 0, 0, 0]],
        [[82, 0, 0, 0], [4, 6, 0, 0], [3, 0, 7, 0], [0, 0, 0, 0]],
    ):
        counts = np.array(truth_by_prediction)
        sums = computation.combiner.add_input(
            computation.combiner.create_accumulator(), Inputs(counts.ravel(), counts.ravel())
        )
        found.append({key.name: value for key, value in computation.combiner.extract_output(sums).items()})
    better, worse = found
    assert better["miou"] < worse["miou"] and better["weak_miou"] < worse["weak_miou"]
    assert better["known_miou"] == pytest.approx(np.mean([80 / 84, 1, 8 / 10]))
    assert worse["known_miou"] == pytest.approx(np.mean([82 / 89, 6 / 10, 7 / 10]))
    assert (better["known_weak_miou"], worse["known_weak_miou"]) == (pytest.approx(0.8), pytest.approx(0.7))


def test_predictions_are_counted_over_all_examples():
    """Those of a model that tells them; its classes beside the added ones are counted once it knows all."""
    metric = MeanIoU(foreground=list(CATEGORIES.foreground), strong=list(CATEGORIES.strong))
    [computation] = metric.computations(model_names=[""])
    combiner = computation.combiner
    rng = np.random.default_rng(0)
    area, confidence = rng.dirichlet([5, 1, 1, 1], 20), rng.uniform(0.4, 1, 20)
    halves = [combiner.create_accumulator(), combiner.create_accumulator()]
    for i in range(20):
        inputs = Inputs(np.ones(16), np.ones(16))
        inputs.get_predictions("").update(area=area[i], confidence=confidence[i])
        halves[i % 2] = combiner.add_input(halves[i % 2], inputs)
    whole = combiner.add_input(combiner.merge_accumulators(halves), Inputs(np.ones(16), np.ones(16)))
    values = {key.name: value for key, value in combiner.extract_output(whole).items()}
    np.testing.assert_allclose(values["predictions"], counted(area, confidence))
    assert values["confusion"].sum() == 21 * 16


def test_an_earlier_model_is_scored_on_the_categories_that_it_knows():
    """Categories 1 and 2 are old, 3 is added; the old model's 3 x 3 counts stay what they were."""
    [computation] = MeanIoU(["cat", "dog", "kite"], ["cat"], added=["kite"]).computations(model_names=[""])
    combiner = computation.combiner
    old, new = np.array([[9, 1, 0], [0, 5, 1], [2, 0, 4]]), np.zeros((4, 4), int)
    new[:3, :3] = old
    new[3] = [3, 0, 0, 1]

    def values(counts):
        total = combiner.add_input(combiner.create_accumulator(), Inputs(counts.ravel(), counts.ravel()))
        return {key.name: value for key, value in combiner.extract_output(total).items()}

    before, after = values(old), values(new)
    assert before["known_miou"] == before["miou"] == pytest.approx(np.mean([9 / 12, 5 / 7, 4 / 7]))
    assert before["known_weak_miou"] == before["weak_miou"] == pytest.approx(4 / 7)
    assert np.isnan(before["iou/kite"]) and after["iou/kite"] == 0.25
    assert after["known_miou"] == before["known_miou"] != after["miou"], "pixels of kites count on neither side"
    assert after["known_weak_miou"] == pytest.approx(4 / 7)


def test_a_gate_has_absolute_and_change_thresholds():
    config = make_eval_config(CATEGORIES, {"miou": 0.5, "weak_miou": 0.4}, {"known_miou": 0.0, "weak_miou": 0.02})
    limits = {}
    for name, thresholds in config.metrics_specs[0].per_slice_thresholds.items():
        [whole] = thresholds.thresholds
        assert [list(spec.feature_keys) for spec in whole.slicing_specs] == [[]]  # all images, no slice
        limits[name] = whole.threshold
    assert limits["weak_miou"].value_threshold.lower_bound.value == pytest.approx(0.4)
    assert limits["weak_miou"].change_threshold.absolute.value == pytest.approx(-0.02)
    assert limits["known_miou"].change_threshold.absolute.value < 0  # an equal model passes
    assert not limits["miou"].HasField("change_threshold") and not limits["known_miou"].HasField("value_threshold")


def test_without_minimum_there_is_no_gate():
    assert not make_eval_config(CATEGORIES).metrics_specs[0].per_slice_thresholds


def test_thresholds_find_the_metric():
    """TFMA treats a threshold whose key it does not find as missed, so equal keys are what lets a good model pass."""
    from tensorflow_model_analysis.metrics import metric_specs

    config = make_eval_config(
        CATEGORIES, {"miou": 0.5, "weak_miou": 0.4}, {"known_miou": 0.01, "known_weak_miou": 0.01}
    )
    wanted = metric_specs.metric_thresholds_from_metrics_specs(config.metrics_specs, eval_config=config)
    [computation] = MeanIoU(foreground=list(CATEGORIES.foreground), strong=list(CATEGORIES.strong)).computations(
        model_names=[""]
    )
    assert {key for key in wanted if not key.is_diff} <= set(computation.keys)


def test_tfma_over_real_masks_equals_the_formula_over_all_pixels(real_data, tmp_path):
    """The whole way: real images and masks as examples, an exported network, TFMA with its slices."""
    categories = named_split("voc-split-1")
    export_segmentation(
        build_segmentation("tiny", 21, None, 0), tmp_path / "model", categories=categories, image_size=97, metadata={}
    )
    root = real_data / "voc12_ps20"
    keys = voc.list_keys(root, "val")[::25]
    with tf.io.TFRecordWriter(str(tmp_path / "eval.gz"), "GZIP") as writer:
        for key in keys:
            writer.write(read_record(root, key, categories, evaluation=True).example)
    config = make_eval_config(categories)
    model = tfma.default_eval_shared_model(str(tmp_path / "model"), eval_config=config)
    result = tfma.run_model_analysis(
        model, config, data_location=str(tmp_path / "eval.gz"), output_path=str(tmp_path / "evaluation")
    )

    signature = tf.saved_model.load(str(tmp_path / "model")).signatures["serving_default"]
    confusion, boundary, weak_confusion = (np.zeros((21, 22), np.int64) for _ in range(3))
    for key in keys:
        image, truth = (root / "JPEGImages" / f"{key}.jpg").read_bytes(), root / "SegmentationClass" / f"{key}.png"
        answer = signature(image_bytes=tf.constant([image]))["mask_bytes"].numpy()[0]
        truth, predicted = np.array(Image.open(truth)), np.array(Image.open(io.BytesIO(answer)))
        confusion += confusion_matrix(truth, predicted, 21)
        boundary += boundary_confusion(truth, predicted, 21)
        if set(np.unique(truth).tolist()) & set(categories.weak_ids):
            weak_confusion += confusion_matrix(truth, predicted, 21)
    expected = scores(confusion, categories, boundary)
    slices = {key: scalars(values[""][""]) for key, values in result.slicing_metrics}
    for name in ("miou", "strong_miou", "weak_miou", "boundary_miou", "pixel_accuracy"):
        assert slices[()][name] == pytest.approx(getattr(expected, name), abs=1e-6)
    of_weak = slices[((features.SUPERVISION, "weak"),)]
    assert of_weak["miou"] == pytest.approx(scores(weak_confusion, categories).miou, abs=1e-6)
    assert ((features.SIZE, "medium"),) in slices


def judged(minimum, drop, before, now):
    """Whether TFMA's own validator lets a model pass that stands against a blessed one."""
    from tensorflow_model_analysis.evaluators import metrics_validator
    from tensorflow_model_analysis.metrics import metric_types

    config = tfma.utils.update_eval_config_with_defaults(
        make_eval_config(CATEGORIES, minimum=minimum, max_drop=drop), has_baseline=True
    )
    name = {spec.is_baseline: spec.name for spec in config.model_specs}

    def key(metric, model, is_diff=False):
        return metric_types.MetricKey(metric, model_name=model, is_diff=is_diff, example_weighted=None)

    values = {}
    for metric in drop:
        values |= {key(metric, name[False]): now, key(metric, name[True]): before}
        values[key(metric, name[False], True)] = now - before
    return metrics_validator.validate_metrics(((), values), config).validation_ok


def test_a_blessed_model_that_scores_nothing_keeps_no_better_one_out():
    """One of other classes, or one that misses every weak category; TFMA divides by what it scores."""
    values = scores_of_a_model_of_other_classes()
    limits = {"known_miou": 0.3}, {"known_miou": 0.01}
    assert judged(*limits, values["known_miou"], 0.6)
    assert not judged(*limits, values["known_miou"], 0.2)
    assert judged(*limits, 0.61, 0.605) and not judged(*limits, 0.62, 0.605)
    assert judged({"known_weak_miou": 0.0}, {"known_weak_miou": 0.01}, values["known_weak_miou"], 0.1)
