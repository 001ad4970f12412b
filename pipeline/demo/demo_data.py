"""The demo's own dataset: drawn, seeded, in seconds, in PASCAL VOC's folder layout."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
from rich.progress import track

from components.beam_masks.masks import encode
from pipeline.demo.drawing import DEMO_STRONG, DEMO_WEAK, draw_image
from trainer.errors import UserError

__all__ = ["DEMO_STRONG", "DEMO_WEAK", "draw_demo_dataset"]

_RECIPE = 1  # raise when the drawing changes, so that older sets are drawn again
_MARKER = "demo.json"


def draw_demo_dataset(
    root: str | Path,
    *,
    train: int = 480,
    val: int = 120,
    sides: tuple[int, int] = (112, 152),
    seed: int = 0,
    progress: bool = True,
) -> Path:
    """Draws the set, or finds it already drawn with the same settings.

    The set is drawn beside `root` and renamed into place, so a half-drawn one is never mistaken for it. The same
    settings give the same bytes, and image i does not depend on how many there are.

    Args:
      root: folder of the set: JPEGImages, SegmentationClass (palette PNG: 0, ids in the order DEMO_STRONG +
        DEMO_WEAK, 255 at outlines), ImageSets/Segmentation/{train,val}.txt.
      train, val: numbers of images; half hold strong categories only, a quarter weak only, a quarter both.
      sides: shortest and longest side of an image in pixels.
      seed: of everything.
      progress: shows a bar.

    Returns:
      root.

    Raises:
      UserError: `root` holds something that is not a demo set.
    """
    root = Path(root)
    settings = {"recipe": _RECIPE, "train": train, "val": val, "sides": list(sides), "seed": seed}
    if _is_drawn(root, settings):
        return root
    if root.exists() and not (root / _MARKER).exists() and (not root.is_dir() or any(root.iterdir())):
        raise UserError(f"{root}: holds something other than a demo set; name another folder or empty this one")
    partial = root.with_name(root.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (partial / folder).mkdir(parents=True)
    jobs = [(split, i) for split, count in (("train", train), ("val", val)) for i in range(count)]
    keys: dict[str, list[str]] = {"train": [], "val": []}
    for split, i in track(jobs, "drawing the demo's images", disable=not progress):
        key = f"{split}_{i:05d}"
        image, mask = draw_image(np.random.default_rng([seed, split == "val", i]), sides, _kind(i))
        _write_jpeg(partial / "JPEGImages" / f"{key}.jpg", image)
        (partial / "SegmentationClass" / f"{key}.png").write_bytes(encode(mask, {}))
        keys[split].append(key)
    for split, names in keys.items():
        (partial / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("".join(f"{key}\n" for key in names))
    (partial / _MARKER).write_text(json.dumps(settings))
    shutil.rmtree(root, ignore_errors=True)
    os.replace(partial, root)
    return root


def _is_drawn(root: Path, settings: dict) -> bool:
    marker = root / _MARKER
    if not marker.is_file() or json.loads(marker.read_text()) != settings:
        return False
    count = settings["train"] + settings["val"]
    return all(len(list((root / folder).glob("*"))) == count for folder in ("JPEGImages", "SegmentationClass"))


def _kind(i: int) -> str:
    return ("strong", "weak", "strong", "mixed")[i % 4]


def _write_jpeg(path: Path, image: np.ndarray) -> None:
    path.write_bytes(cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())
