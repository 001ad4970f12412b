"""assets.extra/answers.prom of a pushed version: what it answered on the pictures it was judged on, as a reference."""

from __future__ import annotations

from pathlib import Path

from components.batch.masks import write_atomic
from components.miou.metric import ANSWERS
from pipeline.report import facts
from pipeline.runners.local import ComponentRun
from pipeline.summary import Summary, read_table
from serving.answers import ASSET, AnswerCounts
from trainer.categories import Categories


def write_judged_answers(components: list[ComponentRun], categories: Categories, summary: Summary) -> Path | None:
    """Writes the counts that the Evaluator made of the version that the run pushed; None if there are none."""
    evaluation = facts.output(components, "evaluator", "evaluation")
    if summary.pushed_model is None or evaluation is None:
        return None
    table = read_table(evaluation, ANSWERS)
    if table is None or not table.any():  # an evaluation of an earlier version
        return None
    path = Path(summary.pushed_model) / ASSET
    write_atomic(str(path), AnswerCounts(categories.names, table).text())
    return path
