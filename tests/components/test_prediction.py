"""`predict_folder`: masks of the exported model, bad images named."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from labelling_samples import BAD_IMAGES, CATEGORIES, ODD_IMAGES, encode, export_masks, png_bomb, scene, write_scenes
from PIL import Image
from pycocotools.coco import COCO

from components.beam_masks.faults import TooManyFaults
from components.beam_masks.predict_folder import predict_folder
from pipeline.cli import cli
from pipeline.drift import find_counts
from serving.model import encoded, load_model
from serving.prediction_counts import PredictionCounts
from trainer.data.categories import palette
from trainer.data.pictures import readable
from trainer.errors import UserError
from trainer.inference.looks import Look

pytestmark = pytest.mark.slow  # whole Beam jobs


def test_masks_are_the_model_s_own(models, tmp_path):
    write_scenes(tmp_path, 5)
    for name, (data, _) in ODD_IMAGES.items():
        (tmp_path / "images" / name).write_bytes(data)
    summary = predict_folder(models["segmentation"], tmp_path / "images", tmp_path / "out")
    assert summary["inputs"] == summary["labelled"] == 5 + len(ODD_IMAGES)
    model = tf.saved_model.load(str(models["segmentation"]))
    seen = set()
    for path in (tmp_path / "images").iterdir():
        answer = model.signatures["serving_default"](image_bytes=tf.constant([readable(path.read_bytes())]))
        expected = tf.io.decode_png(answer["mask_bytes"][0], channels=3).numpy()
        mask = Image.open(tmp_path / "out" / f"{path.stem}.png")
        assert mask.mode == "P"
        np.testing.assert_array_equal(palette()[np.asarray(mask)], expected)
        seen |= set(np.unique(mask))
    assert seen == {0, 1, 2, 3}


def test_predictions_are_counted_those_of_kept_masks_too(models, tmp_path):
    write_scenes(tmp_path, 5)
    predict_folder(models["segmentation"], tmp_path / "images", tmp_path / "out")
    assert find_counts(tmp_path / "out", "--prediction").pictures == 5
    for path in sorted((tmp_path / "out").glob("*.png"))[2:]:
        path.unlink()
    again = predict_folder(models["segmentation"], tmp_path / "images", tmp_path / "out")
    assert (again["kept"], again["labelled"]) == (2, 5)
    counts = find_counts(tmp_path / "out", "--prediction")
    model = tf.saved_model.load(str(models["segmentation"]))
    images = tf.constant([path.read_bytes() for path in (tmp_path / "images").iterdir()])
    answer = model.signatures["scores"](image_bytes=images)
    expected = PredictionCounts(CATEGORIES.names)
    expected.add(answer["area"].numpy(), answer["confidence"].numpy())
    assert counts.names == tuple(CATEGORIES.names)
    np.testing.assert_array_equal(counts.table[:, :-1], expected.table[:, :-1])


@pytest.mark.parametrize("format_", ["coco", "coco-polygons"])
def test_annotations_draw_the_masks_again(models, tmp_path, format_):
    write_scenes(tmp_path, 3)
    predict_folder(models["segmentation"], tmp_path / "images", tmp_path / "out", format=format_)
    coco = COCO(str(tmp_path / "out/annotations.json"))
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == ["ant", "bee", "cow"]
    for image in coco.loadImgs(coco.getImgIds()):
        mask = np.asarray(Image.open(tmp_path / "out" / image["file_name"]))
        drawn = np.zeros_like(mask)
        for annotation in coco.loadAnns(coco.getAnnIds(image["id"])):
            assert isinstance(annotation["segmentation"], list) == (format_ == "coco-polygons")
            drawn[coco.annToMask(annotation) > 0] = annotation["category_id"]
        assert (drawn == mask).mean() > (0.97 if format_ == "coco-polygons" else 0.9999) and drawn.any()


def test_bad_images_are_named_and_limited(models, tmp_path):
    write_scenes(tmp_path, 3)
    for i, (name, (data, *_)) in enumerate(BAD_IMAGES.items()):
        (tmp_path / "images" / f"bad{i}.{name.rpartition('.')[2]}").write_bytes(data)
    with pytest.raises(TooManyFaults, match=f"{len(BAD_IMAGES)} of {len(BAD_IMAGES) + 3} images failed"):
        predict_folder(models["segmentation"], tmp_path / "images", tmp_path / "out")
    letters = [json.loads(line) for line in (tmp_path / "out" / "dead_letters.jsonl").read_text().splitlines()]
    found = {letter["key"]: letter["stage"] for letter in letters}
    assert found == {f"bad{i}": stage for i, (_, stage, _) in enumerate(BAD_IMAGES.values())}
    again = predict_folder(models["segmentation"], tmp_path / "images", tmp_path / "out", max_dead_share=1.0)
    assert (again["labelled"], again["kept"]) == (3, 3)


def test_files_of_one_name_do_not_overwrite_each_other(models, tmp_path):
    write_scenes(tmp_path, 2)
    (tmp_path / "images" / "s000.jpg").write_bytes(ODD_IMAGES["grey.jpg"][0])
    summary = predict_folder(models["segmentation"], tmp_path / "images", tmp_path / "out", max_dead_share=1.0)
    assert (summary["inputs"], summary["labelled"], summary["dead_by_stage"]) == (3, 2, {"write": 1})


def test_the_command_tells_what_it_passed_over_and_what_lifts_the_limit(models, tmp_path):
    write_scenes(tmp_path, 2)
    (tmp_path / "images" / "notes[red].txt").write_text("no picture")
    arguments = ["--model", models["segmentation"], "--images", tmp_path / "images", "--output", tmp_path / "out"]
    command = ["predict", *map(str, arguments), "--max-dead-share", "1", "--max-pixels"]
    outcome = CliRunner().invoke(cli, [*command, "6911"])
    assert outcome.exit_code == 0, outcome.output
    assert "passed over, no pictures by their names: notes[red].txt" in outcome.output
    assert "0 of 2 images done, 2 dead letters" in outcome.output
    assert "6911; make it smaller, or raise --max-pixels" in (tmp_path / "out" / "dead_letters.jsonl").read_text()
    assert "2 of 2 images done, 0 dead letters" in CliRunner().invoke(cli, [*command, "6912"]).output


@pytest.fixture(scope="module")
def tiled(tmp_path_factory):
    """The colour network in tiles of 65 pixels; it takes 60,000 pixels."""
    folder = tmp_path_factory.mktemp("tiled") / "model"
    return export_masks(folder, look=Look(size=65, native=True, overlap=17), max_pixels=60_000)


def test_large_pictures_are_looked_at_in_tiles(tiled, tmp_path):
    """Beside small ones, at their own pixels: a rectangle keeps its edges, whatever the picture's size."""
    (tmp_path / "images").mkdir()
    truths = {}
    for name, (height, width) in {"small": (50, 60), "large": (200, 290), "wide": (40, 1400)}.items():
        image, truths[name] = scene(2, 1, height, width)
        (tmp_path / "images" / f"{name}.png").write_bytes(encode(image))
    (tmp_path / "images" / "too_large.png").write_bytes(encode(np.zeros((300, 201, 3), np.uint8)))
    summary = predict_folder(tiled, tmp_path / "images", tmp_path / "out", max_dead_share=1.0)
    assert (summary["labelled"], summary["dead_by_stage"]) == (3, {"size": 1})
    assert "the limit is 60000" in (tmp_path / "out" / "dead_letters.jsonl").read_text()
    for name, truth in truths.items():
        assert (np.asarray(Image.open(tmp_path / "out" / f"{name}.png")) == truth).mean() > 0.9, name


def test_in_python_a_picture_may_be_as_large_as_the_model_says(tiled, tmp_path, monkeypatch):
    """With limits that small pictures reach; what an older export does not tell is 40 megapixels."""
    image, truth = scene(2, 1, 200, 290)
    (tmp_path / "a.png").write_bytes(encode(image))
    monkeypatch.setattr("trainer.inference.looks.MAX_PIXELS", 50_000)
    model = load_model(tiled)
    older = replace(model, metadata={name: value for name, value in model.metadata.items() if name != "max_pixels"})
    for picture in (tmp_path / "a.png", encode(image, "TIFF"), image):
        assert (model(picture) == truth).mean() > 0.9
        with pytest.raises(UserError, match="290x200 pixels are too many; the limit is 50000; make it smaller$"):
            older(picture)
    large = png_bomb(7000, 6000)
    assert encoded(large, 42_000_000) == large
    (tmp_path / "b.png").write_bytes(encode(np.zeros((300, 201, 3), np.uint8)))
    options = ["--model", tiled, "--images", tmp_path, "--output", tmp_path / "m"]
    outcome = CliRunner().invoke(cli, ["export", "--format", "tflite", *map(str, options)])
    assert "b.png: 201x300 pixels are too many; the limit is 60000" in str(outcome.exception)


def test_a_picture_is_never_made_smaller_for_tiles(tiled, tmp_path):
    write_scenes(tmp_path, 1)
    with pytest.raises(UserError, match="--max-pixels 60001: the model takes 60000 pixels"):
        predict_folder(tiled, tmp_path / "images", tmp_path / "out", max_pixels=60_001)


@pytest.mark.soak
def test_a_picture_of_100_megapixels_takes_less_than_2_gb():
    from benchmarks.prediction import peak_mb

    assert 300 < peak_mb(100, "tiny") < 2000  # the picture's pixels alone take 300


def test_bad_arguments_are_refused(models, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no such folder"):
        predict_folder(models["segmentation"], tmp_path / "none", tmp_path / "out")
    with pytest.raises(UserError, match="holds no picture"):
        predict_folder(models["segmentation"], tmp_path / "empty", tmp_path / "out")
    with pytest.raises(UserError, match="not a SavedModel"):
        predict_folder(tmp_path, tmp_path / "empty", tmp_path / "out")


def test_what_another_format_wrote_goes_with_the_next_job(tmp_path, models):
    write_scenes(tmp_path, 2)
    predict_folder(models["segmentation"], tmp_path / "images", tmp_path / "out", format="coco")
    (tmp_path / "out" / "mine.json").write_text("{}")
    predict_folder(models["segmentation"], tmp_path / "images", tmp_path / "out")
    assert not (tmp_path / "out" / "annotations.json").exists() and (tmp_path / "out" / "mine.json").exists()
