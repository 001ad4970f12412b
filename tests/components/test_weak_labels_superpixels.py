"""Superpixels: labels of any image are complete, contiguous, repeatable, and follow edges."""

import cv2
import numpy as np
import pytest
from skimage.segmentation import slic

from components.weak_labels.core import superpixels as module
from components.weak_labels.core.superpixels import segment, superpixels


def blobs(height, width, seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 6), None, 0, 255, cv2.NORM_MINMAX)


@pytest.mark.parametrize(
    "height, width", [(1, 1), (3, 3), (1, 5000), (5000, 1), (2, 700), (17, 19), (375, 500), (500, 281), (1200, 1600)]
)
def test_any_size_gives_contiguous_labels_at_a_bounded_resolution(height, width):
    labels, lab = superpixels(blobs(height, width), 300, 20.0)
    assert labels.shape == lab.shape[:2] and lab.dtype == np.float32 and 0 <= lab.min() <= lab.max() <= 1
    np.testing.assert_array_equal(np.unique(labels), np.arange(labels.max() + 1))
    assert labels.size <= 330 * 16 * 16 and labels.max() < min(330, height * width)
    again, _ = superpixels(blobs(height, width), 300, 20.0)
    np.testing.assert_array_equal(labels, again)


def test_a_plain_image_becomes_a_regular_grid():
    labels, _ = superpixels(np.full((160, 160, 3), 77, np.uint8), 100, 20.0)
    rows, columns = np.indices((160, 160)) // 16
    np.testing.assert_array_equal(labels, rows * 10 + columns)


def test_superpixels_stop_at_a_strong_edge():
    image = np.zeros((240, 320, 3), np.uint8)
    cv2.ellipse(image, (160, 120), (83, 59), 20, 0, 360, (250, 160, 30), -1)
    labels, lab = superpixels(image, 300, 20.0)
    inside = cv2.resize(image, labels.shape[::-1], interpolation=cv2.INTER_NEAREST)[..., 0] > 0
    share = np.bincount(labels.ravel(), inside.ravel()) / np.bincount(labels.ravel())
    wrong = np.mean((share > 0.5)[labels] != inside)
    assert wrong < 0.005


def test_assignment_is_the_nearest_of_nine_centres():
    image, rows, columns, compactness = blobs(24, 30), 4, 5, 20.0
    pixels, _ = module._pixels(image, rows, columns, compactness)
    centres = pixels[:, :5].mean(2) + np.random.default_rng(0).normal(0, 3, (20, 5)).astype(np.float32)
    candidates, outside = module._candidates(rows, columns)
    shift = np.float32(compactness) * np.array(module._OFFSETS, np.float32)
    chosen = module._nearest(pixels, centres, candidates, outside, shift)
    for cell in range(20):
        for pixel in range(36):
            y, x = divmod(cell, columns)
            value = pixels[cell, :5, pixel].astype(float)
            value[3:] += compactness * y, compactness * x
            distance = {}
            for near_y in range(max(y - 1, 0), min(y + 2, rows)):
                for near_x in range(max(x - 1, 0), min(x + 2, columns)):
                    centre = centres[near_y * columns + near_x].astype(float)
                    centre[3:] += compactness * near_y, compactness * near_x
                    distance[near_y * columns + near_x] = np.sum((value - centre) ** 2)
            winner = candidates[cell, chosen[cell, pixel]]
            assert distance[winner] <= min(distance.values()) + 1e-2


@pytest.mark.parametrize("height, width", [(1, 400), (24, 30), (240, 320)])
def test_cells_outside_are_as_far_as_infinity(monkeypatch, height, width):
    image = blobs(height, width, seed=1)
    finite, _ = superpixels(image, 60, 20.0)
    with np.errstate(all="raise"):
        superpixels(image, 60, 20.0)
    monkeypatch.setattr(module, "_FAR", np.float32(np.inf))
    with np.errstate(all="ignore"):
        infinite, _ = superpixels(image, 60, 20.0)
    np.testing.assert_array_equal(finite, infinite)


def test_regions_are_as_pure_as_scikit_images_slic():
    """Within-region colour variance at the same count; ours is allowed 5 % more."""

    def spread(labels, values):
        counts = np.bincount(labels.ravel())
        means = np.stack([np.bincount(labels.ravel(), values[..., k].ravel()) / counts for k in range(3)], 1)
        return np.mean((values - means[labels]) ** 2)

    image = blobs(240, 320, seed=3)
    labels, lab = superpixels(image, 300, 20.0)
    resized = cv2.resize(image, labels.shape[::-1], interpolation=cv2.INTER_AREA)
    theirs = slic(resized, labels.max() + 1, compactness=20.0, start_label=0, channel_axis=-1)
    assert spread(labels, lab) <= 1.05 * spread(theirs, lab)


@pytest.mark.parametrize("method", ["cells", "slic", "felzenszwalb"])
@pytest.mark.parametrize("height, width", [(1, 1), (1, 300), (17, 19), (375, 500)])
def test_every_method_gives_contiguous_labels_at_the_same_resolution(method, height, width):
    image = blobs(height, width)
    labels, lab = segment(image, 300, 20.0, method)
    ours, _ = superpixels(image, 300, 20.0)
    assert labels.shape == lab.shape[:2] == ours.shape and 0 <= lab.min() <= lab.max() <= 1
    np.testing.assert_array_equal(np.unique(labels), np.arange(labels.max() + 1))
    assert labels.max() < min(3 * 300, height * width)
    if method == "cells":
        np.testing.assert_array_equal(labels, ours)


@pytest.mark.parametrize("method", ["slic", "felzenszwalb"])
def test_other_methods_stop_at_a_strong_edge_too(method):
    image = np.zeros((240, 320, 3), np.uint8)
    cv2.ellipse(image, (160, 120), (83, 59), 20, 0, 360, (250, 160, 30), -1)
    labels, _ = segment(image, 300, 20.0, method)
    inside = cv2.resize(image, labels.shape[::-1], interpolation=cv2.INTER_NEAREST)[..., 0] > 0
    share = np.bincount(labels.ravel(), inside.ravel()) / np.bincount(labels.ravel())
    assert np.mean((share > 0.5)[labels] != inside) < 0.02
