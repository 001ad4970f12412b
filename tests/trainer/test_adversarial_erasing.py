"""Adversarial erasing piece by piece: regions, their union, painted-over images, the cut."""

import numpy as np
import tensorflow as tf
from PIL import Image

from trainer.baselines.adversarial_erasing import (
    Activated,
    activations_of,
    best_cut,
    read_regions,
    region_ids,
    united,
    with_saliency,
    write_erased,
    write_regions,
)
from trainer.baselines.example_files import write_labels
from trainer.data import features
from trainer.data.pictures import read_header, to_png
from trainer.data.preprocessing import MEAN_COLOUR, decode_image, decode_mask
from trainer.inference.looks import Look
from trainer.models.cam import build_cam


def records(path, images, masks=None, tags=(1,)):
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for i, image in enumerate(images):
            mask = None if masks is None else tf.io.encode_png(masks[i][..., None]).numpy()
            png = tf.io.encode_png(image).numpy()
            example = features.make_example(f"k{i}", png, *image.shape[:2], list(tags), mask)
            writer.write(example.SerializeToString())
    return [str(path)]


def read(path):
    return [tf.io.parse_single_example(r, features.PARSE_SPEC) for r in tf.data.TFRecordDataset(str(path), "GZIP")]


def test_the_hottest_tag_wins_where_it_reaches_the_cut():
    activations = np.array([[[255, 0], [100, 200], [50, 40]]], np.uint8)
    np.testing.assert_array_equal(region_ids(activations, [3, 7], 127.5), [[3, 7, 0]])
    np.testing.assert_array_equal(region_ids(activations, [3, 7], 25.5), [[3, 7, 3]])


def test_the_earlier_round_wins_a_pixel():
    rounds = [np.array([0, 2, 0]), np.array([3, 3, 0]), np.array([4, 4, 4])]
    np.testing.assert_array_equal(united(rounds), [3, 2, 4])


def test_the_cut_with_the_best_iou_is_found():
    truth = np.zeros((10, 10), np.uint8)
    truth[:4] = 5
    activations = np.full((10, 10, 1), 60, np.uint8)  # .24 of the maximum on the ground
    activations[:4] = 120  # .47 on the object
    activations[0, 0] = 255
    assert 0.25 <= best_cut([Activated("a", [5], activations, truth)], Activated.region, 6) <= 0.45


def test_saliency_decides_the_background_and_what_contradicts_it_is_void():
    regions, saliency = np.array([[3, 0, 3, 0]], np.uint8), np.array([[0.9, 0.05, 0.05, 0.06]])
    found = with_saliency(regions, saliency)
    assert found.dtype == np.uint8 and found.tolist() == [[3, 0, 255, 255]]


def test_regions_are_painted_over_and_the_rest_is_kept(tmp_path):
    image = np.full((24, 32, 3), 200, np.uint8)
    region = np.zeros((24, 32), np.uint8)
    region[:8, :16] = 1
    source = records(tmp_path / "in.gz", [image, image])
    write_regions(tmp_path, {"k0": region})
    (tmp_path / "out").mkdir()
    write_erased(source, read_regions(tmp_path), tmp_path / "out")
    painted, untouched = (
        decode_image(example[features.IMAGE]).numpy().astype(int) for example in read(tmp_path / "out" / "00000.gz")
    )
    assert (painted[:8, :16] == np.round(MEAN_COLOUR)).all() and (painted[8:, 16:] == 200).all()
    np.testing.assert_array_equal(untouched, image)


def test_painted_pictures_are_turned_as_before(tmp_path):
    data = to_png(Image.new("RGB", (32, 24)), orientation=6)
    example = features.make_example("k", data, 24, 32, [1])
    with tf.io.TFRecordWriter(str(tmp_path / "in.gz"), features.GZIP) as writer:
        writer.write(example.SerializeToString())
    (tmp_path / "out").mkdir()
    write_erased([str(tmp_path / "in.gz")], {"k": np.ones((24, 32), np.uint8)}, tmp_path / "out")
    [found] = read(tmp_path / "out" / "00000.gz")
    assert read_header(found[features.IMAGE].numpy()).orientation == 6


def test_labels_replace_masks_and_images_without_one_are_left_out(tmp_path):
    image, label = np.zeros((8, 8, 3), np.uint8), np.full((8, 8), 2, np.uint8)
    source = records(tmp_path / "in.gz", [image, image])
    (tmp_path / "out").mkdir()
    write_labels(source, {"k1": label}, tmp_path / "out")
    [example] = read(tmp_path / "out" / "00000.gz")
    assert example[features.KEY] == b"k1" and example[features.SOURCE] == features.GENERATED
    np.testing.assert_array_equal(decode_mask(example[features.MASK]), label)


def test_activations_are_the_classifiers_own_on_the_images_pixels(tmp_path):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, shape).astype(np.uint8) for shape in ((20, 33, 3), (40, 30, 3))]
    truths = [np.ones(image.shape[:2], np.uint8) for image in images]
    source = records(tmp_path / "in.gz", images, truths, tags=(1, 3))
    cam = build_cam("tiny", 3, None, 0)
    for found, image in zip(activations_of(cam, source, Look(size=33)), images, strict=True):
        assert found.activations.shape == (*image.shape[:2], 2) and found.activations.dtype == np.uint8
        assert found.tags == [1, 3] and found.truth.shape == image.shape[:2]
        peaks = found.activations.max((0, 1))
        assert set(peaks.tolist()) <= {0, 255}  # each map's own maximum, or a map without any
