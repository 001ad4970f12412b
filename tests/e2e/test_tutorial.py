"""docs/tutorial.md, word for word: a folder of pictures and a list of tags becomes masks in three commands."""

import re
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from commands import ROOT, process_from_an_empty_home
from discs import PATIENT
from PIL import Image

pytestmark = pytest.mark.soak

STAGE = {"steps": 100, "epochs": None, "batch_size": 8, "learning_rate": 0.1, "schedule": "poly", "clip_norm": 5.0}
STAGE |= {"head_multiplier": 1.0, "optimizer": "sgd", "freeze_backbone": False}
SMALL = {"network.backbone": "tiny", "network.image_size": 97, "cam": STAGE, "l_net": STAGE}
SMALL |= {"segmentation": STAGE | {"steps": 160}}
SMALL |= {
    "p_net.steps": 10,
    "labels": {"objectness_weight": 0.5, "background_cut": 0.3, "ignore_band": 0.02},
    "gate.min_miou": 0.4,
}
SMALL |= {"serving_check": {"images": 4, "timed_calls": 5} | PATIENT}


def draw_photos(folder: Path) -> dict[str, np.ndarray]:
    """48 pictures of yellow discs with masks, 32 of pink ones with a tag -> where the pink ones are, by name."""
    rng, pink = np.random.default_rng(0), {}
    (folder / "masks").mkdir(parents=True)
    lines = ["image,tags"]
    for index in range(80):
        image, mask = np.full((96, 120, 3), 70, np.uint8), np.zeros((96, 120), np.uint8)
        category = 2 if index % 5 > 2 else 1
        for _ in range(2):
            centre, radius = (int(rng.integers(16, 104)), int(rng.integers(16, 80))), int(rng.integers(12, 18))
            cv2.circle(image, centre, radius, {1: (240, 200, 60), 2: (240, 80, 220)}[category], -1)
            cv2.circle(mask, centre, radius, category, -1)
        image = (image + rng.normal(0, 20, image.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(image).save(folder / f"p{index:02}.jpg", quality=95)
        if category == 1:
            Image.fromarray(mask).save(folder / "masks" / f"p{index:02}.png")
            lines.append(f"p{index:02}.jpg,yellow")
        else:
            pink[f"p{index:02}"] = mask == 2
            lines.append(f"p{index:02}.jpg,pink")
    (folder / "tags.csv").write_text("\n".join(lines))
    (folder / "categories.txt").write_text("yellow\npink\n")
    return pink


def test_three_commands_from_pictures_and_tags_to_masks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pink = draw_photos(tmp_path / "photos")
    page = (ROOT / "docs" / "tutorial.md").read_text()
    block = re.search(r"## Three commands\n+```\n(.*?)```", page, re.DOTALL)[1]
    commands = [shlex.split(line) for line in block.splitlines()]
    assert [command[1] for command in commands] == ["init", "run", "predict"]
    sets = [
        f"{key}={yaml.safe_dump(value, default_flow_style=True).split(chr(10) + '...')[0]}"
        for key, value in SMALL.items()
    ]
    more = {"init": ["--weights", "null"], "run": [part for one in sets for part in ("--set", one)], "predict": []}
    for command in commands:
        done = process_from_an_empty_home(*command[1:], *more[command[1]])
        assert done.returncode == 0, done.stdout + done.stderr
    assert "min_weak_miou: null" in (tmp_path / "transferseg.yaml").read_text()
    overlaps = []
    for key, wanted in pink.items():
        found = np.array(Image.open(tmp_path / "masks" / f"{key}.png")) == 2
        overlaps.append((found & wanted).sum() / (found | wanted).sum())
    assert len(list((tmp_path / "masks").glob("*.png"))) == 80
    assert np.mean(overlaps) > 0.25, overlaps
