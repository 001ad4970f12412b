"""What a run's artifacts say in figures: scores, misses of the gate, counts, curves, lineage."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_model_analysis as tfma
from tfx.types import Artifact
from tfx.utils import path_utils

from components.beam_masks.output import DEAD_LETTERS, SUMMARY
from components.image_example_gen.write_examples import read_rejected, read_summary
from components.label_calibration.calibration_files import CURVES as CALIBRATION
from components.mean_iou.metric import CONFUSION
from components.weak_label_gate.label_statistics import LabelSums, label_statistics
from components.weak_labels.examples import read_labels
from pipeline.config.run_config import RunConfig
from pipeline.execution.local_runner import ComponentRun
from pipeline.report.images import Picture, data_uri
from trainer.data import features
from trainer.data.categories import Categories
from trainer.data.files import read_lines
from trainer.metrics import known

_TRAINERS = {
    "cam": "CAM classifier",
    "l_net": "L-Net",
    "segmentation": "segmentation network",
    "p_net": "P-Net refinement",
    "strong_only": "segmentation network on strong images alone",
}
_SLICE_NAMES = {
    (features.SUPERVISION, "weak"): "images that show a weak category",
    (features.SUPERVISION, "strong"): "images of strong categories alone",
    (features.SIZE, "small"): "sides up to 320 pixels",
    (features.SIZE, "medium"): "sides up to 640 pixels",
    (features.SIZE, "large"): "larger images",
}
_METRICS = {"miou": "mIoU", "weak_miou": "weak-category mIoU"}

# from the end to the beginning: component, output, what it is
_CHAIN = (
    ("pusher", "pushed_model", "pushed model"),
    ("evaluator", "evaluation", "scores it was judged by"),
    ("serving_check", "blessing", "serving check"),
    ("p_net", "model", "segmentation network refined with P-Net"),
    ("segmentation", "model", "segmentation network"),
    ("weak_labels", "examples", "strong masks and weak labels it learned from"),
    ("calibration", "calibration", "values of weak labelling"),
    ("l_net", "model", "L-Net"),
    ("cam", "model", "CAM classifier"),
    ("examples", "examples", "images, masks and tags"),
)


@dataclass(frozen=True)
class Miss:
    """A threshold of the gate that a model missed.

    Attributes:
      metric: "miou" or "weak_miou".
      value: of the model, 0..1; if `is_change`, its difference to the blessed model's, -1..1. May be nan: n/a.
      limit: the least that was allowed.
    """

    metric: str
    value: float
    limit: float
    is_change: bool

    def __str__(self) -> str:
        name = _METRICS.get(self.metric, self.metric)
        if self.is_change:
            return (
                f"{name} changed by {100 * self.value:+.2f} points against the blessed model; allowed is "
                f"{100 * self.limit:+.2f}"
            )
        if math.isnan(self.value):
            return f"{name} is n/a, below the threshold {100 * self.limit:.2f} %"
        value, limit = 100 * self.value, 100 * self.limit
        return f"{name} is {value:.2f} %, {limit - value:.2f} points below the threshold {limit:.2f} %"


@dataclass(frozen=True)
class Step:
    """An artifact: what, which component made it, its number in the metadata store, where it lies, state."""

    what: str
    component: str
    artifact: int
    uri: str
    state: str


@dataclass(frozen=True)
class Facts:
    """A run and what its artifacts say, each read once, when asked for; None or empty where it did not get so far.

    Attributes:
      workdir: the run's folder.
      components: what ran, in order, also the one that failed.
    """

    config: RunConfig
    workdir: Path
    components: list[ComponentRun]

    def artifact(self, name: str, key: str | None = None) -> Artifact | None:
        """A component's output, its only one if `key` is None; None if the component did not finish."""
        for component in self.components:
            if component.name == name and component.outputs and (key is None or key in component.outputs):
                [artifact] = component.outputs[key] if key else next(iter(component.outputs.values()))
                return artifact
        return None

    def output(self, name: str, key: str | None = None) -> str | None:
        """The URI of `artifact`."""
        artifact = self.artifact(name, key)
        return None if artifact is None else artifact.uri

    @cached_property
    def categories(self) -> Categories:
        return self.config.categories.resolve()

    @cached_property
    def model(self) -> str | None:
        """Folder of the last segmentation model there is: the refined one, else the one before it."""
        uri = self.output("p_net", "model") or self.output("segmentation", "model")
        return uri and path_utils.serving_model_path(uri)

    @cached_property
    def dataset(self) -> dict[str, Any] | None:
        """The examples' summary.json, and `bad`: the images that were left out (key, stage, reason)."""
        uri = self.output("examples")
        return None if uri is None else read_summary(uri) | {"bad": read_rejected(uri)}

    @cached_property
    def labels(self) -> dict[str, Any] | None:
        """`label_statistics` of the weak labels, `dead` (key, stage, reason), `kept` (labels that an earlier run had
        made already) and `confidences` (key -> 0..1)."""
        uri = self.output("weak_labels")
        if uri is None:
            return None
        records, dead = list(read_labels(uri)), read_lines(f"{uri}/{DEAD_LETTERS}")
        inputs = {letter["key"]: () for letter in dead} | {record["key"]: record["tags"] for record in records}
        labels = {record["key"]: record for record in records}
        sums = (LabelSums.of_image(key, labels.get(key), tags) for key, tags in inputs.items())
        statistics = label_statistics(LabelSums.merged(sums), self.categories)
        statistics["kept"] = json.loads(Path(uri, SUMMARY).read_text())["kept"]
        return statistics | {"dead": dead, "confidences": {record["key"]: record["confidence"] for record in records}}

    @cached_property
    def evaluation(self) -> dict[tuple, dict]:
        """`read_evaluation` of the Evaluator's."""
        uri = self.output("evaluator", "evaluation")
        return read_evaluation(uri) if uri else {}

    def table(self, name: str) -> np.ndarray | None:
        """float64 array of a metric of the whole eval set; None in an evaluation that has not got it."""
        array = self.evaluation.get((), {}).get(name, {}).get("arrayValue")
        if array is None:
            return None
        [values] = [values for key, values in array.items() if key.endswith("Values") and values]
        return np.array(values, np.float64).reshape(array["shape"])  # protobuf's JSON has int64 as text

    @cached_property
    def confusion(self) -> list[tuple[str, list[float | None]]]:
        """Rows of true classes: name and the share of its pixels by predicted class; None for a class without any."""
        counts = self.table(CONFUSION)
        if counts is None:
            return []
        return [
            (name, [float(count / total) if total else None for count in row])
            for name, row, total in zip(self.categories.names, counts, counts.sum(axis=1), strict=True)
        ]

    @cached_property
    def validation(self) -> Any:
        """TFMA's ValidationResult; None without one."""
        uri = self.output("evaluator", "evaluation")
        return uri and tfma.load_validation_result(uri)

    @cached_property
    def misses(self) -> list[Miss]:
        """The thresholds that the model missed; none if it was blessed, or not for its scores."""
        found = []
        for validated in self.validation.metric_validations_per_slice if self.validation else ():
            for failure in validated.failures:
                threshold, is_change = failure.metric_threshold, failure.metric_key.is_diff
                change, least = threshold.change_threshold.absolute.value, threshold.value_threshold.lower_bound.value
                metric = failure.metric_key.name.removeprefix("known_")
                value = failure.metric_value.double_value.value
                if is_change and math.isnan(value):
                    continue  # that there is no value is said by the other threshold
                found.append(Miss(metric, value, change if is_change else least, is_change))
        return found

    @property
    def refusals(self) -> list[str]:
        """One line per threshold the model missed: which number, by how much. Empty when it was blessed."""
        if self.validation is None or self.validation.validation_ok:
            return []
        lines = [str(miss) for miss in self.misses]
        return lines or ["the Evaluator did not bless the model: " + " ".join(str(self.validation).split())]


def read_evaluation(uri: str) -> dict[tuple, dict]:
    """Slice of the eval images, () for all of them -> metric -> its value as TFMA loads it."""
    return {key: values[""][""] for key, values in tfma.load_eval_result(uri).slicing_metrics}


def scalars(values: dict[str, dict]) -> dict[str, float | None]:
    """Of one slice as TFMA loads it: the metrics that are single numbers, None for n/a."""
    numbers = {name: value["doubleValue"] for name, value in values.items() if "doubleValue" in value}
    return {name: None if isinstance(v, str) else known(v) for name, v in numbers.items()}


def slices(facts: Facts) -> list[dict[str, Any]]:
    """A row for each slice of the eval images: name, miou, weak_miou, boundary_miou (0..1 or None)."""
    rows = []
    for key, values in facts.evaluation.items():
        metrics = scalars(values)
        name = ", ".join(_SLICE_NAMES.get((feature, value), f"{feature} {value}") for feature, value in key)
        rows.append(
            {"name": name or "all images", **{n: metrics.get(n) for n in ("miou", "weak_miou", "boundary_miou")}}
        )
    return sorted(rows, key=lambda row: (row["name"] != "all images", row["name"]))


def curves(facts: Facts) -> list[Picture]:
    """The curves that the trainers and the calibration drew."""
    pictures = []
    for name, title in _TRAINERS.items():
        run = facts.output(name, "model_run")
        path = Path(run or "") / "curves.png"
        if run and path.exists():
            uri = data_uri("image/png", path.read_bytes())
            pictures.append(Picture(uri, f"Learning curves of the {title}: losses over the step", title))
    if calibration := facts.output("calibration"):
        uri = data_uri("image/png", (Path(calibration) / CALIBRATION).read_bytes())
        pictures.append(Picture(uri, "Label mIoU of strong images over each value of weak labelling", "Calibration"))
    return pictures


def lineage(components: list[ComponentRun]) -> list[Step]:
    """Where the pushed model comes from: the artifacts of `_CHAIN` that there are, the newest first."""
    runs = {component.name: component for component in components}
    steps = []
    for name, key, what in _CHAIN:
        for artifact in runs[name].outputs.get(key, []) if name in runs else []:
            steps.append(Step(what, name, artifact.id, artifact.uri, runs[name].state))
    return steps
