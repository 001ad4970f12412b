"""`python -m benchmarks.quality CONFIG`: how good the method is on real images, beside what it must beat.

Trains the CAM and the L-Nets of the config, resumable, and writes two tables to docs/results: foreground.json (L-Net on
categories it has never seen) and weak_labels.json (weak labels against held-back masks).
"""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks.quality.networks import Networks, train_all
from pipeline.config import check_inputs, load_config
from trainer.categories import named_split


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Overrides a config value.")
@click.option("--splits", default="voc-split-1,voc-split-2,voc-split-3", show_default=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/quality"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("docs/results"), show_default=True)
def main(config: Path, overrides: tuple[str, ...], splits: str, work: Path, out: Path) -> None:
    run = load_config(config, list(overrides))
    check_inputs(run)
    networks = Networks(run, work)
    sets = {name: named_split(name) for name in splits.split(",")}
    train_all(networks, list(sets.values()))


if __name__ == "__main__":
    main()
