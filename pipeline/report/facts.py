"""What the report says in figures: verdict, scores, counts, times, artifacts; None where the run has not got so far."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow_model_analysis as tfma

from components.beam_masks.output import DEAD_LETTERS, SUMMARY
from components.image_example_gen.write_examples import read_rejected, read_summary
from components.label_calibration.calibration_files import CURVES as CALIBRATION
from components.mean_iou.metric import CONFUSION
from components.weak_label_gate.label_statistics import LabelSums, label_statistics
from components.weak_labels.examples import read_labels
from pipeline.execution.local_runner import ComponentRun
from pipeline.report.images import Picture, colour, data_uri
from pipeline.report.summary import RunSummary, read_table, scalars
from trainer.data import features
from trainer.data.categories import Categories
from trainer.data.files import read_lines

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
class Verdict:
    """How the run ended: `state` is "pushed", "refused", "failed" or "unfinished"."""

    state: str
    headline: str
    reasons: list[str]


@dataclass(frozen=True)
class Step:
    """An artifact: what, which component made it, its number in the metadata store, where it lies, state."""

    what: str
    component: str
    artifact: int
    uri: str
    state: str


def output(components: list[ComponentRun], name: str, key: str | None = None) -> str | None:
    """URI of a component's output, of its only one if `key` is None; None if the component did not finish."""
    for component in components:
        if component.name == name and component.outputs and (key is None or key in component.outputs):
            [artifact] = component.outputs[key] if key else next(iter(component.outputs.values()))
            return artifact.uri
    return None


def verdict(components: list[ComponentRun], summary: RunSummary) -> Verdict:
    failed = [component.name for component in components if component.error]
    if failed:
        return Verdict("failed", f"Stopped in {failed[0]}", summary.refused_because)
    if summary.pushed_model:
        return Verdict("pushed", "Pushed whatever its scores" if summary.accepted_because else "Pushed", [])
    if summary.refused_because:
        return Verdict("refused", "Refused: the model was not pushed", summary.refused_because)
    return Verdict("unfinished", "Not finished: no model was judged", [])


def score_rows(summary: RunSummary, categories: Categories) -> list[dict[str, Any]]:
    """A row for each class: name, colour, supervision ("strong", "weak", ""), iou and strong_only (0..1 or None)."""
    supervision = {"background": "", **{name: "strong" for name in categories.strong}}
    return [
        {
            "name": name,
            "colour": colour(i),
            "supervision": supervision.get(name, "weak"),
            "iou": iou,
            "strong_only": summary.strong_only_per_class.get(name),
        }
        for i, (name, iou) in enumerate(summary.per_class.items())
    ]


def confusion(evaluation_uri: str | None, categories: Categories) -> list[tuple[str, list[float | None]]] | None:
    """Rows of true classes: name and the share of its pixels by predicted class; None for a class without pixels."""
    counts = read_table(evaluation_uri, CONFUSION) if evaluation_uri else None
    if counts is None:
        return None
    totals = counts.sum(axis=1)
    return [
        (name, [float(count / total) if total else None for count in row])
        for name, row, total in zip(categories.names, counts, totals, strict=True)
    ]


def slices(evaluation_uri: str | None) -> list[dict[str, Any]]:
    """A row for each slice of the eval images: name, miou, weak_miou, boundary_miou (0..1 or None)."""
    if evaluation_uri is None:
        return []
    rows = []
    for key, values in tfma.load_eval_result(evaluation_uri).slicing_metrics:
        metrics = scalars(values[""][""])
        name = ", ".join(_SLICE_NAMES.get((feature, value), f"{feature} {value}") for feature, value in key)
        rows.append(
            {"name": name or "all images", **{n: metrics.get(n) for n in ("miou", "weak_miou", "boundary_miou")}}
        )
    return sorted(rows, key=lambda row: (row["name"] != "all images", row["name"]))


def dataset(examples_uri: str | None) -> dict[str, Any] | None:
    """The examples' summary.json, and `bad`: the images that were left out (key, stage, reason)."""
    if examples_uri is None:
        return None
    return read_summary(examples_uri) | {"bad": read_rejected(examples_uri)}


def label_quality(labelled_uri: str | None, categories: Categories) -> dict[str, Any] | None:
    """`label_statistics` of the weak labels, `dead` (key, stage, reason), `kept` (labels that an earlier run had made
    already) and `confidences` (key -> 0..1)."""
    if labelled_uri is None:
        return None
    records, dead = list(read_labels(labelled_uri)), read_lines(f"{labelled_uri}/{DEAD_LETTERS}")
    inputs = {letter["key"]: () for letter in dead} | {record["key"]: record["tags"] for record in records}
    labels = {record["key"]: record for record in records}
    sums = (LabelSums.of_image(key, labels.get(key), tags) for key, tags in inputs.items())
    statistics = label_statistics(LabelSums.merged(sums), categories)
    statistics["kept"] = json.loads(Path(labelled_uri, SUMMARY).read_text())["kept"]
    return statistics | {"dead": dead, "confidences": {record["key"]: record["confidence"] for record in records}}


def curves(components: list[ComponentRun]) -> list[Picture]:
    """The curves that the trainers and the calibration drew."""
    pictures = []
    for name, title in _TRAINERS.items():
        run = output(components, name, "model_run")
        path = Path(run or "") / "curves.png"
        if run and path.exists():
            uri = data_uri("image/png", path.read_bytes())
            pictures.append(Picture(uri, f"Learning curves of the {title}: losses over the step", title))
    calibration = output(components, "calibration")
    if calibration:
        uri = data_uri("image/png", (Path(calibration) / CALIBRATION).read_bytes())
        pictures.append(Picture(uri, "Label mIoU of strong images over each value of weak labelling", "Calibration"))
    return pictures


def times(components: list[ComponentRun], summary: RunSummary) -> list[dict[str, Any]]:
    """A row for each component with name, state, planned_s (None: nobody knew), wall_s and share (of the longest)."""
    longest = max((component.wall_s for component in components), default=0) or 1
    return [
        {
            "name": component.name,
            "state": component.state,
            "planned_s": summary.planned.get(component.name),
            "wall_s": component.wall_s,
            "share": component.wall_s / longest,
        }
        for component in components
    ]


def lineage(components: list[ComponentRun]) -> list[Step]:
    """Where the pushed model comes from: the artifacts of `_CHAIN` that there are, the newest first."""
    runs = {component.name: component for component in components}
    steps = []
    for name, key, what in _CHAIN:
        for artifact in runs[name].outputs.get(key, []) if name in runs else []:
            steps.append(Step(what, name, artifact.id, artifact.uri, runs[name].state))
    return steps
