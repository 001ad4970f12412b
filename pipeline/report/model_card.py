"""What a version gets once it is pushed: its model card, and the counts of its predictions where it was judged.

assets.extra/model_card.md says what it learned from, how good it is, what it is not for.
"""

from __future__ import annotations

from pathlib import Path

from components.beam_masks.masks import write_atomic
from components.mean_iou.metric import TABLE
from pipeline.report.facts import Facts
from pipeline.report.summary import RunSummary, score_rows
from pipeline.report.templates import template
from serving.prediction_counts import ASSET, PredictionCounts
from serving.saved_model import MODEL_CARD

_POOR = 0.3  # our choice: IoU below which a category is named as a limit


def describe(facts: Facts, summary: RunSummary) -> None:
    """Adds both to the version that the run pushed, if it pushed one."""
    write_model_card(facts, summary)
    write_judged_counts(facts, summary)


def write_model_card(facts: Facts, summary: RunSummary) -> Path | None:
    """Writes the card of the version that the run pushed; None if it pushed none.

    A version that has a card keeps it: a rerun from the cache pushes nothing new.
    """
    if summary.pushed_model is None:
        return None
    path = Path(summary.pushed_model) / MODEL_CARD
    if not path.exists():
        write_atomic(str(path), model_card(facts, summary).encode())
    return path


def model_card(facts: Facts, summary: RunSummary) -> str:
    """The card in Markdown, from the run's own facts; what the run has not measured is left out."""
    rows = score_rows(summary, facts.categories)
    return template("model_card.md.jinja").render(
        config=facts.config,
        summary=summary,
        categories=facts.categories,
        dataset=facts.dataset,
        labels=facts.labels,
        rows=rows,
        poor=[row for row in rows if row["iou"] is not None and row["iou"] < _POOR],
        unscored=[row["name"] for row in rows if row["iou"] is None],
    )


def write_judged_counts(facts: Facts, summary: RunSummary) -> Path | None:
    """Writes the Evaluator's counts, assets.extra/predictions.prom; None if nothing was pushed or counted."""
    if summary.pushed_model is None:
        return None
    table = facts.table(TABLE)
    if table is None or not table.any():  # not evaluated, or by an earlier version
        return None
    path = Path(summary.pushed_model) / ASSET
    write_atomic(str(path), PredictionCounts(facts.categories.names, table).text())
    return path
