"""report.html: gathers facts and pictures of a run and fills the template."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from tfx.utils import path_utils

from components.beam_masks.masks import write_atomic
from pipeline.config.run_config import RunConfig, dump_config
from pipeline.execution.local_runner import ComponentRun
from pipeline.report import facts
from pipeline.report.advice import Advice
from pipeline.report.dag import BOX, lay_out
from pipeline.report.evidence import Evidence
from pipeline.report.facts import lineage
from pipeline.report.images import colour
from pipeline.report.samples import Row, prediction_rows, weak_label_rows
from pipeline.report.scoring import judged_model
from pipeline.report.summary import RunSummary
from pipeline.report.templates import template
from trainer.data.categories import VOID, Categories

_OF_ONE_RUN = ("components", "wall_s", "run_id", "planned")  # what another run of the same results has otherwise
_HEAD = 2000  # the content key stands within the page's first bytes


def write_report(
    workdir: Path,
    config: RunConfig,
    components: list[ComponentRun],
    summary: RunSummary,
    evidence: Evidence,
    advice: Advice,
) -> Path:
    """Writes `workdir`/report.html: self-contained, no network; without scripts only the sliders are missing.

    A report of the same results is left as it is, with the times and the id of the run that made them; so a cached
    run is quick. What a failed or refused run has not got is left out.

    Args:
      workdir: the run's folder.
      config: of the run.
      components: what ran, in order, also the one that failed.
      summary: of the run.
      evidence, advice: why categories score as they do, and what to do next.

    Returns:
      The path of the page.
    """
    path = workdir / "report.html"
    key = _content_key(config, components, summary)
    if path.exists():
        with open(path, encoding="utf-8") as file:
            if key in file.read(_HEAD):
                return path
    page = _render(workdir, config, components, summary, evidence, advice, key)
    write_atomic(str(path), page.encode())
    return path


def _content_key(config: RunConfig, components: list[ComponentRun], summary: RunSummary) -> str:
    """Changes with everything the page shows but times, cache states and the run's id."""
    results = {name: value for name, value in asdict(summary).items() if name not in _OF_ONE_RUN}
    artifacts = [
        [component.name, sorted(artifact.uri for group in component.outputs.values() for artifact in group)]
        for component in components
    ]
    return hashlib.sha256(json.dumps([results, artifacts, config.model_dump_json()]).encode()).hexdigest()


def _render(
    workdir: Path,
    config: RunConfig,
    components: list[ComponentRun],
    summary: RunSummary,
    evidence: Evidence,
    advice: Advice,
    key: str,
) -> str:
    categories, network = config.categories.resolve(), config.network
    labels = facts.label_quality(facts.output(components, "weak_labels"), categories)
    rows = facts.score_rows(summary, categories)
    return template("page.html.jinja").render(
        key=key,
        name=config.name,
        summary=summary,
        verdict=facts.verdict(components, summary),
        advice=advice,
        scores=[row | {"cause": None if row["iou"] else evidence.cause(row["name"])} for row in rows],
        times=facts.times(components, summary),
        planned_s=sum(seconds for seconds in summary.planned.values()),
        graph=lay_out(components),
        box=BOX,
        lineage=lineage(components),
        dataset_root=config.dataset.root,
        network=f"{network.backbone}, trained at {network.image_size} pixels, tested {config.look('p_net')}",
        curves=facts.curves(components),
        confusion=facts.confusion(facts.output(components, "evaluator", "evaluation"), categories),
        slices=facts.slices(facts.output(components, "evaluator", "evaluation")),
        dataset=facts.dataset(facts.output(components, "examples")),
        labels=labels,
        label_rows=_label_rows(components, labels, categories),
        prediction_rows=_prediction_rows(components, evidence, categories),
        categories=categories,
        legend=[(name, colour(i)) for i, name in enumerate(categories.names)] + [("void", colour(VOID))],
        config=dump_config(config),
    )


def _label_rows(components: list[ComponentRun], labels: dict | None, categories: Categories) -> list[Row]:
    if labels is None:
        return []
    labelled = facts.output(components, "weak_labels")
    cam, l_net = (path_utils.serving_model_path(facts.output(components, name, "model")) for name in ("cam", "l_net"))
    return weak_label_rows(labelled, cam, l_net, labels["confidences"], categories)


def _prediction_rows(components: list[ComponentRun], evidence: Evidence, categories: Categories) -> list[Row]:
    if not evidence.pictures:
        return []
    return prediction_rows(
        facts.output(components, "examples"), judged_model(components), evidence.pictures, categories
    )
