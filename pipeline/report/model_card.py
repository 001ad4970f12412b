"""What a version gets once it is pushed: its model card, and the counts of its predictions where it was judged.

assets.extra/model_card.md says what it learned from, how good it is, what it is not for.
"""

from __future__ import annotations

from pathlib import Path

from components.beam_masks.masks import write_atomic
from components.mean_iou.metric import TABLE
from pipeline.config.run_config import RunConfig
from pipeline.execution.local_runner import ComponentRun
from pipeline.report import facts
from pipeline.report.summary import RunSummary, read_table
from pipeline.report.templates import template
from serving.prediction_counts import ASSET, PredictionCounts
from serving.saved_model import MODEL_CARD
from trainer.data.categories import Categories

_POOR = 0.3  # our choice: IoU below which a category is named as a limit


def describe(config: RunConfig, components: list[ComponentRun], summary: RunSummary) -> None:
    """Adds both to the version that the run pushed, if it pushed one."""
    write_model_card(config, components, summary)
    write_judged_counts(components, config.categories.resolve(), summary)


def write_model_card(config: RunConfig, components: list[ComponentRun], summary: RunSummary) -> Path | None:
    """Writes the card of the version that the run pushed; None if it pushed none.

    A version that has a card keeps it: a rerun from the cache pushes nothing new.
    """
    if summary.pushed_model is None:
        return None
    path = Path(summary.pushed_model) / MODEL_CARD
    if not path.exists():
        write_atomic(str(path), model_card(config, components, summary).encode())
    return path


def model_card(config: RunConfig, components: list[ComponentRun], summary: RunSummary) -> str:
    """The card in Markdown, from the run's own facts; what the run has not measured is left out."""
    categories = config.categories.resolve()
    rows = facts.score_rows(summary, categories)
    return template("model_card.md.jinja").render(
        config=config,
        summary=summary,
        categories=categories,
        dataset=facts.dataset(facts.output(components, "examples")),
        labels=facts.label_quality(facts.output(components, "weak_labels"), categories),
        rows=rows,
        poor=[row for row in rows if row["iou"] is not None and row["iou"] < _POOR],
        unscored=[row["name"] for row in rows if row["iou"] is None],
    )


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
