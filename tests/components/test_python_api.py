"""`import transferseg`: the same masks and labels as the commands, and errors that say what is wrong."""

import numpy as np
import pytest
import tensorflow as tf
from labelling_samples import CATEGORIES, encode, scene, write_scenes
from PIL import Image

import transferseg
from components.beam_masks.masks import read_mask
from components.beam_masks.predict_folder import predict_folder
from components.trainers import in_python
from components.weak_labels.label_folder import label_folder
from serving.model import find_saved_model
from serving.saved_model import load_saved_model

pytestmark = pytest.mark.slow  # whole Beam jobs

NETWORK = transferseg.NetworkConfig(backbone="tiny", weights=None, image_size=65, precision="float32")
BLACK = np.zeros((4, 4, 3), np.uint8)
STAGE = transferseg.StageConfig(steps=3, batch_size=4, optimizer="adam", learning_rate=0.003)


@pytest.fixture(scope="module")
def folders(tmp_path_factory, models):
    """Scenes of several sizes, one of them turned by EXIF, with what the two commands made of them."""
    root = tmp_path_factory.mktemp("api")
    write_scenes(root, 3)
    wide, turned = scene(2, 7, 40, 130)[0], scene(1, 8, 90, 60)[0]
    exif = Image.Exif()
    exif[0x0112] = 6
    (root / "images" / "wide.png").write_bytes(encode(wide))
    (root / "images" / "turned.jpg").write_bytes(encode(turned, "JPEG", exif=exif, quality=95))
    with open(root / "tags.csv", "a") as table:
        table.write("wide.png,bee\nturned.jpg,ant|cow\n")
    predict_folder(models["segmentation"], root / "images", root / "masks")
    label_folder(models["l_net"], models["cam"], root / "images", root / "tags.csv", root / "labels")
    return root


@pytest.fixture(scope="module")
def model(models):
    return transferseg.load_model(models["segmentation"])


@pytest.fixture(scope="module")
def labeller(models):
    return transferseg.load_labeller(l_net=models["l_net"], cam=models["cam"])


def tags_of(root) -> dict[str, list[str]]:
    lines = (root / "tags.csv").read_text().splitlines()[1:]
    return {name: tags.split("|") for name, tags in (line.split(",") for line in lines)}


def test_a_called_model_says_what_predict_writes(folders, model):
    for path in sorted((folders / "images").iterdir()):
        wanted = read_mask(str(folders / "masks" / f"{path.stem}.png"))
        np.testing.assert_array_equal(model(path), wanted)
        np.testing.assert_array_equal(model(str(path)), wanted)
        np.testing.assert_array_equal(model(path.read_bytes()), wanted)
    pixels = np.array(Image.open(folders / "images" / "wide.png"))
    np.testing.assert_array_equal(model(pixels), read_mask(str(folders / "masks" / "wide.png")))
    assert set(np.unique(model(pixels))) > {0}, "the scene's object was not found: this compares nothing"


def test_scores_are_probabilities_by_class(model):
    sure = model.scores(scene(1)[0])
    assert sure["scores"].shape == sure["area"].shape == (CATEGORIES.num_classes,)
    assert sure["area"].sum() == pytest.approx(1, abs=1e-5) and 0 < sure["confidence"] <= 1


def test_the_labeller_gives_the_commands_masks_pixel_by_pixel(folders, labeller):
    for name, tags in tags_of(folders).items():
        label = labeller(folders / "images" / name, tags)
        np.testing.assert_array_equal(label.mask, read_mask(str(folders / "labels" / f"{name.split('.')[0]}.png")))


def test_raw_outputs_and_maps_need_no_knowledge_of_padding(folders, labeller, models):
    cam, l_net = (load_saved_model(models[kind]).signatures["serving_default"] for kind in ("cam", "l_net"))
    for name, tags in tags_of(folders).items():
        data = tf.constant([(folders / "images" / name).read_bytes()])
        raw = [{key: value.numpy()[0] for key, value in net(image_bytes=data).items()} for net in (l_net, cam)]
        image = tf.io.decode_image(data[0], channels=3).numpy()
        wanted = read_mask(str(folders / "labels" / f"{name.split('.')[0]}.png"))
        np.testing.assert_array_equal(labeller.from_outputs(image, *raw, tags).mask, wanted)
        ids = sorted(CATEGORIES.id_of(tag) for tag in tags)
        objectness, activations = labeller.maps(folders / "images" / name, tags)
        assert objectness.shape == image.shape[:2] and activations.shape == (*image.shape[:2], len(tags))
        label = transferseg.label_image(image, objectness, activations, ids, transferseg.LabelConfig())
        np.testing.assert_array_equal(label.mask, wanted)


def test_a_path_means_the_newest_version_or_the_artifacts_model(tmp_path, models):
    for number in ("9", "10"):
        (tmp_path / number).mkdir()
        (tmp_path / number / "Format-Serving").symlink_to(models["segmentation"])
    assert find_saved_model(tmp_path) == tmp_path / "10" / "Format-Serving"
    assert find_saved_model(tmp_path / "9") == tmp_path / "9" / "Format-Serving"
    assert find_saved_model(models["segmentation"]) == models["segmentation"]


def pairs(count=8):
    for i in range(count):
        image, mask = scene(i % 2 + 1, i, 48, 64)
        yield image, mask


def test_examples_are_written_so_many_a_file_as_training_unpacks_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(in_python.features, "SHARD_SIZE", 3)
    for _ in range(2):  # the second call finds the files of the first
        in_python._write_examples(pairs(), in_python.from_lists(["ant", "bee"], []), tmp_path / "examples", True)
        files = sorted((tmp_path / "examples").iterdir())
        numbers = [len(list(in_python.features.read_examples(str(file)))) for file in files]
        assert numbers == [3, 3, 2]


class Stopped(Exception):
    """Instead of training."""


def test_the_same_call_finds_its_checkpoints_again_and_no_other(tmp_path, monkeypatch):
    """Arrays and tf.data of the same values are the same call."""
    seen = []

    def stop(kind, patterns, categories, network, stage, folders):
        seen.append(folders.checkpoints)
        raise Stopped

    monkeypatch.setattr(in_python.stages, "train", stop)
    images, masks = map(np.stack, zip(*pairs(), strict=True))
    dataset = tf.data.Dataset.from_tensor_slices((images, masks.astype(np.int64)))
    longer = STAGE.model_copy(update={"steps": 4})
    calls = [(pairs(), STAGE), (dataset, STAGE), (zip(images, masks, strict=True), STAGE), (pairs(7), STAGE)]
    for examples, stage in [*calls, (pairs(), longer)]:
        with pytest.raises(Stopped):
            transferseg.train(examples, ["ant", "bee"], tmp_path, network=NETWORK, stage=stage)
    assert len(set(seen[:3])) == 1 and len(set(seen)) == 3
    (tmp_path / "model").mkdir()
    with pytest.raises(transferseg.UserError, match="holds a trained model"):
        transferseg.train(pairs(), ["ant", "bee"], tmp_path, network=NETWORK, stage=STAGE)


def test_what_the_other_kinds_train_labels(tmp_path):
    categories = transferseg.from_lists(strong=["ant"], weak=["bee"])
    tagged = [(image, [categories.names[mask.max()]]) for image, mask in pairs()]
    cam = transferseg.train(tagged, categories, tmp_path / "cam", kind="cam", network=NETWORK, stage=STAGE)
    l_net = transferseg.train(pairs(), categories, tmp_path / "l_net", kind="l_net", network=NETWORK, stage=STAGE)
    labeller = transferseg.load_labeller(l_net=l_net, cam=cam)
    image, mask = next(pairs())
    assert labeller(image, ["ant"]).mask.shape == mask.shape and labeller.categories == categories
    assert (tmp_path / "cam" / "run" / "history.csv").exists()
    assert tf.keras.mixed_precision.global_policy().name == "float32"


def test_scores_equal_the_formula_over_all_pixels():
    truth = [np.array([[0, 1], [1, 255]]), np.array([[2, 2]])]
    predicted = [np.array([[0, 1], [0, 2]]), np.array([[2, 255]])]
    found = transferseg.score_masks(zip(truth, predicted, strict=True), transferseg.from_lists(["a"], ["b"]))
    assert found.per_class == {"background": 0.5, "a": 0.5, "b": 0.5}
    assert found.pixel_accuracy == pytest.approx(3 / 5) and found.weak_miou == 0.5


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda m, root: transferseg.load_model(root), "not a SavedModel"),
        (lambda m, root: transferseg.load_model(m["cam"]), "this is a CAM classifier"),
        (lambda m, root: transferseg.load_labeller(l_net=m["cam"], cam=m["l_net"]), "this is an L-Net"),
        (lambda m, root: transferseg.score_masks([], CATEGORIES), "no pair"),
        (
            lambda m, root: transferseg.score_masks([(np.zeros((2, 2), int), np.zeros((3, 2), int))], CATEGORIES),
            "pair 0: mask sizes differ",
        ),
        (lambda m, root: transferseg.score_masks([([1], [1])], CATEGORIES), "pair 0: masks must be .H, W., not .1."),
        (lambda m, root: transferseg.score_masks([("a.png", "b.png")], CATEGORIES), "pair 0: masks must be .H, W."),
        (
            lambda m, root: transferseg.from_lists("disc", []),
            "categories.strong: must be a list of names, not the text",
        ),
        (lambda m, root: transferseg.train([], "disc", root), "must be a list of names, not the text 'disc'"),
        (lambda m, root: transferseg.train([], ["a"], root, network={}), "none of the examples"),
        (lambda m, root: transferseg.train([], ["a"], root, network={"seed": 1}), "network: must be a NetworkConfig"),
        (
            lambda m, root: transferseg.train([], ["a"], root, stage={"steps": 1}),
            "stage: must be a StageConfig, not di",
        ),
        (lambda m, root: transferseg.train([], ["a"], __file__), "is a file; give a folder"),
        (
            lambda m, root: transferseg.load_labeller(m["l_net"], m["cam"], {"sigma": 1}),
            "settings: must be a LabelConfig",
        ),
    ],
)
def test_mistakes_are_one_line(call, message, models, tmp_path):
    with pytest.raises(transferseg.UserError, match=message) as raised:
        call(models, tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "picture, message",
    [
        ("no.jpg", "no such file"),
        (b"text", "not a picture"),
        (np.zeros((4, 4, 3)), "uint8.*not float64"),
        (np.zeros((4, 4), np.uint8), r"not uint8 \[4, 4\]"),
        (None, "a picture must be a file's path, .* not NoneType"),
    ],
)
def test_what_is_no_picture_is_refused(picture, message, model, labeller):
    for call in (model, lambda picture: labeller(picture, ["ant"])):
        with pytest.raises(transferseg.UserError, match=message):
            call(picture)


def test_tags_are_a_list_of_known_names(labeller):
    with pytest.raises(transferseg.UserError, match="unknown category 'cat'"):
        labeller(BLACK, ["cat"])
    with pytest.raises(transferseg.UserError, match="a list of names"):
        labeller(BLACK, "ant")
    with pytest.raises(transferseg.UserError, match="a list of names"):
        labeller(BLACK, None)


@pytest.mark.parametrize("boxes", [None, [("ant", 1, 2, 3)], [("ant", "1", 2, 3, 4)], ["ant"]])
def test_boxes_are_five_values_each(boxes, labeller):
    with pytest.raises(transferseg.UserError, match="boxes"):
        labeller(BLACK, ["ant"], boxes)


@pytest.mark.parametrize(
    "examples, kind, message",
    [
        ([(BLACK, np.full((4, 4), 3))], "segmentation", r"example-000000: its mask has ids \[3\]"),
        ([(BLACK, np.zeros((5, 4), int))], "segmentation", "must be integers"),
        ([(BLACK, np.zeros((4, 4)))], "segmentation", "not float64"),
        ([(BLACK, ["wasp"])], "cam", "unknown category 'wasp'"),
        ([(BLACK, ["ant"])], "segmentation", "none of the examples has a mask"),
        ([(BLACK, [])], "cam", "none of the examples has a tag"),
        ([], "segmentation", "none of the examples"),
        ([(b"", ["ant"])], "cam", "example-000000: the picture: the file is empty"),
        ([], "p_net", "give one of segmentation"),
        ([BLACK], "segmentation", "example-000000: must be a pair"),
    ],
)
def test_bad_examples_are_named(examples, kind, message, tmp_path):
    with pytest.raises(transferseg.UserError, match=message):
        transferseg.train(examples, ["ant", "bee"], tmp_path, kind=kind, network=NETWORK, stage=STAGE)
    assert not (tmp_path / "model").exists()
