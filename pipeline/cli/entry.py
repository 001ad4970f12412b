"""Entry point of the `transferseg` command."""

from __future__ import annotations

import sys

import click

from pipeline.cli import batch, cleaning, importing, review, runs, serving  # noqa: F401 - their commands join the group
from pipeline.cli.common import EXIT_BAD_INPUT, cli
from pipeline.quiet import hush
from trainer.errors import UserError


def main() -> None:
    """A UserError becomes one line and exit status 2, never a traceback."""
    hush()
    try:
        cli()
    except UserError as error:
        click.echo(f"transferseg: {error}", err=True)
        sys.exit(EXIT_BAD_INPUT)
