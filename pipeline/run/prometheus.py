"""How a run ended, for Prometheus: metrics.prom in the work folder, and a Pushgateway where there is one."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable
from http.client import HTTPException
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, push_to_gateway, write_to_textfile

from components.beam_masks.output import DEAD_LETTERS, SUMMARY
from components.image_example_gen.write_examples import read_rejected, read_summary
from pipeline.execution.local_runner import ComponentRun
from pipeline.report.summary import RunSummary
from trainer.data.files import read_lines
from trainer.training.checkpoints import read_history

FILE = "metrics.prom"
_PUSH_TIMEOUT = 10  # seconds


def run_metrics(pipeline: str, components: list[ComponentRun], summary: RunSummary) -> CollectorRegistry:
    """Gauges of one run; a value it has not got is left out. IoU in 0..1. No label grows with the number of runs."""
    registry = CollectorRegistry()

    def gauge(name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"transferseg_{name}", text, ["pipeline", *labels], registry=registry)

    def put(metric: Gauge, value: float, *labels: str) -> None:
        metric.labels(pipeline, *labels).set(value)

    put(gauge("run_success", "1 if the run pushed a model, else 0."), bool(summary.pushed_model))
    put(gauge("run_end_timestamp_seconds", "When the run ended, in Unix time."), time.time())
    put(gauge("run_seconds", "How long the run took."), summary.wall_s)
    seconds = gauge("component_seconds", "How long a component took.", "component")
    state = gauge("component_state", "1 for its state: done, cached, skipped, failed, stopped.", "component", "state")
    for component in components:
        put(seconds, component.wall_s, component.name)
        put(state, 1, component.name, component.state)
    miou = gauge("miou", "Mean IoU on the eval split: all classes, strong, weak, boundary pixels.", "over")
    scores = {"all": summary.miou, "strong": summary.strong_miou, "weak": summary.weak_miou}
    for over, value in (scores | {"boundary": summary.boundary_miou}).items():
        if value is not None:
            put(miou, value, over)
    images = gauge("images", "Images a component finished.", "component")
    dead = gauge("dead_images", "Images a component left out, by the stage they failed at.", "component", "stage")
    for name, finished, letters in _images(components):
        put(images, finished, name)
        for stage, count in Counter(letter["stage"] for letter in letters).items():
            put(dead, count, name, stage)
    training = gauge("training", "Last scalars of a training stage.", "component", "scalar")
    for component in components:
        if "model_run" in component.outputs:
            for row in read_history(f"{component.output_uri('model_run')}/history.csv")[-1:]:
                for scalar, value in row.items():
                    put(training, value, component.name, scalar)
    return registry


def _images(components: list[ComponentRun]) -> Iterable[tuple[str, int, list[dict[str, str]]]]:
    """Component, images finished, dead letters; from the artifacts, which a cached component has too."""
    for component in components:
        if component.outputs and component.name == "examples":
            uri = component.output_uri("examples")
            yield component.name, sum(read_summary(uri)["splits"].values()), read_rejected(uri)
        elif component.outputs and component.name == "weak_labels":
            uri = component.output_uri("examples")
            labelled = json.loads(Path(uri, SUMMARY).read_text())["labelled"]
            yield component.name, labelled, read_lines(f"{uri}/{DEAD_LETTERS}")


def publish(registry: CollectorRegistry, workdir: Path, pipeline: str, gateway: str | None) -> str | None:
    """Replaces `workdir`/metrics.prom at once; sends the same to a Pushgateway if there is one.

    Returns:
      Why the gateway did not take them, on one line: that ends no run.

    Raises:
      OSError: the file cannot be written; that of an earlier run is gone, and the gateway has them.
    """
    try:
        write_to_textfile(str(workdir / FILE), registry)
    except OSError:
        (workdir / FILE).unlink(missing_ok=True)  # needs no room
        raise
    finally:
        failure = _push(registry, pipeline, gateway)
    return failure


def _push(registry: CollectorRegistry, pipeline: str, gateway: str | None) -> str | None:
    if gateway is None:
        return None
    try:
        push_to_gateway(gateway, "transferseg", registry, {"pipeline": pipeline}, _PUSH_TIMEOUT)
    except (OSError, ValueError, HTTPException) as error:
        return f"push_metrics: {gateway} did not take the metrics ({type(error).__name__}: {str(error).strip()!a})"
    return None
