"""One run: config in, pipeline executed; summary, report, log and metrics out."""

from __future__ import annotations

import logging
import os
import shutil
import time
from pathlib import Path

from rich.console import Console

from components.beam_masks.faults import TooManyFaults
from components.beam_masks.lock import locked
from components.beam_masks.masks import write_atomic
from components.trainers.run_fns import RUN_ID
from pipeline.config.run_config import RunConfig, check_inputs, dump_config
from pipeline.execution.local_runner import CHECKPOINTS, ComponentRun, LocalRunner, build
from pipeline.graph import training_hash
from pipeline.report.advice import advise
from pipeline.report.evidence import gather
from pipeline.report.model_card import describe
from pipeline.report.page import write_report
from pipeline.report.summary import RunSummary, print_summary, summarise
from pipeline.report.templates import duration
from pipeline.run.closing import print_closing
from pipeline.run.plan import Remaining, count, known_rates, plan, print_plan
from pipeline.run.prometheus import publish, run_metrics
from pipeline.run.quiet import log_to_file
from pipeline.run.readiness import make_ready
from pipeline.run.run_log import RunLines, new_run_id
from pipeline.weights import fetch
from trainer.errors import UserError

_LOG = logging.getLogger("transferseg")


def run_local(config: RunConfig, workdir: Path, console: Console) -> RunSummary:
    """Runs the pipeline in this process; a killed run continues where it was.

    Leaves in `workdir`: artifacts/, label_store/, metadata.sqlite, serving/<name>/<version>/ (when pushed, with its
    model card and the counts of its predictions), config.yaml, run.log, summary.json, metrics.prom and report.html. A
    component that refuses its input ends the run; the summary holds its reason.

    Raises:
      UserError: the dataset, the config or the weights are wrong, or another run is going on in `workdir`; nothing was
        started; or the latest blessed model is gone or has other categories.
      Preempted: the process was asked to stop; the next run continues.
    """
    check_inputs(config)
    fetch(config.network.backbone, config.network.weights)
    workdir = workdir.resolve()
    workdir.mkdir(parents=True, exist_ok=True)
    run_id = new_run_id()
    with locked(workdir, f"run {run_id}"):
        return _run(config, workdir, console, run_id)


def _run(config: RunConfig, workdir: Path, console: Console, run_id: str) -> RunSummary:
    categories = config.categories.resolve()
    if config.metadata.kind == "sqlite" and not (workdir / "metadata.sqlite").exists():
        shutil.rmtree(workdir / CHECKPOINTS, ignore_errors=True)  # of folders whose names will come again
    dag = build(config, workdir)
    for note in make_ready(config, workdir):
        console.print(f"[yellow]warning[/] {note}", highlight=False, soft_wrap=True)
    write_atomic(str(workdir / "config.yaml"), dump_config(config).encode())
    lines = RunLines(run_id)
    log_to_file(workdir / "run.log", lines)
    os.environ[RUN_ID] = run_id

    counts = count(config)
    planned = plan(config, counts, known_rates(config, workdir))
    left = Remaining(planned)
    print_plan(planned, counts, console)

    def on_start(name: str, position: int, total: int) -> None:
        lines.component = name
        mine = left.of(name)
        expected = f" about {duration(mine)}; the whole run {duration(left.seconds)} more" if mine else ""
        console.print(f"[bold]{position:2}/{total}[/bold] {name} ...{expected}", highlight=False)

    def on_end(component: ComponentRun) -> None:
        level = logging.ERROR if component.error else logging.INFO
        _LOG.log(level, "%s: %s, %.1f s", component.name, component.state, component.wall_s, exc_info=component.error)
        lines.component = None
        left.done(component.name, component.wall_s, component.state == "done")
        state = f"[red]{component.state}[/red]" if component.error else component.state
        console.print(f"      {component.name}: {state}, {duration(component.wall_s)}", highlight=False)

    runner = LocalRunner(run_id, on_start, on_end)
    start = time.monotonic()
    try:
        runner.run(dag)
        shutil.rmtree(workdir / CHECKPOINTS, ignore_errors=True)  # every stage is an artifact now
    except (UserError, TooManyFaults):
        pass  # a gate or a component refused; the summary says which and why
    finally:
        summary = summarise(runner.components, categories, time.monotonic() - start, training_hash(config), run_id)
        states = {name: entry["state"] for name, entry in summary.components.items()}
        summary.planned = {name: seconds for name, seconds in planned.items() if states.get(name) == "done"}
        summary.accepted_because = config.gate.accept if summary.pushed_model else None
        summary.write(workdir / "summary.json")
        metrics = run_metrics(config.name, runner.components, summary)
        if failure := publish(metrics, workdir, config.name, config.push_metrics):
            _LOG.warning(failure)
            console.print(f"[yellow]warning[/] {failure}", highlight=False, soft_wrap=True)
    describe(config, runner.components, summary)
    evidence = gather(workdir, config, runner.components)
    advice = advise(config, workdir, runner.components, summary, evidence)
    report = write_report(workdir, config, runner.components, summary, evidence, advice)
    print_summary(summary, categories, console)
    print_closing(summary, advice, report, console)
    for reason in summary.refused_because:
        _LOG.error("not pushed: %s", reason)
    return summary
