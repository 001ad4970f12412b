"""What the commands share: the group they belong to, exit statuses, how they end."""

from __future__ import annotations

import errno
import gc
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from trainer.errors import UserError, few, shown

PATH = click.Path(path_type=Path)
EXIT_REFUSED = 1  # the work was done, but the model was not pushed or too many records were bad
EXIT_BAD_INPUT = 2
EXIT_CRASHED = 3
_WIDE = 2000  # columns
_JSON_OUT = "transferseg.json"  # in a command's context: whether --json - was given


def _for_beam(_: click.Context, __: click.Parameter, options: tuple[str, ...]) -> tuple[str, ...]:
    if options:
        from components.beam_masks.beam_options import check_beam_options

        check_beam_options(options, "behind --")
    return options


def _log_to(_: click.Context, __: click.Parameter, path: Path | None) -> None:
    if path is not None:
        from pipeline.run.quiet import log_to_file
        from pipeline.run.run_log import RunLines, new_run_id

        try:
            log_to_file(path, RunLines(new_run_id()))
        except OSError as error:
            raise UserError(f"--log {path}: cannot be written ({error.strerror})") from None


def _json_path(context: click.Context, _: click.Parameter, path: Path | None) -> Path | None:
    """Looked at before hours of work, whose result would have no place."""
    context.meta[_JSON_OUT] = str(path) == "-"
    if path is not None and str(path) != "-":
        there = next(place for place in (path, *path.absolute().parents) if place.exists())
        if path.is_dir() or (there != path and not there.is_dir()):
            raise UserError(f"--json {path}: {there} is {'a' if path.is_dir() else 'no'} folder")
        if not os.access(there, os.W_OK):
            raise UserError(f"--json {path}: {there} cannot be written to")
    return path


JSON = click.option(
    "--json",
    "json_path",
    type=PATH,
    callback=_json_path,
    help="also write the result here; - is the standard output",
)
LOG = click.option(
    "--log", type=PATH, callback=_log_to, expose_value=False, help="also log here, a JSON object a line, as run.log"
)
BEAM_ARGS = click.argument("beam_args", nargs=-1, type=click.UNPROCESSED, callback=_for_beam)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("-q", "--quiet", is_flag=True, help="nothing on screen but errors and what --json - asks for")
@click.option("-v", "--verbose", is_flag=True, help="the libraries' log lines on screen too")
@click.version_option(package_name="transferseg")
@click.pass_context
def cli(context: click.Context, quiet: bool, verbose: bool) -> None:
    """Masks for some categories, tags for the rest: train, gate and serve a segmentation model for all of them.

    Example: transferseg demo
    """
    context.obj = quiet
    if quiet:
        os.environ["TQDM_DISABLE"] = "1"
    if verbose:
        from pipeline.run.quiet import show_logs

        show_logs()


@contextmanager
def loading() -> Iterator[None]:
    """Around imports of TensorFlow, Beam and TFX: what they make stays, so a collector of garbage finds none.

    It would look in vain so often that it took a quarter of a command's start.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def is_quiet() -> bool:
    context = click.get_current_context(silent=True)
    return bool(context and context.find_root().obj)


def _is_for_json() -> bool:
    """Whether the standard output is for --json - alone."""
    context = click.get_current_context(silent=True)
    return bool(context and context.meta.get(_JSON_OUT))


def say(text: object) -> None:
    """A line on the screen, unless --quiet; it leaves the standard output to --json -."""
    if not is_quiet():
        click.echo(text, err=_is_for_json())


def say_what_is_amiss(done: Mapping[str, Any], faults: Path) -> None:
    """An import's notes and the first thing that it did not use, to the standard error; `faults` lists them all."""
    for note in done["notes"]:
        click.echo(f"transferseg: {shown(note)}", err=True)
    if done["first_fault"]:
        click.echo(f"transferseg: not used: {done['first_fault']}; all: {faults}", err=True)


def console():
    """For tables and progress; it leaves the standard output to --json -.

    Colours are for terminals alone. In a file or a pipe a line is as long as what it says: nothing is wrapped.
    """
    from rich.console import Console

    class Screen(Console):
        """Whoever reads along may go (head, a lost connection): the work goes on without a screen."""

        def _check_buffer(self) -> None:
            try:
                super()._check_buffer()
            except OSError as error:
                if error.errno != errno.EIO:  # of a terminal that hung up
                    raise
                self.on_broken_pipe()

        def on_broken_pipe(self) -> None:
            self.quiet = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())

    to_error = _is_for_json()
    stream = sys.stderr if to_error else sys.stdout
    is_terminal = stream is not None and stream.isatty()
    return Screen(quiet=is_quiet() or stream is None, stderr=to_error, width=None if is_terminal else _WIDE)


def write_json(path: Path | None, value: object) -> None:
    """Where --json points.

    Raises:
      UserError: it cannot be written.
    """
    if path is None:
        return
    text = json.dumps(value, indent=2)
    if str(path) == "-":
        click.echo(text)
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None


def model_folder(path: Path | None) -> Path | None:
    """See `find_saved_model`, which finds nothing before Beam and TensorFlow are loaded; None for None."""
    if path is None:
        return None
    from serving.saved_model import find_saved_model

    return find_saved_model(path)


def finish(summary, json_path: Path | None) -> None:
    """Ends a run's command."""
    write_json(json_path, asdict(summary))
    sys.exit(0 if summary.pushed_model else EXIT_REFUSED)


def batch(work, json_path: Path | None) -> None:
    """Runs a batch job and prints its summary; too many dead letters end with EXIT_REFUSED."""
    from components.beam_masks.faults import TooManyFaults

    try:
        summary = work()
    except TooManyFaults as error:
        if error.summary is not None:
            write_json(json_path, error.summary)
        click.echo(f"transferseg: {shown(str(error))}", err=True)
        sys.exit(EXIT_REFUSED)
    write_json(json_path, summary)
    if others := summary.get("passed_over"):
        say(f"passed over, no pictures by their names: {few(others)}")
    if empty := summary.get("empty"):
        say(f"{empty} of {summary['labelled']} labels hold no category, only background or void")
    if summary.get("boxes"):
        say(f"{summary['boxes']} boxes, {summary['empty_boxes']} of them without a pixel of their tag")
    if others := summary.get("others"):
        say(f"{others} masks of pictures that are not among these are left there")
    say(
        f"{summary['labelled']} of {summary['inputs']} images done, {summary['dead']} dead letters, "
        f"{summary['images_per_s']:.1f} images/s: {shown(summary['output'])}"
    )


def names_of(value: str, option: str = "--categories") -> list[str] | None:
    """ "a,b", "[a, b]" or the path of a file with one name a line -> names; None for "".

    Raises:
      UserError: no such file, or no text in it.
    """
    from trainer.data.category_names import names_in_lines, read_names

    if "," not in value and Path(value).is_file():
        return read_names(Path(value))
    if "," not in value and Path(value).suffix == ".txt":
        raise UserError(f"{value}: no such file of names")
    if ";" in value:
        raise UserError(f"{option} {value}: separate names by commas")
    lines = [name.strip(" '\"") for name in value.strip("[] ").split(",")]
    return names_in_lines([line for line in lines if line], option) or None
