"""`transferseg init`: every kind of folder becomes a config that loads; what it cannot know it says."""

import json
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "components"))

import foreign_datasets as foreign

from pipeline.cli import cli
from pipeline.config.run_config import load_config
from pipeline.init.dataset import Found
from pipeline.init.found_table import warnings
from pipeline.init.lists import hold_out
from pipeline.init.pictures import Picture, choose_weak
from pipeline.run.plan import Rates
from pipeline.validate import find_problems
from trainer.data.categories import VOC
from trainer.errors import UserError
from trainer.models.weight_files import FILES


@pytest.fixture
def originals():
    return foreign.drawn_originals(24)


@pytest.fixture(autouse=True)
def _no_probe(monkeypatch):
    """What the networks cost here is tests/pipeline/test_plan.py's matter."""
    monkeypatch.setattr("pipeline.init.command.probe", lambda config: Rates(0.01, 0.02, 0.03, 0.01))


def init(place, folder, *arguments):
    command = ["init", str(folder), "--output", str(place / "data"), "--config", str(place / "mine.yaml")]
    command += ["--weights", "null", *arguments]
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
    assert sum(counts.values()) == 24 and 2 <= counts["eval"] <= 6 and counts["weak"] >= 1 and counts["strong"] >= 1


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
    assert row(done, "even") == ["masks", 18, 17, 0, 2] and row(done, "kite") == ["tags", 4, 0, 4, 0]
    assert row(done, "pictures") == ["", 22, 18, 4, 2]
    assert re.search(r"│ segmentation +│ +\d+ s │", done.output) and "22 pictures, " in done.output
    assert "no picture to judge by shows kite" in done.output and "kite: only 4 pictures" in done.output
    config = yaml.safe_load((tmp_path / "mine.yaml").read_text())
    assert config["categories"] == {"order": ["even", "odd", "kite"], "strong": ["even", "odd"], "weak": ["kite"]}
    assert config["dataset"]["tags"] == "tags.csv"
    problems, counts = find_problems(load_config(tmp_path / "mine.yaml"))
    assert counts == {"strong": 18, "weak": 4, "eval": 2}


def row(done, name):
    """The cells of the closing table."""
    [cells] = [line.split("│")[2:-1] for line in done.output.splitlines() if re.match(rf"│ {name} +│", line)]
    return [cells[0].strip(), *map(int, cells[1:])]


def test_what_was_held_out_stays_held_out_and_force_replaces_the_config(photos, tmp_path):
    init(tmp_path, photos, "--categories", "even,odd,kite")
    evaluated = (tmp_path / "data/ImageSets/Segmentation/val.txt").read_text()
    again = ("--categories", "even,odd,kite")
    with pytest.raises(UserError, match="is there already; replace it with --force .*kite --weights null --force"):
        init(tmp_path, photos, *again)
    assert init(tmp_path, photos, *again, "--force").exit_code == 0
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


@pytest.mark.parametrize("given", [[], ["--val", "mine.txt"]])
def test_a_persons_own_list_judges(given, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = Path("mine.txt") if given else photos / "val.txt"
    place.write_text("drawn_3.jpg\ndrawn_5\n")
    done = init(tmp_path, photos, "--categories", "even,odd,kite", *given)
    assert "2 pictures with masks (list val, your list)" in done.output
    lists = tmp_path / "data/ImageSets/Segmentation"
    assert (lists / "val.txt").read_text() == "drawn_3\ndrawn_5\n" and "drawn_3\n" not in (
        lists / "train.txt"
    ).read_text()
    place.write_text("drawn_21.jpg\nnobody\n")
    with pytest.raises(UserError, match="'drawn_21.jpg' has no mask.*no picture 'nobody'"):
        init(tmp_path, photos, "--categories", "even,odd,kite", "--force", *given)


def test_where_every_category_has_masks_the_config_is_full_supervision_and_tags_are_proposed(photos, tmp_path):
    (photos / "list.csv").unlink()
    for path in photos.glob("drawn_2?.jpg"):
        path.unlink()
    for number in range(10):  # the first ten show odd alone
        path = photos / "masks" / f"drawn_{number}.png"
        Image.fromarray((np.array(Image.open(path)) > 0).astype(np.uint8) * 2).save(path)
    done = init(tmp_path, photos, "--categories", "even,odd")
    assert "Every category has masks" in done.output and row(done, "even")[0] == row(done, "odd")[0] == "masks"
    config = load_config(tmp_path / "mine.yaml")
    assert (config.categories.strong, config.categories.weak) == (["even", "odd"], [])
    assert "weak_labels" not in done.output and "cam:" not in (tmp_path / "mine.yaml").read_text()
    command = re.search(r"judge it by its masks: transferseg (init .*)", done.output)[1]
    done = CliRunner().invoke(cli, shlex.split(command), catch_exceptions=False)
    assert done.exit_code == 0 and load_config(tmp_path / "mine.yaml").categories.weak == ["even"]
    assert row(done, "odd")[0] == "masks"
    (tmp_path / "mine.yaml").unlink()
    with pytest.raises(UserError, match="every training picture shows a category that is learned from tags"):
        init(tmp_path, photos, "--categories", "even,odd", "--weak", "even,odd")


def test_names_that_are_missing_are_counted(photos, tmp_path):
    with pytest.raises(UserError, match="hold ids up to 2: .* --categories name1,name2 --weights null$"):
        init(tmp_path, photos)


def test_an_unpacked_archive_is_looked_into_and_two_of_them_are_named(originals, tmp_path):
    for name in ("one", "two"):
        (tmp_path / "zips" / name / "job").mkdir(parents=True)
    foreign.cvat(originals, tmp_path / "zips" / "one" / "job")
    done = init(tmp_path, tmp_path / "zips", "--weak", originals[0].tags[0])
    assert done.exit_code == 0 and "one/job: CVAT, 24 images" in done.output
    foreign.pictures_with_masks(originals, tmp_path / "zips" / "two" / "job")
    with pytest.raises(UserError, match="holds 2 datasets; .*init .*one/job; or transferseg init .*two/job"):
        init(tmp_path, tmp_path / "zips", "--categories", ",".join(VOC), "--force")


def test_look_alikes_across_the_lists_are_warned_about(photos, tmp_path):
    (photos / "val.txt").write_text("drawn_3\ndrawn_5\n")
    generator = np.random.default_rng(1)
    scene = cv2.resize(generator.integers(0, 256, (3, 4, 3)).astype(np.uint8), (57, 43), interpolation=cv2.INTER_CUBIC)
    for number, name in ((3, "drawn_3"), (4, "drawn_4")):
        size = Image.open(photos / f"{name}.jpg").size
        Image.fromarray(cv2.resize(scene, size)).save(photos / f"{name}.jpg", quality=80 + number)
    done = init(tmp_path, photos, "--categories", "even,odd,kite")
    assert "drawn_4 is trained on and looks like drawn_3, which it is judged by" in done.output
    assert done.output.count("looks like") == 1


def pictures(**groups):
    """name -> (how many, names in the mask or None, tags)."""
    return [
        Picture(f"{name}{i:03}", None if pixels is None else frozenset(pixels), frozenset(tags))
        for name, (number, pixels, tags) in groups.items()
        for i in range(number)
    ]


def test_who_is_weak():
    masked = {"a": (50, ["cat"], ["cat"]), "b": (40, ["dog"], ["dog"])}
    assert choose_weak(pictures(**masked), []) == set()
    assert choose_weak(pictures(**masked), ["dog"]) == {"dog"}
    few_masks = masked | {"c": (4, ["kite"], ["kite"]), "d": (30, None, ["kite"])}
    assert choose_weak(pictures(**few_masks), []) == {"kite"}
    beside = few_masks | {"d": (90, None, ["kite", "cat"])}  # cat is only tagged where kite is: its masks are good
    assert choose_weak(pictures(**beside), []) == {"kite"}
    some_tags = masked | {"e": (9, None, ["cat"])}
    assert choose_weak(pictures(**some_tags), []) == {"cat"}
    assert choose_weak(pictures(**few_masks, e=(9, None, ["cat"])), []) == {"kite"}
    tags_win = {"a": (20, ["cat"], []), "b": (30, None, ["cat"]), "c": (5, ["dog"], []), "d": (30, None, ["dog"])}
    assert choose_weak(pictures(**tags_win), []) == {"dog"}  # one must teach with masks


def test_what_is_held_out():
    found = pictures(
        cat=(50, ["cat"], []),
        dog=(7, ["dog"], []),
        rare=(3, ["owl"], []),
        few=(4, ["kite"], []),
        kite=(40, None, ["kite"]),
    )
    held = hold_out(found, {"kite"})
    assert held == hold_out(found[::-1], {"kite"})
    number = {name: sum(key.startswith(name) for key in held) for name in ("cat", "dog", "rare", "few", "kite")}
    assert number == {"cat": 5, "dog": 1, "rare": 0, "few": 4, "kite": 0}
    asked = hold_out(pictures(cat=(40, ["cat"], []), dog=(40, ["dog"], [])), {"dog"})
    assert sum(key.startswith("dog") for key in asked) == 10  # a fourth: the others still teach their tags


def test_offline_the_missing_file_is_named_and_run_ends_at_once(photos, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.weights._unreachable", lambda url: "no route")
    monkeypatch.setenv("HOME", str(tmp_path))
    done = init(tmp_path, photos, "--categories", "even,odd,kite", "--weights", "imagenet")
    file = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
    assert done.exit_code == 0 and f"weights: {file} (9406464 bytes) is not in {tmp_path}/.keras/models" in done.output
    [found] = [p for p in find_problems(load_config(tmp_path / "mine.yaml"))[0] if p.where == "network.weights"]
    assert found.severity == "warning" and file in found.what and "/path/to/" in found.what
    monkeypatch.setattr("trainer.models.weights.keras.utils.get_file", offline)
    monkeypatch.setattr("keras.src.applications.mobilenet_v2.data_utils.get_file", offline)
    with pytest.raises(UserError, match=f"weights: 'imagenet' could not be downloaded; put {file} .*no route"):
        command = ["run", str(tmp_path / "mine.yaml"), "--workdir", str(tmp_path / "run")]
        CliRunner().invoke(cli, command, catch_exceptions=False)
    assert not (tmp_path / "run").exists()
    (tmp_path / ".keras" / "models").mkdir(parents=True)
    (tmp_path / ".keras" / "models" / file).write_bytes(b"")
    assert not any(p.where == "network.weights" for p in find_problems(load_config(tmp_path / "mine.yaml"))[0])


@pytest.mark.parametrize("backbone", FILES)
def test_the_backbone_is_the_weights(backbone, photos, tmp_path):
    with h5py.File(tmp_path / "own.h5", "w") as file:
        file.attrs["layer_names"] = ["conv", FILES[backbone].layer]
    arguments = ["--categories", "even,odd,kite", "--weights", str(tmp_path / "own.h5")]
    assert init(tmp_path, photos, *arguments).exit_code == 0
    network = load_config(tmp_path / "mine.yaml").network
    assert (network.backbone, network.weights) == (backbone, str(tmp_path / "own.h5"))


def test_weights_of_no_network_are_refused_before_anything_is_written(photos, tmp_path):
    with h5py.File(tmp_path / "own.h5", "w") as file:
        file.attrs["layer_names"] = ["conv"]
    with pytest.raises(UserError, match="--weights .*own.h5: holds the layers of none of vgg16, resnet50"):
        init(tmp_path, photos, "--categories", "even,odd,kite", "--weights", str(tmp_path / "own.h5"))
    with pytest.raises(UserError, match="no.h5"):
        init(tmp_path, photos, "--categories", "even,odd,kite", "--weights", str(tmp_path / "no.h5"))
    assert not (tmp_path / "mine.yaml").exists() and not (tmp_path / "data").exists()


def offline(*_, **__):
    raise OSError("no route")


def test_a_few_masks_leave_one_for_evaluation(originals, tmp_path):
    foreign.pictures_with_masks(
        [foreign.Original(o.key, o.image, (o.mask > 0) * np.uint8(i % 2 + 1)) for i, o in enumerate(originals[:4])],
        tmp_path / "few",
    )
    init(tmp_path, tmp_path / "few", "--categories", "even,odd", "--weak", "odd")
    assert len((tmp_path / "data/ImageSets/Segmentation/val.txt").read_text().split()) == 1


def test_vocs_own_layout_is_used_as_it_is(tmp_path):
    originals = foreign.drawn_originals(24)
    for one in originals[:6]:
        one.mask[np.isin(one.mask, range(1, 21))] = VOC.index("cat") + 1  # strong, and alone
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


def test_a_second_init_inside_the_pictures_folder_reads_none_of_its_own_output(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(photos)
    arguments = ["init", ".", "--categories", "even,odd,kite", "--weights", "null"]
    for more in ([], ["--force"]):
        done = CliRunner().invoke(cli, [*arguments, *more], catch_exceptions=False)
        assert done.exit_code == 0 and "pictures, 24 images (train), 20 with a mask" in done.output, done.output


def test_boxes_beside_the_tags_are_used(photos, tmp_path):
    [named] = [row.split(",")[0] for row in (photos / "list.csv").read_text().splitlines() if row.endswith(",kite")][:1]
    (photos / "where.csv").write_text(f"image,category,x1,y1,x2,y2\n{named},kite,1,1,9,9\n")
    assert init(tmp_path, photos, "--categories", "even,odd,kite").exit_code == 0
    assert (tmp_path / "data/boxes.csv").read_text().split("\n")[1].split(",")[1:] == ["kite", "1", "1", "9", "9"]


def coco_file(path, names, first=0):
    images = [{"id": i, "file_name": name, "width": 8, "height": 8} for i, name in enumerate(names)]
    for i, name in enumerate(names, first):
        picture = path.parent.parent / "images" / name
        picture.parent.mkdir(parents=True, exist_ok=True)
        if not picture.exists():
            Image.fromarray(np.random.default_rng(i).integers(0, 255, (8, 8, 3), np.uint8)).save(picture)
    made = [
        {"id": i, "image_id": i, "category_id": 1 + i % 2, "bbox": [1, 1, 5, 5], "area": 25}
        | ({} if i % 2 else {"segmentation": [[1, 1, 6, 1, 6, 6, 1, 6]]})
        for i in range(len(names))
    ]
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": made, "categories": categories}))


def test_all_coco_files_of_a_split_are_read(tmp_path):
    folder = tmp_path / "set"
    coco_file(folder / "annotations/batch1.json", [f"a{i}.png" for i in range(8)])
    coco_file(folder / "annotations/batch2.json", [f"b{i}.png" for i in range(8)], first=8)
    done = init(tmp_path, folder)
    assert done.exit_code == 0 and done.output.count("COCO, 8 images (train)") == 2, done.output
    assert len(list((tmp_path / "data/JPEGImages").iterdir())) == 16
    coco_file(folder / "annotations/batch3.json", ["a0.png"])
    with pytest.raises(UserError, match="batch1.json and batch3.json are both about a0.png: take one of them away"):
        init(tmp_path, folder, "--force")
    (folder / "annotations/batch1.json").rename(folder / "annotations/instances_a.json")
    (folder / "annotations/batch3.json").rename(folder / "annotations/captions_a.json")
    assert init(tmp_path, folder, "--force").output.count("COCO, 8 images (train)") == 2


@pytest.mark.parametrize("folder", ["a folder of " + 60 * "x" + " with/the second season", "two\nlines"])
def test_any_path_stays_whole_in_the_config(photos, tmp_path, folder):
    place = tmp_path / folder
    place.mkdir(parents=True)
    assert init(place, photos, "--categories", "even,odd,kite").exit_code == 0
    assert load_config(place / "mine.yaml").dataset.root == str(place / "data")


def test_voc_with_masks_for_some_pictures_and_xml_for_others_says_so(originals, tmp_path):
    foreign.voc(originals, tmp_path / "voc")
    (tmp_path / "voc/tags.csv").unlink(missing_ok=True)
    picture = next((tmp_path / "voc/JPEGImages").iterdir())
    (tmp_path / "voc/JPEGImages/alone.jpg").write_bytes(picture.read_bytes() + b"\0")
    (tmp_path / "voc/Annotations").mkdir(exist_ok=True)
    (tmp_path / "voc/Annotations/alone.xml").write_text("<annotation/>")
    done = init(tmp_path, tmp_path / "voc", "--weak", originals[0].tags[0])
    assert "1 pictures have an XML alone, which is not read" in done.output, done.output


def test_many_scarce_categories_are_one_warning(tmp_path):
    shown = [Picture(str(i), frozenset([f"c{i % 5}"]), frozenset()) for i in range(10 + 3)]
    names = [f"c{i}" for i in range(5)]
    found = Found(names, names, [], "train", "val", "held out", False, False, shown, [], [])
    [line] = [line for line in warnings(found, tmp_path) if "to learn" in line]
    assert line.startswith("fewer than 10 pictures to learn 5 categories from: c3 (2), c4 (2), c0 (3), ...; ")
    lines = [line for line in warnings(replace(found, trained=shown[:3]), tmp_path) if "to learn" in line]
    assert [line.partition(":")[0] for line in lines] == ["c0", "c1", "c2"]
