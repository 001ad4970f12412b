"""What the commands share: the group they belong to, exit statuses, how they end."""

from __future__ import annotations

import sys
from pathlib import Path

import click

PATH = click.Path(path_type=Path)
EXIT_REFUSED = 1  # the work was done, but the model was not pushed or too many records were bad
EXIT_BAD_INPUT = 2


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="transferseg")
def cli() -> None:
    """Masks for some categories, tags for the rest: train, gate and serve a segmentation model for all of them.

    Example: transferseg demo
    """


def console():
    from rich.console import Console

    return Console()


def finish(summary) -> None:
    sys.exit(0 if summary.pushed_model else EXIT_REFUSED)


def batch(work) -> None:
    """Runs a batch job and prints its summary; too many dead letters end with EXIT_REFUSED."""
    from components.batch.faults import TooManyFaults

    try:
        summary = work()
    except TooManyFaults as error:
        click.echo(f"transferseg: {error}", err=True)
        sys.exit(EXIT_REFUSED)
    click.echo(
        f"{summary['labelled']} of {summary['inputs']} images done, {summary['dead']} dead letters, "
        f"{summary['images_per_s']:.1f} images/s: {summary['output']}"
    )


def names_of(value: str) -> list[str] | None:
    """ "a,b" or the path of a file with one name a line -> names; None for ""."""
    if not value:
        return None
    text = Path(value).read_text() if Path(value).is_file() else value.replace(",", "\n")
    return [line.strip() for line in text.splitlines() if line.strip()]
