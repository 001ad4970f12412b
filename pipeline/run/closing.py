"""The last lines of a run: the verdict, and what to do now."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

from pipeline.report.advice import Advice
from pipeline.report.summary import RunSummary


def print_closing(summary: RunSummary, advice: Advice, report: Path, console: Console) -> None:
    """Report, model, reasons, remedies; a command is a line of its own that can be copied."""
    for reason in summary.refused_because:
        console.print(Text.assemble(("not pushed: ", "red"), reason), soft_wrap=True)
    for line in _lines(summary, advice):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    console.print(f"report: {report}", highlight=False, soft_wrap=True, markup=False)
    if summary.pushed_model:
        console.print(f"model:  {summary.pushed_model}", highlight=False, soft_wrap=True, markup=False)


def _lines(summary: RunSummary, advice: Advice) -> Iterator[str]:
    if summary.accepted_because:
        yield f"Pushed whatever its scores, because: {summary.accepted_because}"
    yield from (f"  {reason}" for reason in advice.reasons)
    if advice.remedies:
        yield "What is most likely to help:"
    for number, remedy in enumerate(advice.remedies, start=1):
        yield f"  {number}. {remedy.text}"
        yield from (f"     {command}" for command in remedy.commands)
    for title, command in advice.commands:
        yield f"{title}:"
        yield f"     {command}"
    if advice.model and not summary.pushed_model:
        yield f"The refused model lies in {advice.model}"
