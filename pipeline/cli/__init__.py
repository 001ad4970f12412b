"""The `transferseg` command. Each command imports what it needs when it runs, so that --help answers at once."""

from pipeline.cli.entry import cli, main

__all__ = ["cli", "main"]
