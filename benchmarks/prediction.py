"""Memory of `transferseg predict` on pictures of 1, 40 and 100 megapixels: `rows()` for `make bench`.

The command runs as a process of its own on one drawn JPEG. The model is MobileNetV2 with random weights and 21 classes,
which looks in tiles of 513 pixels that share 129.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from benchmarks.process import peak_memory_mb
from benchmarks.rows import row
from serving.export import export_segmentation
from trainer.data.categories import named_split
from trainer.data.pictures import MOST_PIXELS
from trainer.inference.looks import Look
from trainer.models.large_fov import build_segmentation

MEGAPIXELS = (1, 40, 100)
MAX_MB = 2000.0
_POLL_S = 0.05
TILES = Look(size=513, native=True, overlap=129)


def rows() -> list[dict]:
    """Peak resident memory of the whole command."""
    found = []
    for megapixels in MEGAPIXELS:
        peak = peak_mb(megapixels, "mobilenet_v2")
        found.append(row(f"predict.peak_mb.{megapixels}", peak, "MB", None, None, MAX_MB, peak <= MAX_MB))
    return found


def peak_mb(megapixels: int, backbone: str, look: Look = TILES) -> float:
    """Peak resident memory of `transferseg predict`, in MB, on one picture of 4:3.

    Raises:
      RuntimeError: the command failed, or its mask has another size than the picture.
    """
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        export_segmentation(
            build_segmentation(backbone, 21, None, 0),
            folder / "model",
            categories=named_split("voc-split-1"),
            image_size=look.size,
            metadata={},
            look=look,
            max_pixels=MOST_PIXELS,
        )
        height = round(math.sqrt(megapixels * 1e6 * 3 / 4))
        size = (height, round(megapixels * 1e6 / height))
        (folder / "images").mkdir()
        _draw(folder / "images" / "picture.jpg", size)
        command = [sys.executable, "-m", "pipeline.cli", "predict", "--model", "model", "--images", "images"]
        command += ["--output", "masks", "--json", "summary.json"]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
        with open(folder / "errors.txt", "w") as errors:
            process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=errors)
        peak = 0.0
        while process.poll() is None:
            with contextlib.suppress(OSError, ValueError):  # it ends while it is looked at
                peak = peak_memory_mb(process.pid)
            time.sleep(_POLL_S)
        if process.returncode or json.loads((folder / "summary.json").read_text())["labelled"] != 1:
            raise RuntimeError(f"predict failed: {(folder / 'errors.txt').read_text()[-2000:]}")
        mask = cv2.imread(str(folder / "masks" / "picture.png"), cv2.IMREAD_UNCHANGED)
        if mask.shape[:2] != size:
            raise RuntimeError(f"the mask is {mask.shape[:2]}, the picture {size}")
        return peak


def _draw(path: Path, size: tuple[int, int]) -> None:
    """Soft blobs, as large in every picture, so that larger ones hold more of them."""
    small = np.random.default_rng(0).integers(0, 256, (size[0] // 100 + 1, size[1] // 100 + 1, 3)).astype(np.uint8)
    cv2.imwrite(str(path), cv2.resize(small, size[::-1], interpolation=cv2.INTER_LINEAR))


if __name__ == "__main__":
    sys.stdout.write(f"{peak_mb(int(sys.argv[1]), sys.argv[2]):.0f} MB\n")
