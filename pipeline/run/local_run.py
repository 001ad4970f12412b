"""One run: config in, pipeline executed; summary, report, log and metrics out."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from tfx.orchestration.pipeline import Pipeline

from components.beam_masks.faults import TooManyFaults
from components.beam_masks.lock import locked
from components.beam_masks.masks import write_atomic
from components.trainers.run_fns import RUN_ID
from pipeline.config.run_config import RunConfig, check_inputs, dump_config
from pipeline.execution.local_runner import CHECKPOINTS, ComponentRun, LocalRunner, build
from pipeline.execution.metadata_store import FILE
from pipeline.graph import training_hash
from pipeline.report.advice import advise
from pipeline.report.evidence import gather
from pipeline.report.facts import Facts
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
from trainer.data.files import refuse_pattern
from trainer.errors import UserError

_LOG = logging.getLogger("transferseg")


def run_local(config: RunConfig, workdir: Path, console: Console) -> RunSummary:
    """Runs the pipeline in this process; a killed run continues where it was.

    Leaves in `workdir`: artifacts/, label_store/, metadata.sqlite, serving/<name>/<version>/ (when pushed, with its
    model card and the counts of its predictions) and serving/<name>.pushed.json, config.yaml, run.log, summary.json,
    metrics.prom and report.html. A component that refuses its input ends the run; the summary holds its reason.

    Raises:
      UserError: the dataset, the config or the weights are wrong, or another run is going on in `workdir`; nothing was
        started; or the latest blessed model is gone or has other categories.
      Preempted: the process was asked to stop; the next run continues.
    """
    try:
        workdir = workdir.resolve()
    except FileNotFoundError:
        raise UserError("the current folder is gone; change into another one") from None
    refuse_pattern(workdir, "--workdir")
    is_first = not workdir.exists()
    if is_first:  # a mistake leaves no folder behind
        _check(config)
    workdir.mkdir(parents=True, exist_ok=True)
    run_id = new_run_id()
    with locked(workdir, f"run {run_id}"):
        try:
            if not is_first:
                _check(config)
            dag, lines, planned = _begin(config, workdir, console, run_id)
        except Exception as error:
            _refuse(config, workdir, run_id, error)
            raise
        return _run(config, workdir, console, run_id, dag, lines, planned)


def _check(config: RunConfig) -> None:
    check_inputs(config)
    fetch(config.network.backbone, config.network.weights)


def _begin(
    config: RunConfig, workdir: Path, console: Console, run_id: str
) -> tuple[Pipeline, RunLines, dict[str, float]]:
    """What comes before the first component -> (the pipeline, its log's lines, seconds that components may take)."""
    begins = config.metadata.kind == "sqlite" and not (workdir / FILE).exists()
    dag, notes = build(config, workdir), make_ready(config, workdir)
    if begins:
        shutil.rmtree(workdir / CHECKPOINTS, ignore_errors=True)  # of folders whose names will come again
    for note in notes:
        console.print(f"[yellow]warning[/] {escape(note)}", highlight=False, soft_wrap=True)
    with _naming(workdir):
        write_atomic(str(workdir / "config.yaml"), dump_config(config).encode())
        lines = RunLines(run_id)
        log_to_file(workdir / "run.log", lines)
        os.environ[RUN_ID] = run_id
        counts = count(config)
        planned = plan(config, counts, known_rates(config, workdir))
    print_plan(planned, counts, console)
    return dag, lines, planned


def _refuse(config: RunConfig, workdir: Path, run_id: str, error: Exception) -> None:
    """Leaves word of a run that could not begin: of an unattended one nobody sees the screen."""
    summary = RunSummary(refused_because=[str(error)], config_hash=training_hash(config), run_id=run_id)
    with suppress(OSError):
        log_to_file(workdir / "run.log", RunLines(run_id))
    _LOG.error("not started: %s", error)
    with suppress(OSError):  # what is raised is why it could not begin
        _leave(summary, [], config, workdir)


def _leave(summary: RunSummary, components: list[ComponentRun], config: RunConfig, workdir: Path) -> str | None:
    """Writes summary and metrics; returns why the metrics could not be pushed, None where they were.

    Raises:
      OSError: they cannot be written, e.g. on a full disk. Those of an earlier run are gone: they would speak for it.
    """
    file = workdir / "summary.json"
    with _naming(workdir):
        try:
            summary.write(file)
        except OSError:
            file.unlink(missing_ok=True)
            raise
        finally:
            failure = publish(run_metrics(config.name, components, summary), workdir, config.name, config.push_metrics)
            if failure:
                _LOG.warning(failure)
    return failure


@contextmanager
def _naming(workdir: Path) -> Iterator[None]:
    """Names the work folder in an error of the file system that names nothing."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(workdir)
        raise


def _run(
    config: RunConfig,
    workdir: Path,
    console: Console,
    run_id: str,
    dag: Pipeline,
    lines: RunLines,
    planned: dict[str, float],
) -> RunSummary:
    left = Remaining(planned)

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
    start, fault = time.monotonic(), None
    try:
        runner.run(dag)
        shutil.rmtree(workdir / CHECKPOINTS, ignore_errors=True)  # every stage is an artifact now
    except (UserError, TooManyFaults):
        pass  # a gate or a component refused; the summary says which and why
    except OSError as error:  # a disk that is full or not ours: no fault, and the report shows how far it came
        fault = error
    finally:
        facts = Facts(config, workdir, runner.components)
        summary = summarise(facts, time.monotonic() - start, training_hash(config), run_id)
        states = {name: entry["state"] for name, entry in summary.components.items()}
        summary.planned = {name: seconds for name, seconds in planned.items() if states.get(name) == "done"}
        summary.accepted_because = config.gate.accept if summary.pushed_model else None
        if failure := _leave(summary, runner.components, config, workdir):
            console.print(f"[yellow]warning[/] {escape(failure)}", highlight=False, soft_wrap=True)
    describe(facts, summary)
    evidence = gather(facts)
    advice = advise(facts, summary, evidence)
    report = write_report(facts, summary, evidence, advice)
    print_summary(summary, facts.categories, console)
    print_closing(summary, advice, report, console)
    for reason in summary.refused_because:
        _LOG.error("not pushed: %s", reason)
    if fault:
        raise fault
    return summary
