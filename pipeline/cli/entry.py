"""Entry point of the `transferseg` command."""

from __future__ import annotations

import logging
import sys
import traceback
from typing import NoReturn

import click

from pipeline.cli import (  # noqa: F401 - their commands join the group
    batch,
    cleaning,
    exporting,
    importing,
    pushing,
    review,
    runs,
    serving,
)
from pipeline.cli.common import EXIT_BAD_INPUT, EXIT_CRASHED, cli
from pipeline.run.quiet import hush
from trainer.errors import DISK_FULL, UserError, shown


def main() -> None:
    """What a person can mend becomes one line and exit status 2, never a traceback."""
    hush()
    try:
        cli()
    except UserError as error:
        _refuse(str(error))
    except Exception as error:
        if reason := _of_the_file_system(error):
            logging.getLogger("transferseg").info("ended by the file system", exc_info=True)  # for run.log
            _refuse(reason)
        traceback.print_exc()
        click.echo("transferseg: this is a fault of transferseg, not yours; report it with the lines above", err=True)
        sys.exit(EXIT_CRASHED)


def _of_the_file_system(error: Exception) -> str | None:
    """What a file system refused, which a person can mend; None for other errors."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    full = next((words for words in DISK_FULL if words in str(error)), None)
    return full and f"{full}: make room, then give the same command again"


def _refuse(reason: str) -> NoReturn:
    """Names in it may hold anything, also what a terminal obeys or cannot print."""
    text = "\n".join(map(shown, reason.split("\n")))
    click.echo(f"transferseg: {text}", err=True)
    sys.exit(EXIT_BAD_INPUT)
