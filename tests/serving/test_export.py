"""What the exported SavedModel answers, against NumPy and the plain network."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from serving_samples import BAD_IMAGES, CATEGORIES, ODD_IMAGES, SIZE, build_tiny_net, draw, encode, png_bomb, read_mask

from serving import signatures
from serving.export import export_maps, export_segmentation, read_categories, restore_net
from serving.saved_model import load_saved_model
from serving.trainer_predictions import read_trainer_predictions
from serving.warmup import read_warmup
from trainer.data import features
from trainer.data.orientation import stored, upright
from trainer.data.preprocessing import decode_image, grid_to_image, to_network_input
from trainer.errors import UserError
from trainer.inference.looks import Look, MapsConfig
from trainer.metrics import boundary_band, boundary_confusion
from trainer.models.cam import build_cam
from trainer.models.large_fov import build_segmentation

# Only what tensorflow_model_server links in; anything else (tf-addons, TF-Text, py_function) would not load there.
FOREIGN_OPS = ("Addons>", "PyFunc", "EagerPyFunc", "TFText>", "NumpyFunc")


def expected_mask(net, data: bytes) -> np.ndarray:
    image = decode_image(data)
    network_input, valid = to_network_input(image, SIZE)
    logits = net(network_input[tf.newaxis], training=False)[0]
    return tf.argmax(grid_to_image(logits, valid, SIZE, *image.shape[:2]), -1).numpy()


def test_masks_of_a_mixed_batch_equal_the_plain_network(net, signatures):
    images = [encode(draw(h, w, seed), "JPEG") for seed, (h, w) in enumerate([(50, 80), (200, 120), (7, 33), (65, 65)])]
    masks = signatures["serving_default"](image_bytes=tf.constant(images))["mask_bytes"].numpy()
    seen = set()
    for image, mask in zip(images, masks, strict=True):
        np.testing.assert_array_equal(read_mask(mask), expected_mask(net, image))
        seen |= set(np.unique(read_mask(mask)))
    assert len(seen) > 1  # a constant network would make this test blind


@pytest.mark.parametrize("name", ODD_IMAGES)
def test_unusual_images_get_a_mask_of_their_own_size(signatures, name):
    data, shape = ODD_IMAGES[name]
    mask = read_mask(signatures["serving_default"](image_bytes=tf.constant([data]))["mask_bytes"].numpy()[0])
    assert mask.shape == shape
    assert mask.max() < CATEGORIES.num_classes


@pytest.mark.parametrize("name", BAD_IMAGES)
@pytest.mark.parametrize("signature", ["serving_default", "scores"])
def test_bad_images_are_invalid_arguments(signatures, name, signature):
    with pytest.raises(tf.errors.InvalidArgumentError):
        signatures[signature](image_bytes=tf.constant([BAD_IMAGES[name]]))


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", r"image_bytes\[1\]: not a JPEG, PNG, GIF or BMP image \(0 bytes\)"),
        (png_bomb(10_000, 5_000), r"image_bytes\[1\]: 5000 x 10000 pixels; the limit is 40000000"),
    ],
)
def test_the_message_names_the_image(signatures, data, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        signatures["serving_default"](image_bytes=tf.constant([encode(draw(9, 9)), data]))


def test_an_empty_batch_is_an_invalid_argument(signatures):
    with pytest.raises(tf.errors.InvalidArgumentError, match="batch is empty"):
        signatures["serving_default"](image_bytes=tf.constant([], tf.string))


@pytest.mark.parametrize(("kind", "orientation"), [("JPEG", 3), ("JPEG", 6), ("PNG", 6), ("JPEG", 7), ("PNG", 8)])
def test_a_turned_picture_is_seen_upright_and_masked_as_stored(signatures, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = encode(draw(40, 60), kind, exif=exif)
    seen = upright(decode_image(turned), tf.constant(orientation)).numpy()
    both = tf.constant([turned, encode(seen)])
    masks = [read_mask(mask) for mask in signatures["serving_default"](image_bytes=both)["mask_bytes"].numpy()]
    assert masks[0].shape == (40, 60) and masks[1].shape == seen.shape[:2]
    np.testing.assert_array_equal(masks[0], stored(tf.constant(masks[1][..., None]), tf.constant(orientation))[..., 0])


def test_a_large_image_gets_the_enlarged_mask_of_its_smaller_self(net, signatures):
    data = encode(draw(1500, 3000), "JPEG")
    mask = read_mask(signatures["serving_default"](image_bytes=tf.constant([data]))["mask_bytes"].numpy()[0])
    exact = expected_mask(net, data)
    assert mask.shape == exact.shape
    assert (mask == exact).mean() > 0.99  # only outlines move, by at most a pixel of the 1024-pixel mask


def test_scores_are_probabilities_over_the_image_alone(net, signatures):
    images = [encode(draw(30, 90)), encode(draw(64, 64, 3))]
    answer = {name: value.numpy() for name, value in signatures["scores"](image_bytes=tf.constant(images)).items()}
    network_input, valid = to_network_input(decode_image(images[0]), SIZE)
    probabilities = tf.nn.softmax(net(network_input[tf.newaxis], training=False))[0].numpy()
    rows, columns = (np.arange(9) * 8 < side for side in valid.numpy())
    inside = probabilities[np.ix_(rows, columns)].reshape(-1, CATEGORIES.num_classes)
    np.testing.assert_allclose(answer["scores"][0], inside.max(0), rtol=1e-5)
    np.testing.assert_allclose(answer["area"][0], inside.mean(0), rtol=1e-5)
    np.testing.assert_allclose(answer["confidence"][0], inside.max(1).mean(), rtol=1e-5)
    np.testing.assert_allclose(answer["area"].sum(1), 1, rtol=1e-5)


def example(key: str, image: bytes, mask: np.ndarray | None = None) -> bytes:
    png = None if mask is None else tf.io.encode_png(mask[..., None]).numpy()
    return features.make_example(key, image, 1, 1, [1], png, features.HUMAN).SerializeToString()


def test_examples_and_evaluate_agree_with_numpy(net, signatures):
    rng = np.random.default_rng(0)
    images = [encode(draw(40, 60, 1)), encode(draw(90, 30, 2))]
    truths = [rng.choice([0, 1, 2, 3, 4, 255], shape).astype(np.uint8) for shape in [(40, 60), (90, 30)]]
    records = [example(f"key {i}", image, mask) for i, (image, mask) in enumerate(zip(images, truths, strict=True))]
    drawn = signatures["examples"](examples=tf.constant(records))
    counted = signatures["evaluate"](examples=tf.constant(records))
    assert drawn["key"].numpy().tolist() == counted["key"].numpy().tolist() == [b"key 0", b"key 1"]
    for i, (image, truth) in enumerate(zip(images, truths, strict=True)):
        prediction = expected_mask(net, image)
        np.testing.assert_array_equal(read_mask(drawn["mask_bytes"].numpy()[i]), prediction)
        reference = np.zeros((5, 5), np.int64)
        np.add.at(reference, (truth[truth != 255], prediction[truth != 255]), 1)
        np.testing.assert_array_equal(counted["confusion"].numpy()[i].reshape(5, 5), reference)
    scores = signatures["scores"](image_bytes=tf.constant(images))
    for name in ("area", "confidence"):
        np.testing.assert_allclose(counted[name], scores[name], rtol=1e-5)


def test_boundary_counts_agree_with_numpy(net, signatures):
    rng = np.random.default_rng(1)
    for height, width in ((40, 60), (1, 9), (120, 7)):
        blocks = rng.choice([0, 1, 4, 255], (-(-height // 12), -(-width // 12))).astype(np.uint8)
        truth = np.kron(blocks, np.ones((12, 12), np.uint8))[:height, :width]
        image = encode(draw(height, width, 1))
        counted = signatures["evaluate"](examples=tf.constant([example("k", image, truth)]))["boundary"].numpy()[0]
        expected = boundary_confusion(truth, expected_mask(net, image), 5)[:, :5]
        np.testing.assert_array_equal(counted.reshape(5, 5), expected)


def test_evaluate_refuses_an_example_without_a_mask(signatures):
    with pytest.raises(tf.errors.InvalidArgumentError, match="k: the example has no mask"):
        signatures["evaluate"](examples=tf.constant([example("k", encode(draw(9, 9)))]))


def test_ids_that_a_model_does_not_know_are_left_out(signatures):
    """An older model, from before a category was added, is still compared with on the others."""
    truth = np.full((9, 9), 5, np.uint8)
    truth[0] = 2
    counted = signatures["evaluate"](examples=tf.constant([example("k", encode(draw(9, 9)), truth)]))
    assert counted["confusion"].numpy().sum() == 9


def test_restored_weights_are_bit_identical(net, saved_model):
    other = build_tiny_net(seed=1)
    assert not all(np.array_equal(a, b) for a, b in zip(other.get_weights(), net.get_weights(), strict=True))
    restore_net(other, saved_model)
    for ours, theirs in zip(other.get_weights(), net.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_restoring_another_network_is_refused(saved_model, tmp_path):
    with pytest.raises(UserError, match="not those of this network"):
        restore_net(build_tiny_net(num_outputs=3), saved_model)
    with pytest.raises(UserError, match="not a SavedModel"):
        restore_net(build_tiny_net(), tmp_path)


def test_assets_say_what_the_model_is(saved_model):
    assert read_categories(saved_model, "segmentation") == CATEGORIES
    extra = saved_model / "assets.extra"
    described = json.loads((extra / "categories.json").read_text())
    assert described["names"][0] == "background" and described["weak"] == ["bird", "cow"]
    assert len(described["palette"]) == 256
    assert json.loads((extra / "metadata.json").read_text()) == {
        "config_hash": "abc",
        "image_size": SIZE,
        "kind": "segmentation",
        "look": Look(size=SIZE).model_dump(mode="json"),
        "max_pixels": 40_000_000,
    }


def test_the_trainers_own_predictions_travel_with_the_model(net, tmp_path):
    images = [encode(draw(40, 60), "JPEG"), encode(draw(30, 20))]
    export_segmentation(
        net, tmp_path / "m", categories=CATEGORIES, image_size=SIZE, metadata={}, predicted_images=images
    )
    kept = read_trainer_predictions(tmp_path / "m")
    assert [image for image, _ in kept] == images
    for image, mask in kept:
        np.testing.assert_array_equal(mask, expected_mask(net, image))


def test_every_warmup_request_runs(saved_model, signatures):
    requests = read_warmup(saved_model)
    names = [request.model_spec.signature_name for request in requests]
    assert names == ["serving_default", "scores", "masks_and_scores", "examples"]
    for request in requests:
        inputs = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
        assert signatures[request.model_spec.signature_name](**inputs)


def test_the_graph_holds_core_ops_only(saved_model):
    from tensorflow.core.protobuf import saved_model_pb2

    graph = saved_model_pb2.SavedModel.FromString((saved_model / "saved_model.pb").read_bytes()).meta_graphs[0]
    ops = {node.op for function in graph.graph_def.library.function for node in function.node_def}
    assert "DecodeImage" in ops
    assert not [op for op in ops if op.startswith(FOREIGN_OPS)]


def test_export_never_overwrites(net, saved_model):
    with pytest.raises(UserError, match="not empty"):
        export_segmentation(net, saved_model, categories=CATEGORIES, image_size=SIZE, metadata={})


def test_folders_named_like_a_pattern_are_restored_and_loaded(net, saved_model, tmp_path):
    for name in ("a[b]", "a*", "a?"):
        shutil.copytree(saved_model, tmp_path / name)
        other = build_tiny_net(seed=1)
        restore_net(other, tmp_path / name)
        np.testing.assert_array_equal(other.get_weights()[0], net.get_weights()[0])
        assert "serving_default" in load_saved_model(tmp_path / name).signatures


@pytest.mark.slow
def test_mixed_precision_networks_are_exported_and_restored(tmp_path):
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        net, other = build_tiny_net(), build_tiny_net(seed=1)
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
    export_segmentation(net, tmp_path / "m", categories=CATEGORIES, image_size=SIZE, metadata={})
    data = encode(draw(40, 60))
    loaded = tf.saved_model.load(str(tmp_path / "m"))
    answer = loaded.signatures["serving_default"](image_bytes=tf.constant([data]))["mask_bytes"]
    assert read_mask(answer.numpy()[0]).shape == (40, 60)
    restore_net(other, tmp_path / "m")
    np.testing.assert_array_equal(other.get_weights()[0], net.get_weights()[0])


def test_l_net_maps_are_sigmoids_of_the_grid(tmp_path):
    net = build_tiny_net(num_outputs=1)
    export_maps(net, tmp_path / "l", kind="l_net", image_size=SIZE, categories=CATEGORIES, metadata={})
    data = encode(draw(30, 60))
    network_input, valid = to_network_input(decode_image(data), SIZE)
    loaded = tf.saved_model.load(str(tmp_path / "l"))
    answer = loaded.signatures["serving_default"](image_bytes=tf.constant([data]))
    np.testing.assert_allclose(answer["maps"][0], tf.sigmoid(net(network_input[None]))[0], rtol=1e-5)
    np.testing.assert_array_equal(answer["valid"][0], valid)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["l_net", "cam"])
def test_maps_are_means_over_all_views(kind, tmp_path):
    net = build_segmentation("tiny", 1, None, 0) if kind == "l_net" else build_cam("tiny", 4, None, 0)
    look = MapsConfig(extra_scales=[1.5], mirror=True).look(SIZE)
    export_maps(net, tmp_path / "m", kind=kind, image_size=SIZE, categories=CATEGORIES, metadata={}, look=look)
    image = draw(60, 60)
    answer = tf.saved_model.load(str(tmp_path / "m")).signatures["serving_default"](
        image_bytes=tf.constant([encode(image)])
    )

    def look(side: int, mirror: bool) -> tuple[np.ndarray, np.ndarray]:
        network_input, _ = to_network_input(decode_image(encode(image)), side)
        network_input = network_input[:, ::-1] if mirror else network_input
        seen = net(network_input[None])
        maps, logits = (tf.sigmoid(seen), 0) if kind == "l_net" else (seen["maps"], seen["scores"])
        return maps[0].numpy()[:, :: -1 if mirror else 1], logits

    coarse, fine = ([look(side, mirror) for mirror in (False, True)] for side in (SIZE, 97))
    places = np.linspace(0, 8, 13)  # 9 grid points and 13 with common corners
    low = np.minimum(places.astype(int), 7)
    weights = np.zeros((13, 9))
    weights[range(13), low], weights[range(13), low + 1] = low + 1 - places, places - low
    raised = [np.einsum("pr,qc,rck->pqk", weights, weights, maps) for maps, _ in coarse]
    mean = np.mean([*raised, *(maps for maps, _ in fine)], 0)
    if kind == "cam":
        mean = np.maximum(mean, 0) / np.maximum(mean.max((0, 1)), 1e-12)
        logits = np.mean([logits for _, logits in coarse + fine], 0)
        np.testing.assert_allclose(answer["scores"], tf.sigmoid(logits), rtol=1e-4)
    np.testing.assert_allclose(answer["maps"][0], mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(answer["valid"][0], [SIZE, SIZE])


def test_cam_maps_are_normalised_on_the_image_alone(tmp_path):
    net = build_cam("tiny", 4, None, 0)
    export_maps(net, tmp_path / "c", kind="cam", image_size=SIZE, categories=CATEGORIES, metadata={})
    data = encode(draw(30, 60))
    answer = tf.saved_model.load(str(tmp_path / "c")).signatures["serving_default"](image_bytes=tf.constant([data]))
    network_input, valid = to_network_input(decode_image(data), SIZE)
    plain = net(network_input[None])
    rows, columns = (np.arange(9) * 8 < side for side in valid.numpy())
    maps = np.maximum(plain["maps"][0].numpy(), 0) * (rows[:, None] & columns)[..., None]
    np.testing.assert_allclose(answer["maps"][0], maps / np.maximum(maps.max((0, 1)), 1e-12), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(answer["scores"], tf.sigmoid(plain["scores"]), rtol=1e-5)
    np.testing.assert_array_equal(answer["valid"][0], valid)


@pytest.mark.parametrize("size", [(2, 50_000), (50_000, 1)])
def test_the_band_of_a_very_long_picture_is_that_of_numpy(size):
    truth = np.zeros(size, np.uint8)
    truth.ravel()[truth.size // 2 :] = 1
    np.testing.assert_array_equal(signatures.boundary_band(tf.constant(truth)), boundary_band(truth))
