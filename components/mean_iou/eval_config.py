"""The Evaluator's configuration: our metric, absolute thresholds, and change thresholds against the blessed model."""

from __future__ import annotations

import json
from collections.abc import Sequence

import tensorflow_model_analysis as tfma

from trainer.data import features
from trainer.data.categories import Categories

# An equal model passes a "no worse" threshold only if the allowed drop is a little above 0.
_TIE = 1e-6
SLICES = (features.SUPERVISION, features.SIZE)


def make_eval_config(
    categories: Categories,
    minimum: dict[str, float] | None = None,
    max_drop: dict[str, float] | None = None,
    added: Sequence[str] = (),
) -> tfma.EvalConfig:
    """Scores the `evaluate` signature with `MeanIoU`: over all images, and over slices of them that have no thresholds.

    Args:
      minimum: metric name -> least value; below it the model is not blessed. None: no gate at all.
      max_drop: metric name -> how far the value may fall below the latest blessed model's.
      added: names, last in the categories' order, that the blessed model need not know.
    """
    thresholds = {
        name: tfma.MetricThreshold(value_threshold=tfma.GenericValueThreshold(lower_bound={"value": value}))
        for name, value in (minimum or {}).items()
    }
    for name, drop in (max_drop or {}).items():
        change = tfma.GenericChangeThreshold(
            absolute={"value": -max(drop, _TIE)}, direction=tfma.MetricDirection.HIGHER_IS_BETTER
        )
        thresholds.setdefault(name, tfma.MetricThreshold()).change_threshold.CopyFrom(change)
    metric = tfma.MetricConfig(
        class_name="MeanIoU",
        module="components.mean_iou.metric",
        config=json.dumps({**categories.to_dict(), "added": list(added)}),
    )
    return tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(signature_name="evaluate", model_type="tf_generic")],
        slicing_specs=[tfma.SlicingSpec(), *(tfma.SlicingSpec(feature_keys=[key]) for key in SLICES)],
        metrics_specs=[
            tfma.MetricsSpec(
                metrics=[metric], per_slice_thresholds={name: _of_all_images(t) for name, t in thresholds.items()}
            )
        ],
    )


def _of_all_images(threshold: tfma.MetricThreshold) -> tfma.PerSliceMetricThresholds:
    """A plain threshold would hold for every slice, however few images it has."""
    whole = tfma.PerSliceMetricThreshold(threshold=threshold, slicing_specs=[tfma.SlicingSpec()])
    return tfma.PerSliceMetricThresholds(thresholds=[whole])
