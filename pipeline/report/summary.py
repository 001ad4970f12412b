"""What a run came to: `summary.json` for machines, one table for people."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from components.beam_masks.masks import write_atomic
from components.beam_masks.output import DEAD_LETTERS
from components.beam_masks.output import SUMMARY as LABEL_COUNTS
from components.image_example_gen.write_examples import REJECTED
from components.pusher.ledger import is_withdrawn
from components.serving_validator.component import REPORT as SERVING_REPORT
from pipeline.execution.local_runner import ComponentRun
from pipeline.report.facts import Facts, read_evaluation, scalars
from pipeline.report.images import colour
from pipeline.report.templates import duration, iou_table
from serving.saved_model import newest_version
from trainer.data.categories import Categories
from trainer.data.files import is_remote, read_lines
from trainer.training.session import WARNINGS


@dataclass
class RunSummary:
    """Contract of `summary.json`. IoU in 0..1, null where n/a; times in seconds."""

    miou: float | None = None
    strong_miou: float | None = None
    weak_miou: float | None = None
    boundary_miou: float | None = None
    per_class: dict[str, float | None] = field(default_factory=dict)
    pushed_model: str | None = None
    refused_because: list[str] = field(default_factory=list)
    accepted_because: str | None = None  # a person's reason to push it whatever its scores
    warnings: list[str] = field(default_factory=list)
    components: dict[str, dict] = field(default_factory=dict)
    planned: dict[str, float] = field(default_factory=dict)  # seconds that components were expected to take
    serving: dict = field(default_factory=dict)  # latency_ms, memory_mb, load_s, agreement: see ServingReport
    wall_s: float = 0.0
    config_hash: str = ""
    run_id: str = ""  # the same in run.log, and of the metadata store's pipeline_run context
    strong_only_miou: float | None = None
    strong_only_per_class: dict[str, float | None] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Replaces the file at once: readers never see half of it."""
        write_atomic(str(path), f"{json.dumps(asdict(self), indent=2)}\n".encode())


def summarise(facts: Facts, wall_s: float, config_hash: str, run_id: str = "") -> RunSummary:
    """Gathers scores, verdict and times from what the components put out."""
    components, names = facts.components, facts.categories.names
    summary = RunSummary(wall_s=round(wall_s, 2), config_hash=config_hash, run_id=run_id)
    summary.components = {
        c.name: {"wall_s": round(c.wall_s, 2), "cached": c.cached, "state": c.state} for c in components
    }
    failed = [component for component in components if component.state == "failed"]
    summary.refused_because = [f"{component.name}: {component.error}" for component in failed]
    summary.warnings = [line for component in components for line in (*_left_out(component), *_warnings(component))]

    if serving_check := facts.output("serving_check", "blessing"):
        summary.serving = json.loads(Path(serving_check, SERVING_REPORT).read_text())
        summary.refused_because += [f"serving check: {reason}" for reason in summary.serving.pop("reasons")]
    if facts.evaluation:
        metrics = scalars(facts.evaluation[()])
        for name in ("miou", "strong_miou", "weak_miou", "boundary_miou"):
            setattr(summary, name, metrics.get(name))
        summary.per_class = {name: metrics.get(f"iou/{name}") for name in names}
        summary.refused_because += facts.refusals
    if strong_only := facts.output("evaluator_strong_only", "evaluation"):
        metrics = scalars(read_evaluation(strong_only)[()])
        summary.strong_only_miou = metrics.get("miou")
        summary.strong_only_per_class = {name: metrics.get(f"iou/{name}") for name in names}
    push = facts.artifact("pusher", "pushed_model")
    if push is not None and push.get_int_custom_property("pushed"):
        of_push(push.get_string_custom_property("pushed_destination"), summary)
    return summary


def of_push(version: str, summary: RunSummary) -> None:
    """Notes what was pushed, now or by the earlier run whose result the cache has, and what became of it."""
    newest = None if is_remote(version) else newest_version(Path(version).parent)
    if newest and is_withdrawn(Path(version)):
        summary.refused_because.append(
            f"pusher: {version}, this model's version, was taken away, so the model is not pushed again; the newest is "
            f"{newest.name}. Another model will be pushed; for this one put the folder back"
        )
        return
    summary.pushed_model = version
    if newest and newest != Path(version):
        summary.warnings.append(
            f"pusher: this model was pushed as {version} by an earlier run, but servers take the newest version, "
            f"{newest.name}; take that one away if it is not the one to serve"
        )


def _left_out(component: ComponentRun) -> list[str]:
    """How many pictures a component could not use, now or in the earlier run whose result the cache has."""
    file = {"examples": REJECTED, "weak_labels": DEAD_LETTERS}.get(component.name)
    if not (file and component.outputs):
        return []
    path = f"{component.output_uri('examples')}/{file}"
    if not (letters := read_lines(path)):
        return []
    one = letters[0]
    return [f"{component.name}: {len(letters)} pictures left out, for one {one['key']}: {one['reason']}; all in {path}"]


def _warnings(component: ComponentRun) -> list[str]:
    """What a trainer warned of, e.g. a collapsed P-Net; and boxes in which nothing was labelled."""
    if component.name == "weak_labels" and component.outputs:
        counts = json.loads(Path(component.output_uri("examples"), LABEL_COUNTS).read_text())
        if empty := counts.get("empty_boxes"):
            return [f"weak_labels: {empty} of {counts['boxes']} boxes have no pixel of their tag; see the report"]
    if "model_run" not in component.outputs:
        return []
    path = Path(component.output_uri("model_run")) / WARNINGS
    return [f"{component.name}: {line}" for line in path.read_text().splitlines()] if path.exists() else []


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


def means_of(summary: RunSummary, categories: Categories) -> dict[str, float | None]:
    """The rows below the categories' own: which mean -> IoU, 0..1."""
    tagged = {"mean of those with tags": summary.weak_miou} if categories.weak else {}
    return {"mean of those with masks": summary.strong_miou} | tagged | {"mean": summary.miou}


def print_summary(summary: RunSummary, categories: Categories, console: Console) -> None:
    """The closing table: IoU per class and means, then time per component."""
    columns = {"IoU": (summary.per_class, means_of(summary, categories))}
    if summary.strong_only_miou is not None:
        columns["without tagged pictures"] = summary.strong_only_per_class, {"mean": summary.strong_only_miou}
    if summary.per_class:
        console.print(iou_table("IoU of each category, percent", categories, columns))
    for warning in summary.warnings:
        console.print(f"[yellow]warning[/] {escape(warning)}")

    times = Table(title="Time", title_justify="left")
    times.add_column("component")
    if summary.planned:
        times.add_column("planned", justify="right")
    times.add_column("took", justify="right")
    times.add_column("")
    for name, entry in [*summary.components.items(), ("whole run", {"wall_s": summary.wall_s, "state": "done"})]:
        if name == "whole run":
            times.add_section()
        planned = sum(summary.planned.values()) if name == "whole run" else summary.planned.get(name)
        row = [name, *(["" if planned is None else duration(planned)] if summary.planned else [])]
        times.add_row(*row, duration(entry["wall_s"]), "" if entry["state"] == "done" else entry["state"])
    console.print(times)
