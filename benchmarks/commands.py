"""Processor time of commands that people wait for: `rows()` for `make bench`.

Each is a process of its own, start-up included, on drawn pictures of 375 to 500 pixels and a `tiny` network. An
argument error is found before anything heavy is imported.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from benchmarks.process import served
from benchmarks.rows import row
from components.image_example_gen import voc
from pipeline.demo.demo_data import DEMO_STRONG, DEMO_WEAK, draw_demo_dataset
from serving.export import export_segmentation
from trainer.data.categories import from_lists
from trainer.models.large_fov import build_segmentation

PICTURES, VAL, MASKS = 300, 30, 240
_COMMAND = [sys.executable, "-m", "pipeline.cli"]


def rows() -> list[dict]:
    """Seconds of processor time, of each process with its threads and children."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        root = draw_demo_dataset(place / "data", train=PICTURES - VAL, val=VAL, sides=(375, 500), progress=False)
        names = [*DEMO_STRONG, *DEMO_WEAK]
        (place / "masks").mkdir()
        for mask in sorted((root / voc.MASKS).iterdir())[:MASKS]:
            shutil.copy(mask, place / "masks")
        config = {"dataset": {"root": str(root)}, "categories": {"strong": [*DEMO_STRONG], "weak": [*DEMO_WEAK]}}
        config |= {"network": {"backbone": "tiny", "weights": None, "image_size": 65}}
        (place / "config.yaml").write_text(yaml.safe_dump(config))
        picture = str(next((root / voc.IMAGES).iterdir()))
        masks = ["--truth", str(place / "masks"), "--prediction", str(place / "masks"), "--categories", ",".join(names)]
        nowhere, out = str(place / "nowhere"), str(place / "out")
        net = build_segmentation("tiny", 1 + len(names), None, 0)
        export_segmentation(net, place / "models/1", categories=from_lists(names, []), image_size=65, metadata={})
        with served(place / "models") as address:
            query = _seconds("query", "--server", address, picture, "--output", str(place / "mask.png"))
        found = {
            "help": (_seconds("--help"), 1.0),
            "wrong_model": (
                _seconds("predict", "--model", nowhere, "--images", nowhere, "--output", out, status=2),
                1.0,
            ),
            "missing_config": (_seconds("run", nowhere, status=2), 1.0),
            "query": (query, 1.0),
            f"evaluate_{MASKS}": (_seconds("evaluate", *masks), 2.0),
            f"validate_{PICTURES}": (_seconds("validate", str(place / "config.yaml")), 10.0),
            f"init_{PICTURES}": (_seconds("init", str(root), "--config", str(place / "written.yaml")), 10.0),
        }
    return [
        row(f"commands.{name}_s", seconds, "s", target=limit, ok=seconds < limit)
        for name, (seconds, limit) in found.items()
    ]


def _seconds(*arguments: str, status: int = 0) -> float:
    """Processor time of a command; RuntimeError if it ends otherwise than expected."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([*_COMMAND, *arguments], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != status:
        raise RuntimeError(f"transferseg {' '.join(arguments)}: exit {done.returncode}: {done.stderr.strip()[-500:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
