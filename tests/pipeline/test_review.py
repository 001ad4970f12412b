"""The review loop: least certain labels out, corrected ones back, their images count as strong."""

import json
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import tensorflow as tf
import yaml
from click.testing import CliRunner
from PIL import Image
from small_pipeline import Examples
from tfx.orchestration.pipeline import Pipeline

sys.path.insert(0, str(Path(__file__).parents[1] / "components"))

import foreign_datasets as foreign

from components.beam_masks.output import SUMMARY
from components.dataset_import.brush import brush_rle, decode_rle
from components.image_example_gen.dataset_config import DatasetConfig, fingerprint
from components.image_example_gen.records import STRONG
from components.image_example_gen.write_examples import plan_shards, read_shard
from components.weak_labels.examples import LABELS
from pipeline.cli import cli
from pipeline.config.run_config import MetadataConfig
from pipeline.execution.local_runner import LocalRunner
from pipeline.execution.metadata_store import connect
from pipeline.review_loop import _newest_labels, _task
from pipeline.run.run_log import new_run_id
from trainer.data import features
from trainer.data.categories import VOC, Categories
from trainer.data.files import to_lines
from trainer.errors import UserError


@pytest.fixture
def workdir(tmp_path):
    """What runs leave: config.yaml and three label sets, of which the newest is of a run that was killed."""
    originals = foreign.drawn_originals(6)
    workdir = tmp_path / "run"
    for number in (3, 11):
        folder = workdir / "artifacts" / "weak_labels" / "examples" / str(number)
        (folder / "Split-weak").mkdir(parents=True)
        shown = originals if number == 11 else originals[:1]
        with tf.io.TFRecordWriter(str(folder / "Split-weak" / "data.gz"), "GZIP") as writer:
            for one in shown:
                png = tf.io.encode_png(one.mask[..., None]).numpy()
                example = features.make_example(one.key, one.image, *one.mask.shape, one.ids, png, features.GENERATED)
                writer.write(example.SerializeToString())
        records = [{"key": one.key, "confidence": 0.9 - 0.1 * i} for i, one in enumerate(shown)]
        (folder / LABELS).mkdir()
        (folder / LABELS / "data.jsonl").write_bytes(to_lines(records))
        (folder / SUMMARY).write_text("{}")
    (folder.parent / "12" / LABELS).mkdir(parents=True)
    config = {"name": "x", "dataset": {"root": str(tmp_path)}, "categories": {"split": "voc-split-1"}}
    (workdir / "config.yaml").write_text(yaml.safe_dump(config))
    return workdir, originals


def run(*arguments):
    return CliRunner().invoke(cli, ["review", *map(str, arguments)], catch_exceptions=False)


def export(workdir, out, count=4):
    done = run("export", "--workdir", workdir, "--output", out, "--count", count)
    assert done.exit_code == 0, done.output
    return json.loads((out / "tasks.json").read_text())


def test_the_least_certain_labels_come_out_first(workdir, tmp_path):
    workdir, originals = workdir
    tasks = export(workdir, tmp_path / "review")
    assert [task["predictions"][0]["score"] for task in tasks] == pytest.approx([0.4, 0.5, 0.6, 0.7])
    assert len(list((tmp_path / "review" / "images").iterdir())) == 4
    for task, one in zip(tasks, reversed(originals), strict=False):
        assert task["data"]["image"] == f"/data/local-files/?d=images/{one.key}.jpg"
        drawn = np.zeros(one.mask.shape, np.uint8)
        for item in task["predictions"][0]["result"]:
            [label] = item["value"]["brushlabels"]
            inside = decode_rle(item["value"]["rle"], 4 * one.mask.size).reshape(*one.mask.shape, 4)[..., 3] > 0
            drawn[inside] = VOC.index(label) + 1
        np.testing.assert_array_equal(drawn, np.where(one.mask == 255, 0, one.mask))
        with Image.open(tmp_path / "review" / "masks" / f"{one.key}.png") as mask:
            np.testing.assert_array_equal(np.array(mask), one.mask)
    labels = (tmp_path / "review" / "label_config.xml").read_text()
    assert labels.count("<Label ") == 20 and 'value="sofa"' in labels
    assert (tmp_path / "review" / "review.csv").read_text().startswith("image,confidence,tags\ndrawn_5,0.4")


def test_labels_keep_the_names_they_were_made_with(workdir, tmp_path):
    """The work folder's config may be of a later run that ended before it made labels."""
    workdir, originals = workdir
    names = [*VOC[1:], VOC[0]]
    folder = workdir / "artifacts/weak_labels/examples/11"
    (folder / "categories.json").write_text(Categories(tuple(names), ()).to_json())
    export(workdir, tmp_path / "review", 1)
    rows = (tmp_path / "review/review.csv").read_text().splitlines()
    assert rows[1].split(",")[2] == "|".join(names[i - 1] for i in originals[5].ids)


@pytest.mark.parametrize("tool", ["label-studio", "coco"])
def test_corrected_masks_come_back_and_count_as_strong(workdir, tmp_path, tool):
    workdir, originals = workdir
    tasks = export(workdir, tmp_path / "review", 3)
    data = tmp_path / "data"
    foreign.voc(originals, data)
    (data / "categories.txt").write_text("".join(f"{name}\n" for name in VOC))
    key, path = originals[5].key, tmp_path / "corrected.json"
    inside = np.zeros(originals[5].mask.shape, bool)  # one is corrected to a square of sofa, two nobody has looked at
    inside[5:20, 5:20] = True
    if tool == "coco":
        path = tmp_path / "review" / "annotations.json"
        with pytest.raises(UserError, match="nothing corrected: all 3 masks are those that were exported"):
            run("import", "--annotations", path, "--images", tmp_path / "review" / "images", "--output", data)
        exported = json.loads(path.read_text())
        [image] = [entry["id"] for entry in exported["images"] if Path(entry["file_name"]).stem == key]
        [sofa] = [entry["id"] for entry in exported["categories"] if entry["name"] == "sofa"]
        square = {"segmentation": [[5, 5, 20, 5, 20, 20, 5, 20]], "image_id": image, "category_id": sofa, "id": 10**6}
        others = [one for one in exported["annotations"] if one["image_id"] != image]
        path.write_text(json.dumps({**exported, "annotations": [*others, square]}))
    else:
        item = {**tasks[0]["predictions"][0]["result"][0]}
        item["value"] = {"format": "rle", "rle": brush_rle(inside), "brushlabels": ["sofa"]}
        tasks[0]["annotations"] = [{"result": [item]}]
        path.write_text(json.dumps(tasks))
    count = 1
    done = run("import", "--annotations", path, "--images", tmp_path / "review" / "images", "--output", data)
    assert done.exit_code == 0 and "1 corrected, 2 left as they were, 0 not readable" in done.output, done.output
    with Image.open(data / "SegmentationClass" / f"{key}.png") as mask:
        mask = np.array(mask)
    np.testing.assert_array_equal(mask, np.where(inside, VOC.index("sofa") + 1, 0))

    categories = Categories(tuple(VOC), ())  # every category is weak
    settings = DatasetConfig(root=str(data), train="all", eval="all", tags="tags.csv", corrected="corrected")
    (data / "ImageSets/Segmentation/none.txt").write_text("nobody\n")
    settings = settings.model_copy(update={"eval": "none"})
    splits = {
        job.key: (record.split, features.MASK in tf.train.Example.FromString(record.example).features.feature)
        for shard in plan_shards(settings, categories)
        if not shard.evaluation
        for job, record in read_shard(shard, settings, categories)
    }
    assert sum(split == (STRONG, True) for split in splits.values()) == count
    assert splits[key] == (STRONG, True) and splits[originals[0].key] == ("weak", False)
    assert fingerprint(settings) != fingerprint(settings.model_copy(update={"corrected": None}))


def test_what_does_not_come_back_is_named(workdir, tmp_path):
    """A region with two labels, a picture that was saved again, one that is new; a misspelt label is refused."""
    workdir, originals = workdir
    tasks = export(workdir, tmp_path / "review", 4)
    data, images, path = tmp_path / "data", tmp_path / "review/images", tmp_path / "corrected.json"
    foreign.voc(originals, data)
    (data / "categories.txt").write_text("".join(f"{name}\n" for name in VOC))
    for task, labels in zip(tasks, (["sofa"], ["sofa", "cat"], ["cat"], ["cat"]), strict=True):
        with Image.open(images / f"{originals[6 - task['id']].key}.jpg") as picture:
            size = dict(zip(("original_width", "original_height"), picture.size, strict=True))
        value = {"points": [[10, 10], [90, 10], [90, 90]], "polygonlabels": labels}
        task["annotations"] = [{"result": [{"type": "polygonlabels", "value": value, **size}]}]
    again = images / f"{originals[3].key}.jpg"
    with Image.open(again) as picture:
        picture.convert("L").save(again)
    (data / "JPEGImages" / f"{originals[2].key}.jpg").unlink()
    path.write_text(json.dumps(tasks))
    done = run("import", "--annotations", path, "--images", images, "--output", data)
    assert "2 corrected, 0 left as they were, 2 not readable" in done.output, done.output
    assert f"1 pictures are new to {data}, e.g. {originals[2].key}.jpg" in done.output
    assert f"not used: {originals[4].key}.jpg: none of its objects can be used" in done.output
    reasons = [json.loads(line)["reason"] for line in (data / "import_faults.jsonl").read_text().splitlines()]
    assert any(f"is not {originals[3].key}.jpg of {data}; give --images" in text for text in reasons)
    assert not (data / "JPEGImages" / f"{originals[3].key}_2.jpg").exists()
    path.write_text(json.dumps(tasks).replace('"sofa"', '"sofer"'))
    with pytest.raises(UserError, match=r"corrected.json: sofer: no category of .*categories.txt, which has aeropl"):
        run("import", "--annotations", path, "--images", images, "--output", data)


@pytest.mark.parametrize("name", ["a&b", "c+d", "e#f", "50%25"])
def test_names_that_urls_read_in_their_own_way_come_back(name, tmp_path):
    task = _task(f"{name}.jpg", np.ones((4, 5), np.uint8), 0.5, Categories(("cat",), ()))
    url = urlsplit(task["data"]["image"])
    assert not url.fragment and parse_qs(url.query) == {"d": [f"images/{name}.jpg"]}


def test_without_labels_or_with_a_full_folder_nothing_is_written(workdir, tmp_path):
    workdir, _ = workdir
    with pytest.raises(UserError, match="no weak labels here"):
        run("export", "--workdir", tmp_path, "--output", tmp_path / "review")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    with pytest.raises(UserError, match="holds something"):
        run("export", "--workdir", workdir, "--output", tmp_path / "full")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(UserError, match="bad.json: not JSON"):
        run("import", "--annotations", tmp_path / "bad.json", "--images", tmp_path, "--output", tmp_path / "data")


def test_labels_are_those_of_the_last_run_also_from_the_cache(tmp_path):
    config = {"name": "x", "dataset": {"root": str(tmp_path)}, "categories": {"split": "voc-split-1"}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    folder = tmp_path / "artifacts/weak_labels/examples"
    found = []
    for data in (1, 2, 1):
        dag = Pipeline(
            pipeline_name="x",
            pipeline_root=str(tmp_path / "artifacts"),
            components=[Examples(data=data).with_id("weak_labels")],
            enable_cache=True,
            metadata_connection_config=connect(MetadataConfig(), tmp_path),
        )
        LocalRunner(new_run_id(), lambda *_: None, lambda _: None).run(dag)
        for labels in folder.iterdir():
            (labels / SUMMARY).write_text("{}")
        found.append(int(_newest_labels(tmp_path).name))
    assert found[0] < found[1] and found[2] == found[0] and len(list(folder.iterdir())) == 2
