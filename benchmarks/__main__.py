"""`make bench [BENCH=group]`: runs the benchmarks, prints a table, writes build/bench.json."""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from benchmarks.rows import row

GROUPS = {
    "train": ["benchmarks.training"],
    "labels": ["benchmarks.labels_core", "benchmarks.labels_beam", "benchmarks.labels_whole"],
    "serving": ["benchmarks.serving"],
    "networks": ["benchmarks.networks"],
    "predict": ["benchmarks.prediction"],
    "commands": ["benchmarks.commands", "benchmarks.pipeline_run"],
}
RESULT = Path("build/bench.json")


def main(group: str | None) -> None:
    """Runs one group or all; rows of other groups in an earlier result are kept. Exit status 1: a target is missed."""
    if group is not None and group not in GROUPS:
        sys.exit(f"bench: no group '{group}'; known: {', '.join(GROUPS)}")
    console = Console(width=None if sys.stdout.isatty() else 140)
    rows = []
    for name in [group] if group else list(GROUPS):
        for module in GROUPS[name]:
            console.print(f"{module} ...")
            try:
                rows += importlib.import_module(module).rows()
            except Exception as error:  # the other groups are still worth their time
                traceback.print_exc()
                rows.append(row(module, None, "", ok=False, note=f"{type(error).__name__}: {error}"))
    fresh = {found["name"] for found in rows}
    earlier = json.loads(RESULT.read_text()) if RESULT.exists() else []
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps([found for found in earlier if found["name"] not in fresh] + rows, indent=2) + "\n")

    keys = ("name", "value", "unit", "reference", "ratio", "target", "ok", "note")
    table = Table(Column("name", no_wrap=True), *keys[1:])
    for found in rows:
        table.add_row(*(_text(found[key]) for key in keys))
    console.print(table)
    missed = [found["name"] for found in rows if found["ok"] is False]
    console.print(f"below their targets: {', '.join(missed)}" if missed else "every target is met")
    sys.exit(1 if missed else 0)


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
