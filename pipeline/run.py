"""One run: config in, pipeline executed, summary and report out."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from rich.console import Console

from components.batch.faults import TooManyFaults
from pipeline.config import RunConfig, check_inputs, dump_config
from pipeline.graph import training_hash
from pipeline.quiet import log_to_file
from pipeline.report import write_report
from pipeline.runners.local import CHECKPOINTS, ComponentRun, LocalRunner, build
from pipeline.summary import Summary, print_summary, summarise
from trainer.errors import UserError


def run_local(config: RunConfig, workdir: Path, console: Console) -> Summary:
    """Runs the pipeline in this process; a killed run continues where it was.

    Leaves in `workdir`: artifacts/, label_store/, metadata.sqlite, serving/<name>/<version>/ (when pushed),
    config.yaml, run.log, summary.json and report.html. A component that refuses its input ends the run; the summary
    holds its reason.

    Raises:
      UserError: the dataset or the config is wrong; nothing was started.
      Preempted: the process was asked to stop; the next run continues.
    """
    categories = config.categories.resolve()
    check_inputs(config)
    workdir = workdir.resolve()
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / "config.yaml").write_text(dump_config(config))
    log_to_file(workdir / "run.log")

    def on_start(name: str, position: int, total: int) -> None:
        console.print(f"[bold]{position:2}/{total}[/bold] {name} ...", highlight=False)

    def on_end(component: ComponentRun) -> None:
        state = "[red]failed[/red]" if component.error else component.state
        console.print(f"      {component.name}: {state}, {component.wall_s:.1f} s", highlight=False)

    dag = build(config, workdir)
    runner = LocalRunner(on_start, on_end)
    start = time.monotonic()
    try:
        runner.run(dag)
        shutil.rmtree(workdir / CHECKPOINTS, ignore_errors=True)  # every stage is an artifact now
    except (UserError, TooManyFaults):
        pass  # a gate or a component refused; the summary says which and why
    finally:
        summary = summarise(runner.components, categories, time.monotonic() - start, training_hash(config))
        summary.write(workdir / "summary.json")
    report = write_report(workdir, config, runner.components, summary)
    print_summary(summary, categories, console)
    console.print(f"report: {report}", highlight=False, soft_wrap=True)
    if summary.pushed_model:
        console.print(f"model:  {summary.pushed_model}", highlight=False, soft_wrap=True)
    for reason in summary.refused_because:
        console.print(f"[red]not pushed:[/red] {reason}", highlight=False, soft_wrap=True)
    return summary
