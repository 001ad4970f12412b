"""`make bench [BENCH=group]`: runs the benchmarks, prints a table, writes build/bench.json."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

GROUPS = {
    "train": ["benchmarks.training"],
    "labels": ["benchmarks.labels_core", "benchmarks.labels_beam"],
    "serving": ["benchmarks.serving"],
    "predict": ["benchmarks.prediction"],
}
RESULT = Path("build/bench.json")


def main(group: str | None) -> None:
    """Runs one group or all; rows of other groups in an earlier result are kept."""
    if group is not None and group not in GROUPS:
        sys.exit(f"bench: no group '{group}'; known: {', '.join(GROUPS)}")
    console = Console(width=None if sys.stdout.isatty() else 140)
    rows = []
    for name in [group] if group else list(GROUPS):
        for module in GROUPS[name]:
            console.print(f"{module} ...")
            rows += importlib.import_module(module).rows()
    fresh = {row["name"] for row in rows}
    earlier = json.loads(RESULT.read_text()) if RESULT.exists() else []
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps([row for row in earlier if row["name"] not in fresh] + rows, indent=2) + "\n")

    table = Table(Column("name", no_wrap=True), "value", "unit", "reference", "ratio", "target", "ok")
    for row in rows:
        table.add_row(*(_text(row[key]) for key in ("name", "value", "unit", "reference", "ratio", "target", "ok")))
    console.print(table)


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
