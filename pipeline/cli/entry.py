"""Entry point of the `transferseg` command."""

from __future__ import annotations

import logging
import sys
import traceback

import click

from pipeline.cli import batch, cleaning, importing, review, runs, serving  # noqa: F401 - their commands join the group
from pipeline.cli.common import EXIT_BAD_INPUT, EXIT_CRASHED, cli
from pipeline.quiet import hush
from trainer.errors import UserError


def main() -> None:
    """What a person can mend becomes one line and exit status 2, never a traceback."""
    hush()
    try:
        cli()
    except UserError as error:
        _refuse(str(error))
    except OSError as error:
        if error.filename is None or error.strerror is None:
            raise
        logging.getLogger("transferseg").debug("ended by the file system", exc_info=True)
        _refuse(f"{error.filename}: {error.strerror}")
    except Exception:
        traceback.print_exc()
        click.echo("transferseg: this is a fault of transferseg, not yours; report it with the lines above", err=True)
        sys.exit(EXIT_CRASHED)


def _refuse(reason: str) -> None:
    click.echo(f"transferseg: {reason}", err=True)
    sys.exit(EXIT_BAD_INPUT)
