"""Drawn data for whole runs: discs of a strong and of a weak category."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from trainer.data.categories import palette

# Limits of the serving check that a busy machine does not reach.
PATIENT = {"max_latency_ms": 1e6, "max_load_s": 3600, "timeout_s": 3600}
COLOURS = {1: (240, 200, 60), 2: (240, 80, 220)}  # 1 "yellow" is strong, 2 "pink" is weak


def draw_dataset(root: Path, train: int = 32, val: int = 8) -> None:
    """Bright discs on dark ground, all noisy; in every second image they are pink, so it is weak."""
    rng = np.random.default_rng(0)
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for split, count in (("train", train), ("val", val)):
        keys = [f"{split}{index:03}" for index in range(count)]
        for index, key in enumerate(keys):
            image = np.full((96, 120, 3), 70, np.uint8)
            mask = np.zeros((96, 120), np.uint8)
            category = 2 if index % 2 else 1
            for _ in range(2):
                centre, radius = (int(rng.integers(16, 104)), int(rng.integers(16, 80))), int(rng.integers(12, 18))
                cv2.circle(image, centre, radius, COLOURS[category], -1)
                cv2.circle(mask, centre, radius, category, -1)
            image = (image + rng.normal(0, 20, image.shape)).clip(0, 255).astype(np.uint8)
            Image.fromarray(image).save(root / "JPEGImages" / f"{key}.jpg", quality=95)
            palette_image = Image.fromarray(mask, "P")
            palette_image.putpalette(palette().ravel().tolist())
            palette_image.save(root / "SegmentationClass" / f"{key}.png")
        (root / "ImageSets/Segmentation" / f"{split}.txt").write_text("\n".join(keys) + "\n")


def config_of(root: Path) -> dict:
    """A minute and a half on two idle cores; the model passes its gate."""
    stage = {"steps": 100, "batch_size": 8, "learning_rate": 0.1, "schedule": "poly", "head_multiplier": 1.0}
    stage |= {"clip_norm": 5.0, "checkpoint_every": 20}
    return {
        "name": "discs",
        "dataset": {"root": str(root)},
        "categories": {"strong": ["yellow"], "weak": ["pink"]},
        "network": {"backbone": "tiny", "weights": None, "image_size": 97},
        "cam": stage,
        "l_net": stage,
        "segmentation": stage | {"steps": 160},
        "p_net": {"steps": 10, "batch_size": 8, "pretrain_epochs": 1, "checkpoint_every": 5},
        # So few pictures teach the CAM which image has a pink disc, not where: let L-Net decide about background.
        "labels": {"objectness_weight": 0.7, "background_cut": 0.6},
        "serving_check": {"images": 4, "timed_calls": 5} | PATIENT,
        "gate": {"min_miou": 0.4, "min_weak_miou": 0.2, "max_miou_drop": 0.05, "max_weak_miou_drop": 0.05},
    }


def quick_config_of(root: Path) -> dict:
    """A minute on two idle cores; nothing is asked of the model."""
    config = config_of(root)
    for name, steps in (("cam", 80), ("l_net", 80), ("segmentation", 160), ("p_net", 2)):
        config[name] = config[name] | {"steps": steps}
    return config | {"gate": {"min_miou": 0, "min_weak_miou": 0}}
