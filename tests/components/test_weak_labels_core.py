"""`label_image`: what a user of the batch command relies on, on drawn scenes and on real images."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from commands import TIMEOUT_S
from PIL import Image

from components.weak_labels.core.label_config import LabelConfig
from components.weak_labels.core.label_image import label_image
from trainer.data.boxes import TagBox

FORMULATIONS = ("discounted", "truncated", "random_walk")


def scene(height=240, width=320):
    """Two discs on noise: (image, objectness that leaks, activations hot on a part of each, truth of ids 3 and 7)."""
    truth = np.zeros((height, width), np.uint8)
    cv2.circle(truth, (width // 4, height // 2), height // 5, 3, -1)
    cv2.circle(truth, (3 * width // 4, height // 2), height // 4, 7, -1)
    colours = np.zeros((256, 3), np.uint8)
    colours[[0, 3, 7]] = (70, 110, 60), (190, 60, 50), (60, 80, 200)
    image = (colours[truth] + np.random.default_rng(0).integers(0, 30, truth.shape + (3,))).astype(np.uint8)
    objectness = cv2.GaussianBlur((truth > 0).astype(np.float32), (0, 0), height / 20)
    hot = []
    for x in (width // 4, 3 * width // 4):
        peak = np.zeros((height, width), np.float32)
        peak[height // 2 - height // 12, x] = 1
        peak = cv2.GaussianBlur(peak, (0, 0), height / 15)
        hot.append(peak / peak.max())
    return image, objectness, np.stack(hot, -1), truth


def iou(mask, truth, label):
    return np.sum((mask == label) & (truth == label)) / np.sum((mask == label) | (truth == label) & (mask != 255))


@pytest.mark.parametrize("formulation", FORMULATIONS)
def test_labels_whole_objects_from_hot_parts(formulation):
    image, objectness, activations, truth = scene()
    result = label_image(image, objectness, activations, [3, 7], LabelConfig(formulation=formulation))
    assert result.mask.dtype == np.uint8 and set(np.unique(result.mask)) <= {0, 3, 7, 255}
    assert min(iou(result.mask, truth, label) for label in (0, 3, 7)) > 0.85
    assert 0 < result.confidence <= 1 and result.void_share == pytest.approx(np.mean(result.mask == 255))
    assert set(result.seed_share) == {3, 7} and 0 < min(result.seed_share.values()) < 0.1


def test_labels_lie_where_the_objects_do_whatever_the_working_resolution():
    truth = np.zeros((375, 500), np.uint8)
    for row in range(3):
        for column in range(4):
            cv2.circle(truth, (62 + 125 * column, 62 + 125 * row), 34, 1, -1)
    image = np.where(truth[..., None], np.uint8([190, 60, 50]), np.uint8([70, 110, 60]))
    maps = truth.astype(np.float32)
    mask = label_image(image, maps, maps[..., None], [1], LabelConfig(ignore_band=0)).mask
    offset = np.mean(np.nonzero(mask == 1), axis=1) - np.mean(np.nonzero(truth), axis=1)
    assert np.abs(offset).max() < 0.2


def test_the_same_input_gives_the_same_label():
    inputs = scene()[:3]
    first, second = (label_image(*inputs, [3, 7], LabelConfig()) for _ in range(2))
    np.testing.assert_array_equal(first.mask, second.mask)
    assert first.confidence == second.confidence


def test_order_of_tags_does_not_matter():
    image, objectness, activations, _ = scene()
    forth = label_image(image, objectness, activations, [3, 7], LabelConfig())
    back = label_image(image, objectness, activations[..., ::-1].copy(), [7, 3], LabelConfig())
    np.testing.assert_array_equal(forth.mask, back.mask)


def test_maps_may_be_smaller_than_the_image():
    image, objectness, activations, truth = scene()
    small = cv2.resize(objectness, (40, 30), interpolation=cv2.INTER_AREA)
    few = cv2.resize(activations, (80, 60), interpolation=cv2.INTER_AREA)
    mask = label_image(image, small, few / few.max((0, 1)), [3, 7], LabelConfig()).mask
    assert mask.shape == truth.shape and min(iou(mask, truth, label) for label in (3, 7)) > 0.8


def test_more_tags_than_opencv_has_channels():
    """Seven tags, each with a peak of its own: every one is labelled where its peak is."""
    image, objectness, _, _ = scene()
    peaks = [(60, 40 + 40 * i) for i in range(7)]
    maps = np.zeros((240, 320, 7), np.float32)
    for index, (y, x) in enumerate(peaks):
        maps[y - 15 : y + 15, x - 15 : x + 15, index] = 1
        objectness[y - 15 : y + 15, x - 15 : x + 15] = 1
    result = label_image(image, objectness, maps, list(range(1, 8)), LabelConfig())
    assert [int(result.mask[y, x]) for y, x in peaks] == list(range(1, 8))


def test_no_tags_is_background_and_certain():
    image, objectness, _, truth = scene()
    result = label_image(image, objectness, np.zeros((*truth.shape, 0), np.float32), [], LabelConfig())
    assert not result.mask.any() and result.confidence == 1 and result.void_share == 0


@pytest.mark.parametrize("formulation", FORMULATIONS)
def test_a_tag_without_activation_gets_nothing_and_no_confidence(formulation):
    image, objectness, activations, truth = scene()
    activations[..., 1] = 0
    result = label_image(image, objectness, activations, [3, 7], LabelConfig(formulation=formulation))
    assert result.seed_share[7] == 0 and result.confidence == 0
    assert 7 not in result.mask and iou(result.mask[:, :160], truth[:, :160], 3) > 0.8


def test_ignore_band_voids_more_as_it_grows():
    inputs = scene()[:3]
    by_objectness = [LabelConfig(objectness_weight=1, ignore_band=band) for band in (0, 0.1, 0.3)]
    shares = [label_image(*inputs, [3, 7], settings).void_share for settings in by_objectness]
    assert shares[0] == 0 and shares[0] < shares[1] < shares[2]


@pytest.mark.parametrize("formulation", FORMULATIONS)
@pytest.mark.parametrize("height, width", [(1, 1), (3, 3), (1, 5000), (5000, 1), (7, 2)])
def test_odd_sizes(formulation, height, width):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    activations = np.linspace(0, 1, height * width, dtype=np.float32).reshape(height, width, 1)
    settings = LabelConfig(formulation=formulation)
    mask = label_image(image, activations[..., 0], activations, [5], settings).mask
    assert mask.shape == (height, width) and set(np.unique(mask)) <= {0, 5, 255}


def test_a_plain_image_with_plain_maps_does_not_fail():
    grey = np.full((50, 60, 3), 128, np.uint8)
    mask = label_image(grey, np.ones((50, 60), np.float32), np.ones((50, 60, 1), np.float32), [9], LabelConfig()).mask
    assert np.all(mask == 9)


@pytest.mark.parametrize(
    "change, says",
    [
        ({"image": np.zeros((4, 4), np.uint8)}, "image must be uint8"),
        ({"objectness": np.full((4, 4), np.nan, np.float32)}, "objectness must be finite"),
        ({"activations": np.full((4, 4, 1), 255.0, np.float32)}, "activations must be finite and in 0..1"),
        ({"activations": np.zeros((4, 4, 2), np.float32)}, "one map a tag"),
        ({"tags": [0]}, "tags must be distinct ids in 1..254"),
        ({"objectness": np.zeros((4, 4), np.float16)}, "objectness must be float32 and not empty, not float16"),
        ({"activations": np.zeros((0, 4, 1), np.float32)}, r"activations must be float32 and not empty, not .*\[0, 4"),
        ({"boxes": [TagBox(1, 3, 1, 2, 4)]}, "boxes: of tag 1: the box is inverted"),
        ({"boxes": [TagBox(1, float("nan"), 1, 2, 4)]}, "boxes: of tag 1: a corner of the box is not a finite number"),
    ],
)
def test_a_broken_contract_is_one_clear_line(change, says):
    inputs = {
        "image": np.zeros((4, 4, 3), np.uint8),
        "objectness": np.zeros((4, 4), np.float32),
        "activations": np.zeros((4, 4, 1), np.float32),
        "tags": [1],
    }
    with pytest.raises(ValueError, match=says):
        label_image(**(inputs | change), settings=LabelConfig())


def test_needs_neither_tensorflow_nor_beam():
    check = (
        "import sys, components.weak_labels.core.label_image, components.weak_labels.core.geometry;"
        "sys.exit(bool({'tensorflow', 'tfx', 'apache_beam'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", check], timeout=TIMEOUT_S).returncode == 0


def test_better_than_thresholded_activations_on_real_images():
    """Objectness and activations are drawn from the masks: blurred, the activation hot on the upper left part only."""
    root = os.environ.get("TRANSFERSEG_DATA")
    if not root:
        pytest.skip("TRANSFERSEG_DATA is not set")
    folder = Path(root) / "voc12_ps20"
    ours, alone = [], []
    for path in sorted((folder / "SegmentationClass").glob("*.png"))[:200:5]:
        truth = np.array(Image.open(path))
        tags = [int(tag) for tag in np.unique(truth) if tag not in (0, 255)]
        if len(tags) != 1:
            continue
        image = cv2.imread(str(folder / "JPEGImages" / f"{path.stem}.jpg"))[..., ::-1].copy()
        whole = (truth == tags[0]).astype(np.float32)
        rows, columns = np.nonzero(whole)
        part = np.zeros_like(whole)
        part[int(np.percentile(rows, 40)), int(np.percentile(columns, 40))] = 1
        part = cv2.GaussianBlur(part, (0, 0), 0.3 * len(rows) ** 0.5)
        part /= part.max()
        objectness = cv2.GaussianBlur(whole, (0, 0), 15)
        mask = label_image(image, objectness, part[..., None], tags, LabelConfig()).mask
        valid = truth != 255
        ours.append(iou(mask[valid], truth[valid], tags[0]))
        alone.append(max(iou(tags[0] * (part >= cut)[valid], truth[valid], tags[0]) for cut in (0.1, 0.2, 0.3, 0.5)))
    assert np.mean(ours) > 0.75 and np.mean(ours) > np.mean(alone) + 0.1


@pytest.mark.parametrize(
    ("size", "number"),
    [
        ((375, 500), 300),
        ((500, 500), 300),
        ((1, 1), 300),
        ((480, 640), 369),
        ((1000, 1000), 1200),
        ((9000, 9000), 1200),
    ],
)
def test_superpixels_grow_with_the_image_above_voc_s_sizes(size, number):
    assert LabelConfig().superpixels_of(*size) == number


def test_superpixels_grow_no_further_than_asked():
    assert LabelConfig(most_superpixels=300).superpixels_of(9000, 9000) == 300
    assert LabelConfig(superpixels=1500).superpixels_of(9000, 9000) == 1500


def test_a_small_object_of_a_large_image_gets_a_label():
    truth = np.zeros((1000, 1400), np.uint8)
    cv2.circle(truth, (430, 510), 8, 3, -1)
    image = np.where(truth[..., None] == 3, (190, 60, 50), (70, 110, 60))
    image = (image + np.random.default_rng(0).integers(0, 30, image.shape)).astype(np.uint8)
    hot = cv2.GaussianBlur((truth > 0).astype(np.float32), (0, 0), 4)
    hot /= hot.max()
    few, many = (
        label_image(image, hot, hot[..., None], [3], LabelConfig(most_superpixels=most)).mask for most in (300, 1200)
    )
    assert iou(many, truth, 3) > 0.8 and iou(few, truth, 3) < 0.5
