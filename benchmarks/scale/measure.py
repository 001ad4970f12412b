"""Seconds and bytes per image, from a finished run of the pipeline and from the steps in it that one process does."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from components.image_example_gen.dataset_config import fingerprint
from components.image_example_gen.write_examples import plan_shards, read_summary
from components.weak_labels.examples import split_files
from pipeline.config.run_config import load_config
from trainer.data.input_pipeline import count_examples
from trainer.errors import UserError
from trainer.threads import cores

_TRAINERS = {"cam": ("strong", "weak"), "l_net": ("strong",), "segmentation": ("strong", "weak")}


def measure(run: Path) -> dict:
    """Figures of a run that was not cached and not disturbed.

    Returns:
      how: a word on where the figures are from; cores; images by split; seconds per image of each step (of a training
      stage: per image and epoch); the same of what one process does alone (`serial`); bytes per stored image.

    Raises:
      UserError: the run is not there, did not finish, or took steps from the cache.
    """
    try:
        summary = json.loads((run / "summary.json").read_text())
    except FileNotFoundError:
        raise UserError(f"{run}: no summary.json; give the work folder of a finished run") from None
    config = load_config(run / "config.yaml")
    components = summary["components"]
    steps = ["examples", "cam", "l_net", "weak_labels", "segmentation", "p_net", "evaluator"]
    for name in steps:
        if components.get(name, {}).get("state") != "done":
            raise UserError(f"{run}: its step {name} was {components.get(name, {}).get('state', 'left out')}, not done")
    examples = str(_artifact(run, "examples", "examples"))
    images = read_summary(examples)["splits"]
    wall = {name: components[name]["wall_s"] for name in steps}
    seconds = {
        "examples": wall["examples"] / sum(images.values()),
        "weak_labels": wall["weak_labels"] / images["weak"],
        "evaluator": wall["evaluator"] / images["eval"],
    }
    for name, splits in _TRAINERS.items():
        seconds[name] = wall[name] / (getattr(config, name).epochs * sum(images[split] for split in splits))
    trained = config.p_net.epochs * (images["strong"] + images["weak"])
    seconds["p_net"] = wall["p_net"] / (trained + config.p_net.pretrain_epochs * images["strong"])
    listed = sum(len(shard.jobs) for shard in plan_shards(config.dataset, config.categories.resolve()))
    serial = {
        "fingerprint": _timed(lambda: fingerprint(config.dataset)) / listed,
        "count": _timed(lambda: count_examples(split_files(f"{examples}/Split-weak"))) / images["weak"],
    }
    return {
        "how": "one run of the pipeline",
        "config": config.name,
        "config_hash": summary["config_hash"],
        "cores": cores(),
        "images": images,
        "seconds": seconds,
        "serial": serial,
        "bytes": {
            "example": _size(Path(examples)) / sum(images.values()),
            "mask": _size(run / "label_store") / images["weak"],
        },
    }


def _artifact(run: Path, component: str, key: str) -> Path:
    return max((run / "artifacts" / component / key).iterdir(), key=lambda path: int(path.name))


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
