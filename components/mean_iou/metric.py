"""mIoU as a TFMA metric: TFMA has none. Sums per-example confusion counts of the model's `evaluate` signature."""

from __future__ import annotations

import math
from collections.abc import Sequence

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import metric_types

from serving.prediction_counts import counted, empty_table
from trainer.data.categories import Categories
from trainer.metrics import class_iou, mean_iou, scores

CONFUSION, BOUNDARY = "confusion", "boundary"  # outputs of the signature, int64 [C * C]
AREA, CONFIDENCE = "area", "confidence"  # likewise, float32 [C] and []; models of earlier versions have neither
TABLE = "predictions"
_NOTHING = 1e-9  # TFMA's change thresholds refuse every model after one of exactly 0: it divides by that

_Counts = tuple[np.ndarray, np.ndarray]  # int64 [2, C, C] of pixels, the table of counts


class MeanIoU(metric_types.Metric):
    """Per class, mean, strong mean and weak mean IoU, pixel accuracy (all 0..1, nan = n/a) and the counts themselves.

    Metric names: `miou`, `strong_miou`, `weak_miou`, `boundary_miou`, `pixel_accuracy`, `iou/<category>`, `confusion`;
    `known_miou` and `known_weak_miou` leave out the added categories and those that no evaluation mask shows;
    `predictions` is a PredictionCounts' table.

    A model that has all classes but the added ones, the blessed one from before, is scored on its own. A model of any
    other number of classes scores 0 on every class.

    Args (through MetricConfig's JSON):
      foreground, strong: as in `Categories`.
      added: the last of `foreground`, unknown to earlier models.
    """

    def __init__(self, foreground: list[str], strong: list[str], added: Sequence[str] = (), name: str = "miou"):
        super().__init__(_computations, foreground=foreground, strong=strong, added=list(added), name=name)


def _computations(
    foreground: list[str],
    strong: list[str],
    added: Sequence[str] = (),
    name: str = "miou",
    eval_config: tfma.EvalConfig | None = None,
    model_names: list[str] | None = None,
    output_names: list[str] | None = None,
) -> list[metric_types.MetricComputation]:
    categories = Categories(tuple(foreground), tuple(strong))
    names = [name, "strong_miou", "weak_miou", "boundary_miou", "pixel_accuracy", CONFUSION, TABLE]
    names += ["known_miou", "known_weak_miou"]
    names += [f"iou/{category}" for category in categories.names]
    computations = []
    outputs: dict[str, dict] = {CONFUSION: {}, BOUNDARY: {}, AREA: {}, CONFIDENCE: {}}
    for model_name in model_names or [""]:
        # Thresholds look metrics up by a key that says nothing about example weights.
        keys = {key: metric_types.MetricKey(key, model_name, example_weighted=None) for key in names}
        preprocessor = metric_types.StandardMetricInputsPreprocessor(
            include_filter={tfma.PREDICTIONS_KEY: {model_name: outputs} if model_name else outputs},
            include_default_inputs=False,
        )
        combiner = _ConfusionCombiner(categories, len(added), keys, model_name, name)
        computations.append(metric_types.MetricComputation(list(keys.values()), [preprocessor], combiner))
    return computations


class _ConfusionCombiner(beam.CombineFn):
    """Adds [C, C] counts of all pixels and of those on boundaries, then applies the formula; counts predictions."""

    def __init__(
        self,
        categories: Categories,
        added: int,
        keys: dict[str, metric_types.MetricKey],
        model_name: str,
        name: str,
    ):
        self._categories, self._keys, self._model_name, self._name = categories, keys, model_name, name
        self._known = categories.num_classes - added

    def create_accumulator(self) -> _Counts:
        size = self._categories.num_classes
        return np.zeros((2, size, size), np.int64), empty_table(size)

    def add_input(self, accumulator: _Counts, element: metric_types.StandardMetricInputs) -> _Counts:
        pixels, table = accumulator
        predictions = element.get_predictions(self._model_name)
        counts = [np.asarray(predictions[name], np.int64).ravel() for name in (CONFUSION, BOUNDARY)]
        side = math.isqrt(counts[0].size)
        if side not in (self._known, self._categories.num_classes):  # every class is missed
            return pixels + np.roll(np.eye(len(pixels[0]), dtype=np.int64), 1, axis=1), table
        pixels = pixels.copy()
        pixels[:, :side, :side] += np.stack(counts).reshape(2, side, side)
        if side == self._categories.num_classes and AREA in predictions:
            area, confidence = np.reshape(predictions[AREA], [1, -1]), np.reshape(predictions[CONFIDENCE], [1])
            table = table + counted(area, confidence)
        return pixels, table

    def merge_accumulators(self, accumulators: list[_Counts]) -> _Counts:
        pixels, table = self.create_accumulator()
        for more_pixels, more_table in accumulators:
            pixels, table = pixels + more_pixels, table + more_table
        return pixels, table

    def extract_output(self, accumulator: _Counts) -> dict[metric_types.MetricKey, float | np.ndarray]:
        (confusion, boundary), table = accumulator
        result = scores(confusion, self._categories, boundary)
        values = {
            self._name: result.miou,
            "strong_miou": result.strong_miou,
            "weak_miou": result.weak_miou,
            "boundary_miou": result.boundary_miou,
            "pixel_accuracy": result.pixel_accuracy,
            CONFUSION: confusion,
            TABLE: table,
        }
        # What no evaluation mask shows is 0 of a model that sees some and n/a of one that does not: means over
        # different classes, which say nothing of which model is better.
        # Nor do pixels of the added ones count, which an earlier model's counts have not got.
        rows = confusion[: self._known]
        known = np.where(rows.sum(axis=1) > 0, class_iou(rows), np.nan)
        weak = known[[i for i in self._categories.weak_ids if i < self._known]]
        for name, iou in (("known_miou", known), ("known_weak_miou", weak)):  # what the gate compares
            values[name] = np.maximum(mean_iou(iou), _NOTHING)
        values.update({f"iou/{category}": iou for category, iou in result.per_class.items()})
        return {self._keys[key]: value for key, value in values.items()}
