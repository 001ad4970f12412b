"""`transferseg demo`: the whole pipeline on drawn data, sized for two CPU cores and a few minutes."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from pipeline.config.run_config import make_config
from pipeline.demo.demo_data import DEMO_STRONG, DEMO_WEAK, draw_demo_dataset
from pipeline.report.summary import RunSummary
from pipeline.run.local_run import run_local


def demo_config(root: Path) -> dict:
    """The demo's config as a dict. Every value is chosen for the drawn data; none is the paper's."""
    stage = {"batch_size": 8, "schedule": "poly", "clip_norm": 5.0, "scale": [0.9, 1.3]}
    sgd = stage | {"learning_rate": 0.1, "weight_decay": 1e-4, "head_multiplier": 1.0}
    return {
        "name": "demo",
        "dataset": {"root": str(root)},
        "categories": {"strong": list(DEMO_STRONG), "weak": list(DEMO_WEAK)},
        "network": {"backbone": "tiny", "weights": None, "image_size": 129},
        "cam": sgd | {"epochs": 25, "scale": [0.7, 1.0]},
        "l_net": sgd | {"epochs": 25},
        "segmentation": stage | {"optimizer": "adam", "learning_rate": 0.003, "epochs": 30},
        "p_net": {"epochs": 2, "batch_size": 8, "segmentation_learning_rate": 0.001, "p_net_learning_rate": 0.01},
        "gate": {"min_miou": 0.5, "min_weak_miou": 0.4},
        "compare_strong_only": True,
    }


def run_demo(workdir: Path, console: Console) -> RunSummary:
    """Draws the data (once), runs the pipeline, returns its summary."""
    root = workdir.resolve() / "data"
    console.print("drawing the demo data ...")
    draw_demo_dataset(root, train=640)
    return run_local(make_config(demo_config(root), "demo config"), workdir, console)
