"""python -m benchmarks.scale measure RUN   |   python -m benchmarks.scale page"""

from __future__ import annotations

import json
from pathlib import Path

import click

from benchmarks.scale.measure import measure
from benchmarks.scale.page import PRICE, WEAK_SHARE, WORKERS, page
from pipeline.config.run_config import load_config

ROOT = Path(__file__).parents[2]
MEASURED, CONFIG, PAGE = Path(__file__).with_name("measured.json"), ROOT / "configs/voc-small.yaml", "docs/scale.md"


def epochs_of(config: Path) -> dict[str, float]:
    """Epochs of each training stage of a config, by what `page` calls them."""
    loaded = load_config(config)
    epochs = {name: getattr(loaded, name).epochs for name in ("cam", "l_net", "segmentation", "p_net")}
    return epochs | {"p_net_pretrain": loaded.p_net.pretrain_epochs}


@click.group()
def main() -> None:
    """What more images would take."""


@main.command("measure")
@click.argument("run", type=click.Path(path_type=Path))
def measure_run(run: Path) -> None:
    """Takes the figures from a finished run's work folder."""
    MEASURED.write_text(json.dumps(measure(run), indent=1) + "\n")


@main.command("page")
@click.option("--price", default=PRICE, show_default=True, help="dollars a core-hour")
@click.option("--workers", default=WORKERS, show_default=True)
@click.option("--weak-share", default=WEAK_SHARE, show_default=True)
def write_page(price: float, workers: int, weak_share: float) -> None:
    """Writes docs/scale.md from the figures."""
    text = page(json.loads(MEASURED.read_text()), epochs_of(CONFIG), price, workers, weak_share)
    (ROOT / PAGE).write_text(text)


if __name__ == "__main__":
    main()
