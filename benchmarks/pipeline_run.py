"""What TFX and the program cost around the components' own work in `transferseg demo`: `rows()` for `make bench`.

The demo runs as users run it, in a process of its own. Overhead is all its time, start-up and report included, less the
time inside the executors' `Do`: drivers, cache, metadata store, drawing the data, summary and report.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.rows import row

MAX_OVERHEAD_S = 60.0
COMMAND = ["demo"]


def rows() -> list[dict]:
    """Overhead of a first run, and the wall time of the same command again, in which every component is cached."""
    with tempfile.TemporaryDirectory() as folder:
        first, _, again = _run(folder), _run(folder), _run(folder)  # the second one meets the first one's blessed model
        summary = json.loads((Path(folder) / "summary.json").read_text())
    redone = [
        name for name, run in summary["components"].items() if run["state"] == "done" and name != "latest_blessed"
    ]
    overhead = first["wall_s"] - first["work_s"]
    return [
        row(
            "pipeline.overhead_s", overhead, "s", first["work_s"], None, MAX_OVERHEAD_S, overhead <= MAX_OVERHEAD_S,
            "reference: the executors' own work",
        ),
        row(
            "commands.cached_run_s", again["wall_s"], "s", first["wall_s"], again["wall_s"] / first["wall_s"],
            note=f"not cached: {', '.join(redone)}" if redone else None,
        ),
    ]  # fmt: skip


def _run(workdir: str) -> dict:
    """wall_s of the whole process and work_s inside the executors."""
    command = [sys.executable, "-m", "benchmarks.pipeline_run", *COMMAND, "--workdir", workdir]
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    wall = time.monotonic() - started
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[3:])}: exit {done.returncode}: {(done.stderr or done.stdout)[-2000:]}")
    return {"wall_s": wall, "work_s": float(done.stdout.splitlines()[-1])}


def _timed(arguments: list[str]) -> None:
    """Runs a command in this process; prints the seconds spent inside the executors' `Do`, ends as the command does."""
    from tfx.orchestration.portable import python_executor_operator

    from pipeline.cli import cli
    from pipeline.run.quiet import hush

    hush()
    seconds = 0.0
    do = python_executor_operator.run_with_executor

    def timed(*given: object, **named: object) -> object:
        nonlocal seconds
        started = time.monotonic()
        try:
            return do(*given, **named)
        finally:
            seconds += time.monotonic() - started

    python_executor_operator.run_with_executor = timed  # the Beam operator calls it there too
    try:
        cli(arguments)
    finally:
        print(seconds)


if __name__ == "__main__":
    _timed(sys.argv[1:])
