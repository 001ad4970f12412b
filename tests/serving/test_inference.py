"""Exported models that look at pictures in other ways: at their own size, at several scales, in tiles."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from serving_samples import BAD_IMAGES, CATEGORIES, ODD_IMAGES, SIZE, draw, encode, read_mask

from serving.export import export_maps, export_segmentation
from serving.signatures import segmentation_signatures
from serving.trainer_predictions import read_trainer_predictions
from trainer.data import features
from trainer.data.preprocessing import MEAN_COLOUR
from trainer.inference.looks import Look, MapsConfig
from trainer.inference.one_image import predict_on_pixels
from trainer.inference.tiles import number_of_tiles
from trainer.models.large_fov import build_segmentation

pytestmark = pytest.mark.slow  # exports networks of every look

NATIVE = Look(size=SIZE, native=True)
VIEWS = Look(size=SIZE, native=True, scales=(0.75, 1.0, 1.5), mirror=True)
TILES = Look(size=SIZE, native=True, overlap=17)
MIRRORED_TILES = Look(size=SIZE, native=True, overlap=33, mirror=True)
LOOKS = {"native": NATIVE, "views": VIEWS, "tiles": TILES, "mirrored tiles": MIRRORED_TILES}
# What tiles do, mirrored ones do too.
QUICK = [pytest.param(name, marks=pytest.mark.soak if name == "tiles" else ()) for name in LOOKS]
SIZES = [(50, 80), (200, 120), (7, 33), (65, 65), (130, 40)]
IMAGES = [encode(draw(h, w, seed)) for seed, (h, w) in enumerate(SIZES)]


@pytest.fixture(scope="module")
def net():
    return build_segmentation("tiny", CATEGORIES.num_classes, None, 0)


@pytest.fixture(scope="module", params=QUICK)
def exported(request, net, tmp_path_factory):
    """(look, signatures, folder)"""
    folder, look = tmp_path_factory.mktemp("model") / "m", LOOKS[request.param]
    export_segmentation(
        net, folder, categories=CATEGORIES, image_size=33, metadata={}, look=look, predicted_images=IMAGES[:2]
    )
    loaded = tf.saved_model.load(str(folder))
    return look, {**loaded.signatures, "keep": loaded}, folder


def masks_of(signatures, images) -> list[np.ndarray]:
    answer = signatures["serving_default"](image_bytes=tf.constant(images))["mask_bytes"].numpy()
    return [read_mask(mask) for mask in answer]


def logits_of(net, data: bytes, look: Look) -> np.ndarray:
    return predict_on_pixels(net, data, look, CATEGORIES.num_classes)[1].numpy()


def test_masks_of_a_mixed_batch_are_those_of_the_plain_network(net, exported):
    look, signatures, _ = exported
    seen = set()
    for image, mask, size in zip(IMAGES, masks_of(signatures, IMAGES), SIZES, strict=True):
        expected = logits_of(net, image, look).argmax(-1)
        assert mask.shape == size
        assert (mask == expected).mean() > 0.999
        seen |= set(np.unique(mask))
    assert len(seen) > 1


def test_every_signature_agrees_with_the_masks(net, exported):
    look, signatures, _ = exported
    rng = np.random.default_rng(0)
    truths = [rng.choice([0, 1, 2, 3, 4, 255], size).astype(np.uint8) for size in SIZES]
    records = [
        features.make_example(
            f"k{i}", image, 1, 1, [1], tf.io.encode_png(truth[..., None]).numpy(), features.HUMAN
        ).SerializeToString()
        for i, (image, truth) in enumerate(zip(IMAGES, truths, strict=True))
    ]
    counted = signatures["evaluate"](examples=tf.constant(records))
    drawn = signatures["examples"](examples=tf.constant(records))
    assert counted["key"].numpy().tolist() == drawn["key"].numpy().tolist() == [b"k%d" % i for i in range(len(SIZES))]
    for i, (mask, truth) in enumerate(zip(masks_of(signatures, IMAGES), truths, strict=True)):
        np.testing.assert_array_equal(read_mask(drawn["mask_bytes"].numpy()[i]), mask)
        reference = np.zeros((5, 5), np.int64)
        np.add.at(reference, (truth[truth != 255], mask[truth != 255]), 1)
        np.testing.assert_array_equal(counted["confusion"].numpy()[i].reshape(5, 5), reference)
        assert 0 < counted["boundary"].numpy()[i].sum() <= reference.sum()


def test_scores_are_those_of_the_cells_inside(net, exported):
    look, signatures, _ = exported
    both = signatures["masks_and_scores"](image_bytes=tf.constant(IMAGES))
    alone = signatures["scores"](image_bytes=tf.constant(IMAGES))
    for name in ("area", "confidence"):
        np.testing.assert_allclose(both[name], alone[name], rtol=1e-5)
    for mask, expected in zip(both["mask_bytes"].numpy(), masks_of(signatures, IMAGES), strict=True):
        np.testing.assert_array_equal(read_mask(mask), expected)
    if look.overlap is None and len(look.sides) > 1:
        pytest.skip("cells of the finest view do not lie on the picture's pixels")
    images, sizes = [IMAGES[i] for i in (2, 3, 4)], [SIZES[i] for i in (2, 3, 4)]
    answer = {name: value.numpy() for name, value in signatures["scores"](image_bytes=tf.constant(images)).items()}
    for i, (image, (height, width)) in enumerate(zip(images, sizes, strict=True)):
        if max(height, width) > look.size and look.overlap is None:
            continue  # it was made smaller: its cells lie elsewhere
        probabilities = tf.nn.softmax(logits_of(net, image, look)[::8, ::8]).numpy().reshape(-1, 5)
        np.testing.assert_allclose(answer["scores"][i], probabilities.max(0), atol=1e-4)
        np.testing.assert_allclose(answer["area"][i], probabilities.mean(0), atol=1e-4)
        np.testing.assert_allclose(answer["confidence"][i], probabilities.max(1).mean(), atol=1e-4)


@pytest.mark.parametrize("name", ODD_IMAGES)
def test_unusual_images_get_a_mask_of_their_own_size(exported, name):
    data, shape = ODD_IMAGES[name]
    [mask] = masks_of(exported[1], [data])
    assert mask.shape == shape and mask.max() < CATEGORIES.num_classes


@pytest.mark.parametrize("name", ["nothing", "truncated png", "50 megapixels"])
@pytest.mark.parametrize("signature", ["serving_default", "scores"])
def test_bad_images_are_invalid_arguments(exported, name, signature):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"image_bytes\[1\]|[Ii]nvalid PNG"):
        exported[1][signature](image_bytes=tf.constant([IMAGES[0], BAD_IMAGES[name]]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="batch is empty"):
        exported[1][signature](image_bytes=tf.constant([], tf.string))


@pytest.mark.parametrize("orientation", [3, 6, 7])
def test_a_turned_picture_is_seen_upright_and_masked_as_stored(exported, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    turns = {
        3: lambda p: p[::-1, ::-1],
        6: lambda p: p.swapaxes(0, 1)[:, ::-1],
        7: lambda p: p.swapaxes(0, 1)[::-1, ::-1],
    }
    pixels = draw(70, 90)
    mask, seen = masks_of(
        exported[1], [encode(pixels, exif=exif), encode(np.ascontiguousarray(turns[orientation](pixels)))]
    )
    np.testing.assert_array_equal(turns[orientation](mask), seen)


def test_the_trainers_predictions_are_made_by_the_same_look(exported):
    _, signatures, folder = exported
    for image, expected in read_trainer_predictions(folder):
        [mask] = masks_of(signatures, [image])
        assert (mask == expected).mean() > 0.999


def test_the_assets_say_how_the_model_looks(exported):
    look, _, folder = exported
    about = json.loads((folder / "assets.extra" / "metadata.json").read_text())
    assert Look.model_validate(about["look"]) == look and about["image_size"] == SIZE


def plain_masks(net, look: Look, images: list[bytes], max_pixels: int = 40_000_000) -> list[np.ndarray]:
    """Of the graph that would be exported."""
    return masks_of(segmentation_signatures(net, CATEGORIES.num_classes, look, max_pixels), images)


def test_tiles_give_a_small_picture_the_whole_answer_and_a_large_one_more_detail(net):
    whole, tiled = (plain_masks(net, look, IMAGES[1:4]) for look in (NATIVE, TILES))
    for number in (1, 2):
        np.testing.assert_array_equal(whole[number], tiled[number])
    assert number_of_tiles(200, TILES).numpy() == 4 and (whole[0] != tiled[0]).any()


def test_a_native_picture_is_filled_up_not_enlarged(net):
    """The same picture with the filling drawn into it gets the same mask."""
    filled = np.tile(np.round(MEAN_COLOUR).astype(np.uint8), (SIZE, SIZE, 1))
    filled[:40, :50] = draw(40, 50)
    mask, of_filled = plain_masks(net, NATIVE, [encode(draw(40, 50)), encode(filled)])
    assert (mask == of_filled[:40, :50]).mean() > 0.99


def test_the_limit_of_pixels_is_the_model_s_own(net):
    assert plain_masks(net, TILES, IMAGES[:1], max_pixels=4000)[0].shape == SIZES[0]
    with pytest.raises(tf.errors.InvalidArgumentError, match="65 x 65 pixels; the limit is 4000"):
        plain_masks(net, TILES, [IMAGES[3]], max_pixels=4000)


@pytest.mark.parametrize("look", [TILES, Look(size=SIZE)], ids=["tiles", "whole"])
def test_pictures_above_the_models_limit_are_judged_all_the_same(net, look):
    """An evaluation list may hold some; what is served refuses them."""
    truth = np.zeros(SIZES[3], np.uint8)
    example = features.make_example("large", IMAGES[3], *SIZES[3], [], encode(truth)).SerializeToString()
    small, all_sizes = (
        segmentation_signatures(net, CATEGORIES.num_classes, look, max_pixels=limit) for limit in (1000, 40_000_000)
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match="the limit is 1000"):
        small["examples"](examples=tf.constant([example]))
    mine, theirs = (found["evaluate"](examples=tf.constant([example])) for found in (small, all_sizes))
    np.testing.assert_array_equal(mine["confusion"], theirs["confusion"])


def test_native_maps_say_which_part_of_the_input_is_image(tmp_path):
    net = build_segmentation("tiny", 1, None, 0)
    look = MapsConfig(extra_scales=[1.5]).look(SIZE, native=True)
    export_maps(net, tmp_path / "l", kind="l_net", image_size=33, categories=CATEGORIES, metadata={}, look=look)
    answer = tf.saved_model.load(str(tmp_path / "l")).signatures["serving_default"](image_bytes=tf.constant(IMAGES))
    assert answer["valid"].numpy().tolist() == [[41, 65], [65, 39], [7, 33], [65, 65], [65, 20]]
    assert answer["maps"].shape == (5, 13, 13, 1)
    assert json.loads((tmp_path / "l" / "assets.extra" / "metadata.json").read_text())["image_size"] == SIZE
