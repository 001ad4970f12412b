"""report.html: gathers facts and pictures of a run and fills the template."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tfx.utils import path_utils

from components.beam_masks.masks import write_atomic
from pipeline.config.run_config import dump_config
from pipeline.execution.local_runner import ComponentRun
from pipeline.report.advice import Advice
from pipeline.report.dag import BOX, lay_out
from pipeline.report.evidence import Evidence
from pipeline.report.facts import Facts, curves, lineage, slices
from pipeline.report.images import colour
from pipeline.report.samples import Row, prediction_rows, weak_label_rows
from pipeline.report.summary import RunSummary, means_of, score_rows
from pipeline.report.templates import template
from trainer.data.categories import VOID

_OF_ONE_RUN = ("components", "wall_s", "run_id", "planned")  # what another run of the same results has otherwise
_HEAD = 2000  # the content key stands within the page's first bytes


@dataclass(frozen=True)
class Verdict:
    """How the run ended: `state` is "pushed", "refused", "failed" or "unfinished"."""

    state: str
    headline: str
    reasons: list[str]


def write_report(facts: Facts, summary: RunSummary, evidence: Evidence, advice: Advice) -> Path:
    """Writes report.html in the work folder: self-contained, no network; without scripts only the sliders are missing.

    A report of the same results is left as it is, with the times and the id of the run that made them; so a cached
    run is quick. What a failed or refused run has not got is left out.

    Args:
      facts, summary: of the run.
      evidence, advice: why categories score as they do, and what to do next.

    Returns:
      The path of the page.
    """
    path = facts.workdir / "report.html"
    key = _content_key(facts, summary)
    if path.exists():
        with open(path, encoding="utf-8") as file:
            if key in file.read(_HEAD):
                return path
    write_atomic(str(path), _render(facts, summary, evidence, advice, key).encode())
    return path


def _content_key(facts: Facts, summary: RunSummary) -> str:
    """Changes with everything the page shows but times, cache states and the run's id."""
    results = {name: value for name, value in asdict(summary).items() if name not in _OF_ONE_RUN}
    artifacts = [
        [component.name, sorted(artifact.uri for group in component.outputs.values() for artifact in group)]
        for component in facts.components
    ]
    return hashlib.sha256(json.dumps([results, artifacts, facts.config.model_dump_json()]).encode()).hexdigest()


def _render(facts: Facts, summary: RunSummary, evidence: Evidence, advice: Advice, key: str) -> str:
    config, categories, network = facts.config, facts.categories, facts.config.network
    rows = score_rows(summary, categories)
    return template("page.html.jinja").render(
        key=key,
        name=config.name,
        summary=summary,
        verdict=_verdict(facts.components, summary),
        advice=advice,
        scores=[row | {"cause": None if row["iou"] else evidence.cause(row["name"])} for row in rows],
        means=means_of(summary, categories),
        times=_times(facts.components, summary),
        planned_s=sum(seconds for seconds in summary.planned.values()),
        graph=lay_out(facts.components),
        box=BOX,
        lineage=lineage(facts.components),
        dataset_root=config.dataset.root,
        network=f"{network.backbone}, trained at {network.image_size} pixels, tested {config.look('p_net')}",
        curves=curves(facts),
        confusion=facts.confusion,
        slices=slices(facts),
        dataset=facts.dataset,
        labels=facts.labels,
        label_rows=_label_rows(facts),
        prediction_rows=_prediction_rows(facts, evidence),
        categories=categories,
        legend=[(name, colour(i)) for i, name in enumerate(categories.names)] + [("void", colour(VOID))],
        config=dump_config(config),
    )


def _verdict(components: list[ComponentRun], summary: RunSummary) -> Verdict:
    failed = [component.name for component in components if component.error]
    if failed:
        return Verdict("failed", f"Stopped in {failed[0]}", summary.refused_because)
    if summary.pushed_model:
        return Verdict("pushed", "Pushed whatever its scores" if summary.accepted_because else "Pushed", [])
    if summary.refused_because:
        return Verdict("refused", "Refused: the model was not pushed", summary.refused_because)
    return Verdict("unfinished", "Not finished: no model was judged", [])


def _times(components: list[ComponentRun], summary: RunSummary) -> list[dict[str, Any]]:
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


def _label_rows(facts: Facts) -> list[Row]:
    if facts.labels is None:
        return []
    cam, l_net = (path_utils.serving_model_path(facts.output(name, "model")) for name in ("cam", "l_net"))
    return weak_label_rows(facts.output("weak_labels"), cam, l_net, facts.labels["confidences"], facts.categories)


def _prediction_rows(facts: Facts, evidence: Evidence) -> list[Row]:
    if not evidence.pictures:
        return []
    return prediction_rows(facts.output("examples"), facts.model, evidence.pictures, facts.categories)
