"""What `init` reads where several files could be meant: never one of them silently."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "components"))

from test_import_objects import photo

from pipeline.cli import cli
from pipeline.init.plain_folders import tables_beside
from pipeline.init.recognise import others_beside, recognise
from pipeline.run.plan import Rates
from trainer.errors import UserError

SQUARE = [4, 4, 20, 4, 20, 20, 4, 20]


@pytest.fixture(autouse=True)
def _no_probe(monkeypatch):
    """What the networks cost here is tests/pipeline/test_plan.py's matter."""
    monkeypatch.setattr("pipeline.init.command.probe", lambda config: Rates(0.01, 0.02, 0.03, 0.01))


def init(place, folder, *arguments):
    command = ["init", str(folder), "--output", str(place / "data"), "--config", str(place / "mine.yaml")]
    return CliRunner().invoke(cli, [*command, "--weights", "null", *arguments], catch_exceptions=False)


def split_of_coco(folder, images, split, number=4, seed=0):
    """Pictures 0.jpg... in a folder of `images`, each with a dog; those of another seed are others."""
    for i in range(number):
        photo(images / f"{i}.jpg", seed=seed + i)
    entries = [{"id": i, "file_name": f"{i}.jpg", "height": 30, "width": 40} for i in range(number)]
    objects = [{"id": i, "image_id": i, "category_id": 1, "segmentation": [SQUARE]} for i in range(number)]
    data = {"images": entries, "annotations": objects, "categories": [{"id": 1, "name": "dog"}]}
    (folder / "annotations").mkdir(exist_ok=True, parents=True)
    (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("train", "val"), [("train", "val"), ("train2017", "val2017"), ("images/Train", "images/Validation")]
)
def test_splits_whose_pictures_have_the_same_names_are_each_of_their_folder(train, val, tmp_path):
    split_of_coco(tmp_path / "set", tmp_path / "set" / train, "train")
    split_of_coco(tmp_path / "set", tmp_path / "set" / val, "val", seed=50)
    _, parts = recognise(tmp_path / "set", None)
    found = {part.split: [sample.image for sample in part.read().samples] for part in parts}
    assert found == {
        split: [str(tmp_path / "set" / folder / f"{i}.jpg") for i in range(4)]
        for split, folder in (("train", train), ("val", val))
    }


def test_a_name_that_means_two_pictures_is_refused(tmp_path):
    split_of_coco(tmp_path / "set", tmp_path / "set" / "monday", "a")
    split_of_coco(tmp_path / "set", tmp_path / "set" / "tuesday", "a", seed=50)
    with pytest.raises(UserError, match="instances_a.json: 0.jpg lies in .*monday and, another picture, in .*tuesday"):
        recognise(tmp_path / "set", None)


def test_folders_in_the_names_of_one_file_are_its_splits(tmp_path):
    split_of_coco(tmp_path / "set", tmp_path / "set/train", "all", 6)
    path = tmp_path / "set/annotations/instances_all.json"
    data = json.loads(path.read_text())
    for entry in data["images"]:
        entry["file_name"] = f"{'val' if entry['id'] > 3 else 'train'}/{entry['id']}.jpg"
        photo(tmp_path / "set" / entry["file_name"], seed=entry["id"])
    path.write_text(json.dumps(data))
    _, parts = recognise(tmp_path / "set", None)
    assert {part.split: len(part.read().samples) for part in parts} == {"train": 4, "val": 2}


def test_exports_of_two_tools_about_the_same_pictures_are_refused(tmp_path):
    split_of_coco(tmp_path / "set", tmp_path / "set/images", "x")
    value = {"points": [[10, 10], [50, 10], [50, 50]], "polygonlabels": ["cat"]}
    region = {"type": "polygonlabels", "original_height": 30, "original_width": 40, "value": value}
    task = {"id": 1, "data": {"image": "/data/upload/1/0a1b2c3d-1.jpg"}, "annotations": [{"result": [region]}]}
    (tmp_path / "set/tasks.json").write_text(json.dumps([task]))
    with pytest.raises(UserError, match="are both about 1.jpg: take one of them away"):
        recognise(tmp_path / "set", None)


def test_a_broken_json_beside_others_is_named(tmp_path):
    split_of_coco(tmp_path / "set", tmp_path / "set" / "images", "train")
    (tmp_path / "set/annotations/instances_val.json").write_text('{"images": [')
    with pytest.raises(UserError, match="instances_val.json: not JSON .*; mend it, or take it away"):
        recognise(tmp_path / "set", None)
    (tmp_path / "set/annotations/instances_train.json").unlink()
    with pytest.raises(UserError, match="instances_val.json: not JSON .*: no dataset of a known kind"):
        recognise(tmp_path / "set", None)


@pytest.fixture
def tagged(tmp_path):
    """Pictures 0 to 9: masks of dog for 0 to 5, the tag cat for the others."""
    for i in range(10):
        photo(tmp_path / f"set/{i}.jpg", seed=i)
    (tmp_path / "set/masks").mkdir()
    for i in range(6):
        mask = np.zeros((30, 40), np.uint8)
        mask[5:15, 10:30] = 1
        Image.fromarray(mask).save(tmp_path / f"set/masks/{i}.png")
    (tmp_path / "set/tags.csv").write_text("image,tags\n" + "".join(f"{i}.jpg,cat\n" for i in range(6, 10)))
    return tmp_path / "set"


def test_a_persons_list_means_the_pictures_of_this_import_whatever_their_keys(tagged, tmp_path):
    for i in range(8):
        photo(tmp_path / f"earlier/{i}.jpg", seed=100 + i)
        Image.fromarray(np.full((30, 40), 1, np.uint8)).save(tmp_path / f"earlier/{i}_mask.png")
    command = ["import", "folder", "--images", tmp_path / "earlier", "--masks", tmp_path / "earlier"]
    command += ["--categories", "tree", "--output", tmp_path / "data"]
    assert CliRunner().invoke(cli, list(map(str, command))).exit_code == 0
    (tagged / "val.txt").write_text("0.jpg\n5\n")
    done = init(tmp_path, tagged, "--categories", "dog,cat")
    assert done.exit_code == 0 and "8 images got another key" in done.output, done.output
    keys = (tmp_path / "data/ImageSets/Segmentation/val.txt").read_text().split()
    assert keys == ["0_2", "5_2"]
    for key in keys:
        assert (tmp_path / f"data/JPEGImages/{key}.jpg").read_bytes() == (tagged / f"{key[0]}.jpg").read_bytes()


def test_a_line_of_a_list_that_means_two_pictures_is_refused(tagged, tmp_path):
    photo(tagged / "0.png", seed=77)
    (tagged / "masks/0.png").unlink()
    with (tagged / "tags.csv").open("a") as table:
        table.write("0.png,cat\n0.jpg,cat\n")
    (tagged / "val.txt").write_text("0\n1\n")
    with pytest.raises(UserError, match="val.txt: '0' may mean 0.jpg or 0.png"):
        init(tmp_path, tagged, "--categories", "dog,cat")


def test_of_several_tables_the_documented_one_is_read_and_others_are_named(tagged, tmp_path):
    (tagged / "a_tags.csv").write_text("image,tags\n6.jpg,dog\n")
    done = init(tmp_path, tagged, "--categories", "dog,cat")
    assert done.exit_code == 0 and "a_tags.csv is not read: tags.csv is" in done.output, done.output
    (tagged / "tags.csv").rename(tagged / "more_tags.csv")
    with pytest.raises(
        UserError, match="a_tags.csv and more_tags.csv are both tables of tags; make them one, tags.csv"
    ):
        init(tmp_path, tagged, "--categories", "dog,cat", "--force")


def test_a_table_beside_another_kind_is_not_read_and_the_commands_that_bring_it_in_work(tmp_path):
    split_of_coco(tmp_path / "set", tmp_path / "set" / "images", "train")
    for i in range(4, 8):
        photo(tmp_path / f"set/images/{i}.jpg", seed=i)
    (tmp_path / "set/tags.csv").write_text("image,tags\n" + "".join(f"{i}.jpg,cat\n" for i in range(4, 8)))
    command = [
        "init",
        str(tmp_path / "set"),
        "--output",
        str(tmp_path / "data"),
        "--config",
        str(tmp_path / "mine.yaml"),
    ]
    done = CliRunner().invoke(cli, [*command, "--weights", "null"])
    assert done.exit_code == 0 and "Every category has masks" in done.output
    [told] = [line for line in done.output.splitlines() if "tags.csv: not read with COCO" in line]
    for words in told.split("to have it: ")[1].split(", then "):
        more = ["--config", str(tmp_path / "mine.yaml"), "--weights", "null"] if " init " in words else []
        done = CliRunner().invoke(cli, [*words.split()[1:], *more], catch_exceptions=False)
        assert done.exit_code == 0, done.output
    assert yaml.safe_load((tmp_path / "mine.yaml").read_text())["categories"]["weak"] == ["cat"]


def test_masks_in_any_case_and_files_that_are_no_masks(tagged, tmp_path):
    (tagged / "masks").rename(tagged / "Masks")
    np.save(tagged / "Masks/6.npy", np.ones((30, 40)))
    done = init(tmp_path, tagged, "--categories", "dog,cat")
    assert done.exit_code == 0 and "10 images (train), 6 with a mask" in done.output, done.output
    assert "1 files of " in done.output and "are no masks by their names, e.g. 6.npy" in done.output


def test_masks_in_a_folder_for_each_category_hold_its_id_or_are_named(tagged, tmp_path):
    for name, numbers in (("dog", range(3)), ("cat", range(3, 6))):
        (tagged / "masks" / name).mkdir()
        for i in numbers:
            (tagged / f"masks/{i}.png").rename(tagged / f"masks/{name}/{i}.png")
    with pytest.raises(UserError, match=r"3 of 10 pictures .*: lies in a folder 'cat' and has no pixel of its id 2"):
        init(tmp_path, tagged, "--categories", "dog,cat")
    for path in (tagged / "masks" / "cat").iterdir():
        Image.fromarray(np.array(Image.open(path)) * np.uint8(2)).save(path)
    done = init(tmp_path, tagged, "--categories", "dog,cat")
    assert "10 images (train), 6 with a mask, 0 not readable" in done.output


def test_black_and_white_masks_of_several_categories_say_what_white_is(tagged, tmp_path):
    for path in (tagged / "masks").iterdir():
        Image.fromarray(np.array(Image.open(path)) * np.uint8(255)).save(path)
    with pytest.raises(UserError, match="no image has a mask"):
        init(tmp_path, tagged, "--categories", "dog,cat")
    command = ["import", "folder", "--images", tagged, "--masks", tagged / "masks", "--categories", "dog,cat"]
    done = CliRunner().invoke(cli, [*map(str, command), "--output", str(tmp_path / "out")])
    assert "masks are black and white: 255 is void; if it is a category, make it that category's id" in done.output


def test_labelmes_class_names_are_those_of_the_masks(tmp_path):
    (tmp_path / "set").mkdir()
    for folder in ("JPEGImages", "SegmentationClass"):
        (tmp_path / "set" / folder).mkdir()
    for i in range(12):
        photo(tmp_path / f"set/JPEGImages/{i}.jpg", seed=i)
        Image.fromarray(np.full((30, 40), 1 + i % 2, np.uint8)).save(tmp_path / f"set/SegmentationClass/{i}.png")
    (tmp_path / "set/class_names.txt").write_text("__ignore__\n_background_\nleaf\nflower\n")
    done = init(tmp_path, tmp_path / "set", "--weak", "leaf")
    assert done.exit_code == 0, done.output
    categories = yaml.safe_load((tmp_path / "mine.yaml").read_text())["categories"]
    assert categories == {"order": ["leaf", "flower"], "strong": ["flower"], "weak": ["leaf"]}


def yolo_with_lists(folder):
    for i in range(6):
        photo(folder / f"images/{i}.jpg", seed=i)
        (folder / "labels").mkdir(exist_ok=True)
        (folder / f"labels/{i}.txt").write_text(f"{i % 2} .2 .2 .7 .3 .5 .8 .1 .6 .15 .4\n")
    (folder / "data.yaml").write_text("names: [dog, cat]\ntrain: train.txt\nval: held.txt\n")
    (folder / "train.txt").write_text("".join(f"./images/{i}.jpg\n" for i in range(4)))
    (folder / "held.txt").write_text("images/4.jpg\nimages/5.jpg\n")


def test_lists_that_data_yaml_names_are_its_splits(tmp_path):
    yolo_with_lists(tmp_path / "set")
    _, parts = recognise(tmp_path / "set", None)
    found = {part.split: [sample.name for sample in part.read().samples] for part in parts}
    assert found == {"train": [f"images/{i}.jpg" for i in range(4)], "val": ["images/4.jpg", "images/5.jpg"]}


def test_yolo_without_its_names_says_so(tmp_path):
    yolo_with_lists(tmp_path / "set")
    (tmp_path / "set/data.yaml").write_text("- dog")
    with pytest.raises(UserError, match="data.yaml: `names` must list the classes"):
        recognise(tmp_path / "set", None)
    (tmp_path / "set/data.yaml").unlink()
    with pytest.raises(
        UserError, match="YOLO's labels/ without data.yaml; write one there that says names: .*: no dataset of a known"
    ):
        recognise(tmp_path / "set", None)


def test_tags_that_say_less_than_a_mask_are_told_of(tagged, tmp_path):
    with (tagged / "tags.csv").open("a") as table:
        table.write("".join(f"{i}.jpg,cat\n" for i in range(4)))
    done = init(tmp_path, tagged, "--categories", "dog,cat")
    assert re.search(r"the masks of \d pictures learned from tags show categories that the tags do not \(", done.output)


def test_what_lies_beside_a_dataset_does_not_stop_it(tagged, tmp_path):
    split_of_coco(tmp_path / "coco", tmp_path / "coco" / "images", "train")
    (tmp_path / "coco/annotations/._instances_train.json").write_bytes(b"\0\5\x16\7")
    (tmp_path / "coco/annotations/x.json").mkdir()
    for name in ("a.csv", "b.csv"):
        (tmp_path / "coco" / name).write_text("image,tags\n0.jpg,dog\n")
    place, parts = recognise(tmp_path / "coco", None)
    [note] = tables_beside(place, parts, tmp_path / "data")
    assert (
        [part.kind for part in parts] == ["COCO"] and "not read with COCO: " in note and "both tables of tags" in note
    )
    (tagged / "class_names.txt").write_text("a\n\nb\n")
    (tagged / "labels").mkdir()
    (tagged / "labels/README.txt").touch()
    assert init(tmp_path, tagged, "--categories", "dog,cat").exit_code == 0


def test_corrected_labels_make_no_category_one_of_masks(tagged, tmp_path):
    assert init(tmp_path, tagged, "--categories", "dog,cat").exit_code == 0
    for i in range(6, 10):
        Image.fromarray(np.full((30, 40), 2, np.uint8)).save(tmp_path / f"data/SegmentationClass/{i}.png")
    (tmp_path / "data/ImageSets/Segmentation/corrected.txt").write_text("6\n7\n8\n9\n")
    assert init(tmp_path, tagged, "--categories", "dog,cat", "--force").exit_code == 0
    config = yaml.safe_load((tmp_path / "mine.yaml").read_text())
    assert config["categories"]["weak"] == ["cat"] and config["dataset"]["corrected"] == "corrected"


def pictures_and_masks(images, masks, suffix=".png", number=4):
    for i in range(number):
        photo(images / f"{i}.jpg", seed=i)
        photo(masks / f"{i}{suffix}", seed=i)


def test_masks_that_are_jpegs_are_named(tmp_path):
    pictures_and_masks(tmp_path / "images", tmp_path / "masks", ".jpg")
    (tmp_path / "tags.csv").write_text("image,tags\n0.jpg,dog\n")
    with pytest.raises(UserError, match=r"masks: holds \.jpg files, which change ids; save the masks as PNG"):
        recognise(tmp_path, ["dog"])


def test_two_folders_with_the_same_names_end_in_the_command_that_takes_them(tmp_path):
    pictures_and_masks(tmp_path / "set/img_dir/train", tmp_path / "set/ann_dir/train")
    (tmp_path / "set" / "classes.csv").write_text("name,r,g,b\nwall,1,2,3\n")  # of no tags
    command = f"import folder --images {tmp_path}/set/img_dir/train --masks {tmp_path}/set/ann_dir/train --colours"
    with pytest.raises(UserError, match=re.escape(command)):
        recognise(tmp_path / "set", None)


def test_another_table_beside_masks_may_be_meant_for_one_of_tags(tmp_path):
    pictures_and_masks(tmp_path / "images", tmp_path / "masks")
    (tmp_path / "metadata.csv").write_text("image_id,age\n0,55\n")
    with pytest.raises(UserError, match=r"metadata\.csv: line 1 must be the header .*; or take the file away"):
        recognise(tmp_path, ["dog", "cat"])


def test_davis_is_not_voc_and_labelme2vocs_masks_are_named(tmp_path):
    pictures_and_masks(tmp_path / "davis/JPEGImages/480p", tmp_path / "davis/Annotations/480p")
    with pytest.raises(UserError, match="import folder --images .*JPEGImages/480p --masks .*Annotations/480p"):
        recognise(tmp_path / "davis", None)
    photo(tmp_path / "lm/JPEGImages/0.jpg")
    photo(tmp_path / "lm/SegmentationClassPNG/0.png")
    (tmp_path / "lm/SegmentationClass").mkdir()
    with pytest.raises(UserError, match="SegmentationClassPNG: holds the masks; take SegmentationClass away"):
        recognise(tmp_path / "lm", None)


@pytest.mark.parametrize(
    ("tool", "path", "data"),
    [
        ("VIA", "via_project.json", {"_via_settings": {}, "_via_img_metadata": {}}),
        ("VIA", "via_region_data.json", {"a.png10": {"filename": "a.png", "size": 10, "regions": []}}),
        ("Supervisely", "ds/ann/a.png.json", {"size": {"height": 9, "width": 9}, "objects": [], "tags": []}),
        ("Darwin", "releases/a.json", {"version": "2.0", "item": {"name": "a.png"}, "annotations": []}),
        ("SuperAnnotate", "a.png.json", {"metadata": {"name": "a.png"}, "instances": []}),
        ("Datumaro", "annotations/train.json", {"info": {}, "categories": {}, "items": []}),
    ],
)
def test_a_tool_whose_files_nothing_reads_is_named(tool, path, data, tmp_path):
    photo(tmp_path / "img/a.png")
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text(json.dumps(data))
    with pytest.raises(UserError, match=f"{path}: of {tool}, which can export COCO; take that: no dataset of a known"):
        recognise(tmp_path, None)


def test_annotations_of_another_kind_beside_are_told_of(tmp_path):
    split_of_coco(tmp_path / "set", tmp_path / "set/images", "a")
    (tmp_path / "set/data.yaml").write_text("names: [dog]\n")
    place, parts = recognise(tmp_path / "set", None)
    assert {part.kind for part in parts} == {"COCO"}
    assert others_beside(place, parts) == [
        "data.yaml: not read with COCO; transferseg import brings it into the same dataset"
    ]


def test_a_dataset_of_a_split_for_tests_alone_is_trained_on(tmp_path):
    split_of_coco(tmp_path / "set", tmp_path / "set/images", "my-test")
    _, parts = recognise(tmp_path / "set", None)
    assert [part.split for part in parts] == ["train"]


def test_masks_in_our_layout_that_show_nothing_say_why(tagged, tmp_path):
    for folder, name in (("JPEGImages", "0.jpg"), ("SegmentationClass", "0_mask.png")):
        (tmp_path / "set" / folder).mkdir(parents=True, exist_ok=True)
        photo(tmp_path / "set" / folder / name)
    Image.fromarray(np.ones((30, 40), np.uint8)).save(tmp_path / "set/SegmentationClass/0_mask.png")
    with pytest.raises(UserError, match=r"0_mask\.png: the mask's name is that of no picture in JPEGImages"):
        init(tmp_path, tmp_path / "set", "--categories", "dog,cat")
