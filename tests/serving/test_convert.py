"""TFLite and ONNX say what the SavedModel says, or are not written."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
from commands import transferseg
from labelling_samples import CATEGORIES, encode, scene

import transferseg as api
from serving import convert
from trainer.data.preprocessing import decode_image, to_network_input
from trainer.errors import UserError

pytestmark = pytest.mark.slow  # converts whole models

SIZE = 65


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny network that has seen scenes, so that its masks are no noise, in a precision that TFLite has not got."""
    pairs = [scene(i % 3 + 1, i, 48, 64) for i in range(12)]
    network = api.NetworkConfig(backbone="tiny", weights=None, image_size=SIZE, precision="mixed_bfloat16")
    stage = api.StageConfig(steps=60, batch_size=6, learning_rate=0.1, head_multiplier=1, clip_norm=5)
    return api.train(pairs, CATEGORIES, tmp_path_factory.mktemp("lite"), network=network, stage=stage)


@pytest.fixture(scope="module")
def converted(model):
    return {precision: convert.convert(model, "tflite", precision) for precision in ("float16", "int8")}


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_tflite_agrees_with_the_saved_model(converted, precision):
    done = converted[precision]
    assert done.pictures == {"float16": 8, "int8": 4}[precision] and done.agreement > 0.95  # int8 calibrates on half
    interpreter = tf.lite.Interpreter(model_content=done.data)
    interpreter.allocate_tensors()
    [source], [target] = interpreter.get_input_details(), interpreter.get_output_details()
    assert source["shape"].tolist() == done.about["input"]["shape"] and source["dtype"] == np.float32
    assert target["shape"].tolist() == done.about["output"]["shape"] == [1, 9, 9, CATEGORIES.num_classes]


def test_int8_is_smaller(converted):
    assert len(converted["int8"].data) < 0.75 * len(converted["float16"].data)


def test_the_file_alone_draws_the_mask_as_its_description_says(model, converted, tmp_path):
    """An independent reader: preprocessing, arg max on the grid's own cells."""
    convert.write(converted["float16"], tmp_path / "m.tflite")
    about = json.loads((tmp_path / "m.json").read_text())
    image, truth = scene(2, 5, 48, 64)
    fitted, valid = (part.numpy() for part in to_network_input(decode_image(encode(image)), SIZE))
    interpreter = tf.lite.Interpreter(str(tmp_path / "m.tflite"))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], fitted[None])
    interpreter.invoke()
    grid = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0].argmax(-1)
    mask = api.load_model(model)(image)
    step, cells = int(about["grid"].split("* ")[1].split(";")[0]), about["output"]["shape"][1]
    agree = [
        grid[row, column] == mask[min(row * step * 48 // valid[0], 47), min(column * step * 64 // valid[1], 63)]
        for row in range(cells)
        for column in range(cells)
        if row * step < valid[0] and column * step < valid[1]
    ]
    assert np.mean(agree) > 0.9 and about["names"] == list(CATEGORIES.names)
    assert set(np.unique(mask)) >= {0, 2}, "the scene's object was not found: this compares nothing"


def test_the_command_writes_both_files_or_says_why_not(model, converted, tmp_path, monkeypatch):
    monkeypatch.setattr(convert, "convert", lambda path, format, precision, pictures: converted[precision])
    output = tmp_path / "m.tflite"
    call = ("export", "--model", model, "--format", "tflite", "--output", output)
    done = transferseg(*call, "--min-agreement", "0.9", "--json", tmp_path / "said.json")
    assert done.returncode == 0, done.stderr
    said = json.loads((tmp_path / "said.json").read_text())
    assert said["bytes"] == output.stat().st_size and output.with_suffix(".json").exists()
    assert output.read_bytes() == converted["float16"].data, "TFLite's default"
    again = transferseg(*call)
    assert again.returncode == 2 and "is there already" in again.stderr
    nowhere = transferseg(*call[:-1], tmp_path / "no" / "m.tflite")
    assert nowhere.returncode == 2 and "a folder that is there" in nowhere.stderr


def test_below_the_limit_nothing_is_written(converted, tmp_path, monkeypatch):
    worse = dataclasses.replace(converted["float16"], agreement=0.97)
    monkeypatch.setattr(convert, "convert", lambda *arguments: worse)
    done = transferseg("export", "--model", "m", "--format", "tflite", "--output", tmp_path / "m.tflite")
    assert done.returncode == 1 and "97.00 % of the pixels" in done.stdout
    assert "not written" in done.stderr and list(tmp_path.iterdir()) == []


def test_of_several_views_the_limit_is_what_can_be_changed(model, monkeypatch):
    loaded = api.load_model(model)
    several = loaded.metadata | {"look": loaded.metadata["look"] | {"scales": [1.0, 0.5], "mirror": True}}
    monkeypatch.setattr(convert, "load_model", lambda path: dataclasses.replace(loaded, metadata=several))
    done = transferseg("export", "--model", model, "--format", "tflite", "--output", "x.tflite", "--min-agreement", 1)
    assert done.returncode == 1 and "averages 4 views of a picture, and the file holds one" in done.stderr, done


def test_onnx_agrees_or_says_what_to_install(model):
    try:
        import onnxruntime  # noqa: F401
        import tf2onnx  # noqa: F401
    except ImportError:
        with pytest.raises(UserError, match=r"is not installed; in the checkout: build/uv/bin/uv pip install -e"):
            convert.convert(model, "onnx", "float32")
    else:
        assert convert.convert(model, "onnx", "float32").agreement > 0.95


def test_onnx_has_one_precision(model):
    with pytest.raises(UserError, match="ONNX is written in float32"):
        convert.convert(model, "onnx", "int8")


def test_a_model_of_another_network_and_one_without_pictures_are_refused(models, monkeypatch):
    with pytest.raises(UserError, match="keeps no pictures"):
        convert.convert(models["segmentation"], "tflite", "float16")
    monkeypatch.setattr(convert, "get_args", lambda kinds: ["tiny"])  # the others take seconds each to build
    with pytest.raises(UserError, match="its weights fit none of the networks"):
        convert.convert(models["segmentation"], "tflite", "float16", [encode(scene(1)[0])])


def test_a_model_that_looks_in_tiles_is_refused(model, monkeypatch):
    tiled = dataclasses.replace(api.load_model(model), metadata={"look": {"size": 65, "native": True, "overlap": 17}})
    monkeypatch.setattr(convert, "load_model", lambda path: tiled)
    monkeypatch.setattr(convert, "read_trainer_predictions", lambda path: [])
    with pytest.raises(UserError, match="in tiles"):  # not: give pictures
        convert.convert(model, "tflite", "float16")
