"""`transferseg init`: every kind of folder becomes a config that loads; what it cannot know it says."""

import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "components"))

import foreign_datasets as foreign

from pipeline.cli import cli
from pipeline.config import load_config
from pipeline.validate import find_problems
from trainer.categories import VOC
from trainer.errors import UserError


@pytest.fixture
def originals():
    return foreign.drawn_originals(24)


def init(place, folder, *arguments):
    command = ["init", str(folder), "--output", str(place / "data"), "--config", str(place / "mine.yaml"), *arguments]
    return CliRunner().invoke(cli, command, catch_exceptions=False)


KINDS = {
    foreign.voc: "VOC",
    foreign.sbd: "SBD",
    foreign.cvat: "CVAT",
    foreign.coco_instances: "COCO",
    foreign.coco_panoptic: "COCO",
    foreign.tfrecord: "TFRecords",
    foreign.label_studio_brush: "Label Studio",
    foreign.pictures_with_masks: "pictures",
}


@pytest.mark.parametrize("write", KINDS, ids=lambda write: write.__name__)
def test_every_kind_is_recognised_and_gives_a_config_that_runs(write, originals, tmp_path):
    (tmp_path / "foreign").mkdir()
    write(originals, tmp_path / "foreign")
    if write is foreign.coco_panoptic:
        (tmp_path / "foreign" / "panoptic.json").rename(tmp_path / "foreign" / "panoptic_train.json")
        (tmp_path / "foreign" / "panoptic").rename(tmp_path / "foreign" / "panoptic_train")
    names = ",".join(VOC) if write in (foreign.tfrecord, foreign.pictures_with_masks) else ""
    done = init(tmp_path, tmp_path / "foreign", "--weak", originals[0].tags[0], "--categories", names)
    assert done.exit_code == 0, done.output
    assert KINDS[write] in done.output
    config = load_config(tmp_path / "mine.yaml")
    categories = config.categories.resolve()
    assert originals[0].tags[0] in categories.weak and len(categories.strong) > 5
    problems, counts = find_problems(config)
    assert [problem for problem in problems if problem.severity == "error"] == []
    assert sum(counts.values()) == 24 and counts["eval"] == 2 and counts["weak"] >= 1 and counts["strong"] >= 1


@pytest.fixture
def photos(originals, tmp_path):
    """The folder of the tutorial: masks of "even" and "odd" for 20 pictures, the tag "kite" for 4."""
    folder = tmp_path / "photos"
    foreign.write_images(originals, folder)
    foreign.write_masks(
        [foreign.Original(o.key, o.image, (o.mask > 0) * (o.mask % 2 + 1)) for o in originals[:20]], folder / "masks"
    )
    rows = [f"{o.key}.jpg,odd|even" for o in originals[:20]] + [f"{o.key}.jpg,kite" for o in originals[20:]]
    (folder / "list.csv").write_text("\n".join(["image,tags", *rows]))
    return folder


def test_pictures_with_masks_for_some_and_tags_for_the_rest(photos, tmp_path):
    done = init(tmp_path, photos, "--categories", "even,odd,kite")
    assert "24 images (train), 20 with a mask, 0 not readable" in done.output
    assert "masks: even (18), odd (18)" in done.output and "tags: kite (4)" in done.output
    config = yaml.safe_load((tmp_path / "mine.yaml").read_text())
    assert config["categories"] == {"order": ["even", "odd", "kite"], "strong": ["even", "odd"], "weak": ["kite"]}
    assert config["dataset"]["tags"] == "tags.csv"
    problems, counts = find_problems(load_config(tmp_path / "mine.yaml"))
    assert counts == {"strong": 18, "weak": 4, "eval": 2}


def test_what_was_held_out_stays_held_out(photos, tmp_path):
    init(tmp_path, photos, "--categories", "even,odd,kite")
    evaluated = (tmp_path / "data/ImageSets/Segmentation/val.txt").read_text()
    (tmp_path / "mine.yaml").unlink()
    init(tmp_path, photos, "--categories", "even,odd,kite", "--weak", "odd")
    assert (tmp_path / "data/ImageSets/Segmentation/val.txt").read_text() == evaluated
    problems, counts = find_problems(load_config(tmp_path / "mine.yaml"))
    assert counts["eval"] == 2 and sum(counts.values()) == 24


def test_tags_that_would_be_lost_are_refused(photos, tmp_path):
    with pytest.raises(
        UserError, match="list.csv: line 22: unknown category 'kite'; known: even, odd; correct the tag"
    ):
        init(tmp_path, photos, "--categories", "even,odd")
    rows = (photos / "list.csv").read_text()
    (photos / "list.csv").write_text(rows.replace("image,tags", "image:tags"))
    with pytest.raises(UserError, match="list.csv: line 1 must be the header image,tags"):
        init(tmp_path, photos, "--categories", "even,odd,kite")
    (photos / "list.csv").write_bytes(rows.encode("latin-1").replace(b"kite", b"k\xefte"))
    with pytest.raises(UserError, match="list.csv: line 22 is not a text in UTF-8"):
        init(tmp_path, photos, "--categories", "even,odd,kite")


def test_many_pictures_that_cannot_be_used_are_refused(photos, tmp_path):
    for path in sorted(photos.glob("*.*"))[:4]:
        path.write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"of 24 pictures cannot be used \(.*import_faults.jsonl"):
        init(tmp_path, photos, "--categories", "even,odd,kite")
    assert not (tmp_path / "mine.yaml").exists()


def test_a_few_masks_leave_one_for_evaluation(originals, tmp_path):
    foreign.pictures_with_masks(originals[:3], tmp_path / "few")
    init(tmp_path, tmp_path / "few", "--categories", ",".join(VOC))
    assert len((tmp_path / "data/ImageSets/Segmentation/val.txt").read_text().split()) == 1


def test_vocs_own_layout_is_used_as_it_is(originals, tmp_path):
    foreign.voc(originals, tmp_path / "voc")
    lists = tmp_path / "voc" / "ImageSets/Segmentation"
    (lists / "train.txt").write_text("".join(f"{one.key}\n" for one in originals[:20]))
    (lists / "val.txt").write_text("".join(f"{one.key}\n" for one in originals[20:]))
    done = init(tmp_path, tmp_path / "voc")
    assert "used as it is" in done.output and not (tmp_path / "data").exists()
    config = load_config(tmp_path / "mine.yaml")
    assert config.categories.split == "voc-split-1" and config.dataset.root == str(tmp_path / "voc")
    assert (config.dataset.train, config.dataset.eval) == ("train", "val")


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: None, "no dataset of a known kind. Known: VOC"),
        (lambda folder: Image.new("RGB", (9, 9)).save(folder / "a.png"), "no dataset of a known kind"),
        (lambda folder: tags_alone(folder), "no image has a mask"),
        (
            lambda folder: foreign.pictures_with_masks(foreign.drawn_originals(1), folder),
            "give the names with --categories",
        ),
        (lambda folder: (folder.parent / "mine.yaml").write_text(""), "is there already"),
    ],
)
def test_what_cannot_be_known_is_said(prepare, message, tmp_path):
    (tmp_path / "folder").mkdir()
    prepare(tmp_path / "folder")
    with pytest.raises(UserError, match=message):
        init(tmp_path, tmp_path / "folder")


def tags_alone(folder):
    foreign.write_images(foreign.drawn_originals(1), folder)
    (folder / "tags.csv").write_text("image,tags\ndrawn_0.jpg,kite\n")
