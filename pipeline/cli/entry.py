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
from trainer.errors import UserError, shown


def main() -> None:
    """What a person can mend becomes one line and exit status 2, never a traceback."""
    hush()
    try:
        cli()
    except UserError as error:
        _refuse(str(error))
    except Exception as error:
        if isinstance(error, OSError) and error.filename and error.strerror:
            logging.getLogger("transferseg").info("ended by the file system", exc_info=True)  # for run.log
            _refuse(f"{error.filename}: {error.strerror}")
        traceback.print_exc()
        click.echo("transferseg: this is a fault of transferseg, not yours; report it with the lines above", err=True)
        sys.exit(EXIT_CRASHED)


def _refuse(reason: str) -> NoReturn:
    """Names in it may hold anything, also what a terminal obeys or cannot print."""
    text = "\n".join(map(shown, reason.split("\n")))
    click.echo(f"transferseg: {text}", err=True)
    sys.exit(EXIT_BAD_INPUT)
