"""The `transferseg` command. Each command imports what it needs when it runs, so that --help answers at once."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pipeline.quiet import hush
from trainer.errors import UserError

_PATH = click.Path(path_type=Path)
EXIT_REFUSED = 1  # the work was done, but the model was not pushed or too many records were bad
EXIT_BAD_INPUT = 2


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="transferseg")
def cli() -> None:
    """Masks for some categories, tags for the rest: train, gate and serve a segmentation model for all of them.

    Example: transferseg demo
    """


def main() -> None:
    """Entry point: a UserError becomes one line and exit status 2, never a traceback."""
    hush()
    try:
        cli()
    except UserError as error:
        click.echo(f"transferseg: {error}", err=True)
        sys.exit(EXIT_BAD_INPUT)


@cli.command()
@click.option(
    "--workdir", type=_PATH, default=Path("build/demo"), show_default=True, help="where everything is written"
)
def demo(workdir: Path) -> None:
    """Draws a small dataset, runs the whole pipeline on it, pushes the model.

    Example: transferseg demo --workdir build/demo
    """
    from pipeline.demo import run_demo

    _finish(run_demo(workdir, _console()))


@cli.command()
@click.argument("config", type=_PATH)
@click.option("--workdir", type=_PATH, help="where everything is written [default: build/<name of the config>]")
@click.option("--runner", type=click.Choice(["local"]), default="local", show_default=True)
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="change a config value, e.g. backbone=tiny"
)
def run(config: Path, workdir: Path | None, runner: str, overrides: tuple[str, ...]) -> None:
    """Runs the pipeline of a config file: exit 0 pushed, 1 refused by the gate, 2 bad input.

    A run that was stopped or killed continues where it was.

    Example: transferseg run configs/voc-split-1.yaml --set dataset.root=/data/VOC2012 --workdir runs/one
    """
    from pipeline.config import load_config
    from pipeline.run import run_local

    loaded = load_config(config, list(overrides))
    _finish(run_local(loaded, workdir or Path("build") / loaded.name, _console()))


@cli.command()
@click.option("--truth", type=_PATH, required=True, help="folder of true masks (PNG)")
@click.option("--prediction", type=_PATH, required=True, help="folder of predicted masks (PNG)")
@click.option("--categories", required=True, help="a split's name (voc-split-1) or all names by id, comma-separated")
@click.option("--strong", default="", help="comma-separated names of the strong categories")
@click.option("--json", "json_path", type=_PATH, help="also write the scores here")
def evaluate(truth: Path, prediction: Path, categories: str, strong: str, json_path: Path | None) -> None:
    """Scores a folder of predicted masks against a folder of true ones.

    Example: transferseg evaluate --truth SegmentationClass --prediction masks --categories voc-split-1
    """
    from pipeline.evaluate import evaluate_folders

    evaluate_folders(truth, prediction, categories, strong, json_path, _console())


def _console():
    from rich.console import Console

    return Console()


def _finish(summary) -> None:
    sys.exit(0 if summary.pushed_model else EXIT_REFUSED)


if __name__ == "__main__":
    main()
