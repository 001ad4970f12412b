"""`python -m benchmarks.quality CONFIG`: how good the method is on real images, beside what it must beat.

Trains the CAM and the L-Nets of the config, resumable, and writes tables to docs/results: foreground.json (L-Net on
categories it has never seen) and weak_labels.json (weak labels against held-back masks), and both as quality.md; and
boxes.json, labels of images that have boxes.
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from benchmarks.quality.foreground import foreground_rows
from benchmarks.quality.labels import box_rows, label_rows
from benchmarks.quality.page import page
from components.label_calibration.known_images import known_images, rehearsal_images
from pipeline.config.run_config import check_inputs, load_config
from pipeline.experiment.steps import ExperimentSteps, all_strong, held_back
from trainer.data.categories import named_split


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Overrides a config value.")
@click.option("--splits", default="voc-split-1,voc-split-2,voc-split-3", show_default=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/quality"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("docs/results"), show_default=True)
@click.option("--tables", default="foreground,labels,boxes", show_default=True, help="what is measured anew")
def main(config: Path, overrides: tuple[str, ...], splits: str, work: Path, out: Path, tables: str) -> None:
    run = load_config(config, list(overrides))
    check_inputs(run)
    networks = ExperimentSteps(run, work)
    sets = {name: named_split(name) for name in splits.split(",")}
    out.mkdir(parents=True, exist_ok=True)

    any_split = next(iter(sets.values()))
    cam = str(networks.exported_cam(any_split))
    foreground: dict[str, dict] = {}
    labels: list[dict] = []
    boxes: list[dict] = []
    for name, categories in sets.items():
        own = str(networks.exported_l_net(categories))
        if "foreground" in tables:
            everything = str(networks.exported_l_net(all_strong(any_split)))
            shown = list(held_back(run, categories, evaluation=True, weak=True))
            foreground[name] = foreground_rows(
                known_images(cam, own, shown), known_images(cam, everything, shown), categories
            )
            _write(out / "foreground.json", foreground)
        if "labels" not in tables and "boxes" not in tables:
            continue
        weak = list(known_images(cam, own, held_back(run, categories, evaluation=False, weak=True)))
        if "boxes" in tables:
            boxes += [{"split": name, **row} for row in box_rows(weak, categories)]
            _write(out / "boxes.json", boxes)
        if "labels" not in tables:
            continue
        rehearsal = str(networks.exported_l_net(categories.rehearsal()))
        strong = held_back(run, categories, evaluation=False, weak=False)
        played = list(known_images(cam, rehearsal, rehearsal_images(strong, rehearsal)))
        labels += [{"split": name, "seed": run.network.seed, **row} for row in label_rows(played, weak, categories)]
        _write(out / "weak_labels.json", labels)
    if tables == "boxes":
        return
    foreground = foreground or json.loads((out / "foreground.json").read_text())
    labels = labels or json.loads((out / "weak_labels.json").read_text())
    views = run.look("l_net").views
    lengths = f"CAM {run.cam.length}, L-Net {run.l_net.length}"
    setting = f"{run.network.backbone}, {run.network.image_size} pixels, maps from {views} views, {lengths}"
    (out / "quality.md").write_text(page(config.name, setting, foreground, labels))


def _write(path: Path, table: dict | list) -> None:
    path.write_text(json.dumps(table, indent=1) + "\n")
    click.echo(f"{path}:")
    for row in table if isinstance(table, list) else [{"split": name, **row} for name, row in table.items()]:
        shown = {key: round(value, 3) for key, value in row.items() if isinstance(value, float)}
        click.echo(f"  {row['split']} {row.get('variant', '')}: {shown}")


if __name__ == "__main__":
    main()
