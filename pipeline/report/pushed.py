"""What a version gets once it is pushed: its model card, and the counts of its predictions where it was judged."""

from __future__ import annotations

from pathlib import Path

from components.beam_masks.masks import write_atomic
from components.mean_iou.metric import TABLE
from pipeline.config.run_config import RunConfig
from pipeline.execution.local_runner import ComponentRun
from pipeline.report import facts
from pipeline.report.model_card import write_model_card
from pipeline.report.summary import RunSummary, read_table
from serving.prediction_counts import ASSET, PredictionCounts
from trainer.categories import Categories


def describe(config: RunConfig, components: list[ComponentRun], summary: RunSummary) -> None:
    """Adds both to the version that the run pushed, if it pushed one."""
    write_model_card(config, components, summary)
    write_judged_counts(components, config.categories.resolve(), summary)


def write_judged_counts(components: list[ComponentRun], categories: Categories, summary: RunSummary) -> Path | None:
    """Writes the Evaluator's counts, assets.extra/predictions.prom; None if nothing was pushed or counted."""
    evaluation = facts.output(components, "evaluator", "evaluation")
    if summary.pushed_model is None or evaluation is None:
        return None
    table = read_table(evaluation, TABLE)
    if table is None or not table.any():  # an evaluation of an earlier version
        return None
    path = Path(summary.pushed_model) / ASSET
    write_atomic(str(path), PredictionCounts(categories.names, table).text())
    return path
