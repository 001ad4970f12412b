"""Calibration: its mIoU is that of real labels, it finds what helps, and it sees no weak mask."""

import json

import numpy as np
import pytest
import yaml

from components.label_calibration import search
from components.label_calibration.calibration_files import write_calibration
from components.label_calibration.search import CUTS, WEIGHTS, KnownImage, calibrate
from components.weak_labels.core.label_config import LabelConfig, read_label_settings
from components.weak_labels.core.label_image import label_image
from trainer.errors import UserError
from trainer.metrics import confusion_matrix

GRID = {"seed_threshold": (0.5, 0.9), "sigma": (0.1, 0.22, 0.4)}


def scene(seed: int) -> KnownImage:
    """Two discs of two tags on noise, a blurred M that also covers a decoy, and hot spots that are too small."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(60, 90, 2)
    y, x = np.mgrid[:height, :width]
    image = rng.integers(0, 60, (height, width, 3)).astype(np.uint8)
    truth = np.zeros((height, width), np.uint8)
    objectness = np.full((height, width), 0.1, np.float32)
    activations = np.zeros((height, width, 2), np.float32)
    for channel, tag in enumerate((2, 5)):
        cy, cx = rng.integers(15, height - 15), (channel + 0.5) * width / 2
        distance = np.hypot(y - cy, x - cx)
        disc = distance < 13
        truth[disc], image[disc] = tag, (220, 40, 40) if channel else (40, 40, 220)
        objectness[distance < 15] = 0.8
        activations[..., channel] = np.exp(-((distance / 8) ** 2))
    truth[(np.abs(y - height / 2) < 1)] = 255
    return KnownImage(image, objectness, activations, (2, 5), truth)


IMAGES = [scene(seed) for seed in range(4)]


def miou_of_real_labels(images, settings) -> float:
    """By the production path: label_image at full resolution, then the confusion matrix."""
    total = sum(
        confusion_matrix(
            known.truth,
            label_image(known.image, known.objectness, known.activations, known.tags, settings).mask,
            6,
        )
        for known in images
    )
    hits = np.diag(total[:, :6])
    union = total.sum(1) + total[:, :6].sum(0) - hits
    return float(np.mean((hits / np.maximum(union, 1))[[0, 2, 5]]))


@pytest.mark.parametrize("weight,cut", [(0.0, 0.5), (0.3, 0.45), (1.0, 0.6), (1 / 3, 0.45), (0.3, 1.0)])
def test_the_searched_score_is_that_of_real_labels(weight, cut):
    settings = LabelConfig(objectness_weight=weight, background_cut=cut, ignore_band=0, superpixels=80)
    found = calibrate(IMAGES, settings, grid={})
    assert found.start_miou == pytest.approx(miou_of_real_labels(IMAGES, settings), abs=0.004)
    assert found.miou == pytest.approx(miou_of_real_labels(IMAGES, found.settings), abs=0.004)


def test_it_finds_better_values_and_shows_what_each_does():
    start = LabelConfig(background_cut=0.9, objectness_weight=0.0, sigma=0.4, superpixels=80)
    settled = []
    found = calibrate(IMAGES, start, GRID, lambda name, miou: settled.append((name, miou)))
    assert found.miou > found.start_miou + 0.05 and found.images == 4
    assert found.settings.ignore_band == start.ignore_band
    assert set(found.curves) == {*GRID, "objectness_weight", "background_cut"}
    assert max(found.curves["sigma"].values()) == pytest.approx(found.miou, abs=search._CLEARLY)
    assert max(found.curves["background_cut"].values()) == pytest.approx(found.miou)
    assert [name for name, _ in settled][:2] == ["seed_threshold", "sigma"]
    assert len(found.curves["objectness_weight"]) == len(WEIGHTS) and len(found.curves["background_cut"]) == len(CUTS)


def test_it_is_deterministic():
    start = LabelConfig(superpixels=80)
    assert calibrate(IMAGES, start, GRID) == calibrate(IMAGES, start, GRID)


def test_no_images_is_an_error():
    with pytest.raises(ValueError, match="no images"):
        calibrate([], LabelConfig())


def test_what_is_written_can_be_read_back(tmp_path):
    found = calibrate(IMAGES[:2], LabelConfig(superpixels=80), GRID)
    write_calibration(tmp_path, found)
    assert read_label_settings(tmp_path / "labels.yaml") == found.settings
    figures = json.loads((tmp_path / "calibration.json").read_text())
    assert figures["miou"] == found.miou and figures["chosen"]["sigma"] == found.settings.sigma
    assert (tmp_path / "calibration.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("labels: {sigma: -1}", "labels.sigma: Input should be greater than or equal to 0.03"),
        ("labels: {sgma: 1}", "labels.sgma"),
        ("name: x", "has no section `labels`"),
        ("[1", "not valid YAML"),
    ],
)
def test_wrong_settings_files_are_named(tmp_path, content, problem):
    (tmp_path / "labels.yaml").write_text(content)
    with pytest.raises(UserError, match=problem):
        read_label_settings(tmp_path / "labels.yaml")


def test_a_run_config_is_a_settings_file_too(tmp_path):
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({"name": "x", "labels": {"sigma": 0.3}}))
    assert read_label_settings(tmp_path / "run.yaml") == LabelConfig(sigma=0.3)
