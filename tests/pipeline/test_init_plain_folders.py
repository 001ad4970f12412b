"""`init` on pictures with masks beside them: splits that folders say, tables of colours, folders of the same names."""

import re
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "components"))

from test_import_objects import HEIGHT, WIDTH, photo
from test_init_sources import _no_probe, init  # noqa: F401

from components.dataset_import.folders import read_cvat
from components.dataset_import.writer import import_dataset
from pipeline.init.recognise import recognise
from trainer.errors import UserError

COLOURS = [(0, 0, 0), (200, 9, 9), (9, 200, 9)]  # of background, cat, dog


def pairs(images, masks, number=4, ending="", coloured=False):
    """Pictures 0.jpg..., even ones of a cat (1), odd ones of a dog (2); no masks if `masks` is None."""
    for i in range(number):
        photo(images / f"{i}.jpg", seed=zlib.crc32(f"{images}/{i}".encode()))
        if masks:
            ids = np.zeros((HEIGHT, WIDTH), np.uint8)
            ids[4:20, 4:20] = i % 2 + 1
            masks.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.array(COLOURS, np.uint8)[ids] if coloured else ids).save(masks / f"{i}{ending}.png")


def listed(place, split):
    return (place / f"data/ImageSets/Segmentation/{split}.txt").read_text().split()


@pytest.mark.parametrize("layout", ["images/{}", "{}/images"])
def test_folders_called_as_splits_are_splits(layout, tmp_path):
    for split, number in (("train", 6), ("valid", 4)):
        images = tmp_path / "set" / layout.format(split)
        pairs(images, Path(str(images).replace("images", "masks")), number)
    done = init(tmp_path, tmp_path / "set", "--categories", "cat,dog", "--weak", "dog")
    assert done.exit_code == 0, done.output
    assert len(listed(tmp_path, "train")) == 6 and len(listed(tmp_path, "val")) == 4
    assert "Judged by: 4 pictures with masks (list val, the list that was there)" in done.output


def test_a_split_without_masks_is_left_out_and_told_of(tmp_path):
    for split, masks in (("train", "masks"), ("test", None)):
        pairs(tmp_path / "set/images" / split, masks and tmp_path / "set/masks" / split, 6)
    done = init(tmp_path, tmp_path / "set", "--categories", "cat,dog", "--weak", "dog")
    assert done.exit_code == 0, done.output
    assert "6 files of test are left out: test/0.jpg (tags): has neither a mask nor a line" in done.output
    assert not [key for split in ("train", "val") for key in listed(tmp_path, split) if "test" in key]


def test_roboflows_masks_lie_beside_the_pictures_of_each_split(tmp_path):
    for split in ("train", "valid", "test"):
        pairs(tmp_path / "set" / split, tmp_path / "set" / split, ending="_mask")
        (tmp_path / "set" / split / "_classes.csv").write_text("Pixel Value, Class\n0, background\n1, cat\n2, dog\n")
    done = init(tmp_path, tmp_path / "set", "--weak", "dog")
    assert done.exit_code == 0, done.output
    assert [len(listed(tmp_path, split)) for split in ("train", "val", "test")] == [4, 4, 4]
    (tmp_path / "set/train/_classes.csv").write_text("Pixel Value, Class\n0, background\n2, cat\n")
    with pytest.raises(UserError, match=r"_classes\.csv: must give values 0, 1, 2 and so on"):
        recognise(tmp_path / "set", None)


def test_a_table_of_colours_beside_the_folders_is_used(tmp_path):
    pairs(tmp_path / "set/images", tmp_path / "set/masks", 6, coloured=True)
    with pytest.raises(
        UserError,
        match=r"0\.png: its mask has the colour .* import folder takes a table of their colours with --colours",
    ):
        recognise(tmp_path / "set", None)
    (tmp_path / "set/class_dict.csv").write_text("name,r,g,b\ndog,9,200,9\ncat,200,9,9\nbackground,0,0,0\n")
    done = init(tmp_path, tmp_path / "set", "--weak", "dog")
    assert done.exit_code == 0, done.output
    [picture] = (path for path in (tmp_path / "data/SegmentationClass").iterdir() if path.stem == "0")
    assert set(np.unique(Image.open(picture))) == {0, 2}  # a cat, the second line


@pytest.mark.parametrize("table", [False, True])
def test_folders_of_the_same_names_end_in_one_command_for_each_split(table, tmp_path):
    for place in ("train/urban", "train/rural", "val"):
        pairs(tmp_path / "set/img" / place, tmp_path / "set/ann" / place, ending="_L")
        (tmp_path / "set/ann" / place / "._0_L.png").write_bytes(b"\0\5\x16\7")
    names = ["cat", "dog"]
    if table:
        (tmp_path / "set/class_dict.csv").write_text("name,r,g,b\ndog,9,200,9\n")
    with pytest.raises(UserError) as caught:
        recognise(tmp_path / "set", names)
    meaning = f"--colours {tmp_path}/set/class_dict.csv" if table else "--categories cat,dog"
    found = re.findall(r"--images (\S+) --masks (\S+) (--\w+ \S+) --output data( --split \w+)?", str(caught.value))
    wanted = [("train/rural", ""), ("train/urban", ""), ("val", " --split val")]
    root = f"{tmp_path}/set"
    assert found == [(f"{root}/img/{place}", f"{root}/ann/{place}", meaning, split) for place, split in wanted]


def test_the_datasets_own_folder_is_not_written_into(tmp_path):
    pairs(tmp_path / "data/data", tmp_path / "data/labels")
    with pytest.raises(UserError, match="data: holds pictures of the dataset itself; .* --output data_data"):
        init(tmp_path, tmp_path / "data", "--categories", "cat,dog", "--weak", "dog")
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["data", "labels"]


@pytest.mark.parametrize("layout", ["images/{}", "{}/images"])
def test_a_second_time_inside_the_dataset_new_pictures_go_where_their_folder_says(layout, tmp_path):
    def draw(split, number):
        images = tmp_path / "set" / layout.format(split)
        pairs(images, Path(str(images).replace("images", "masks")), number)

    for split in ("train", "val", "test"):
        draw(split, 6)
    arguments = ["--categories", "cat,dog", "--weak", "dog"]
    assert init(tmp_path / "set", tmp_path / "set", *arguments).exit_code == 0
    for split in ("train", "val", "test"):
        draw(split, 8)
    done = init(tmp_path / "set", tmp_path / "set", *arguments, "--force")
    assert done.exit_code == 0, done.output
    lists = [set(listed(tmp_path / "set", split)) for split in ("train", "val", "test")]
    assert [len(keys) for keys in lists] == [8, 8, 8] and len(set.union(*lists)) == 24


def test_what_lies_beside_the_splits_does_not_undo_them_and_test_is_not_trained_on(tmp_path):
    for split in ("train", "val", "test"):
        pairs(tmp_path / "set" / split, tmp_path / "set/masks" / split, 12)
    (tmp_path / "set/docs").mkdir()
    photo(tmp_path / "set/sample.jpg")
    arguments = ["--categories", "cat,dog", "--weak", "dog"]
    assert init(tmp_path, tmp_path / "set", *arguments).exit_code == 0
    lists = [listed(tmp_path, split) for split in ("train", "val", "test")]
    assert [len(keys) for keys in lists] == [12, 12, 12]
    (tmp_path / "data/ImageSets/Segmentation/train.txt").write_text("\n".join(sum(lists, [])) + "\n")
    assert init(tmp_path, tmp_path / "data", *arguments, "--force").exit_code == 0
    assert listed(tmp_path, "train_usable") == lists[0]


def test_a_split_whose_masks_fit_nothing_is_no_split_without_masks(tmp_path):
    pairs(tmp_path / "set/images/train", tmp_path / "set/masks/train", 6)
    pairs(tmp_path / "set/images/val", tmp_path / "set/masks/val", 6)
    for path in (tmp_path / "set/masks/val").iterdir():
        path.rename(path.with_name(f"{path.stem}_{path.stem}x.png"))
    with pytest.raises(UserError, match="12 of 18 pictures cannot be used .*val/"):
        init(tmp_path, tmp_path / "set", "--categories", "cat,dog", "--weak", "dog")


@pytest.mark.parametrize("text", ["0, cat\n1, dog\n", "0, background\n1\n", "0, background\n1, cat, big\n", ""])
def test_classes_of_roboflow_that_are_no_names_by_id_are_refused(text, tmp_path):
    pairs(tmp_path / "set", tmp_path / "set", ending="_mask")
    (tmp_path / "set/_classes.csv").write_text(f"Pixel Value, Class\n{text}")
    with pytest.raises(
        UserError, match=r"_classes\.csv: must give values 0, 1, 2 and so on a class each, 0 that of back"
    ):
        recognise(tmp_path / "set", None)


@pytest.mark.parametrize(
    ("images", "masks", "stem", "split"),
    [
        ("img", "ann", "_2020", ""),
        ("rgb", "gt", "_left", ""),
        ("photos", "train_labels", "", ""),
        ("val_x", "seg", "", "val"),
    ],
)
def test_folders_of_the_same_names_however_they_are_called(images, masks, stem, split, tmp_path):
    for i in range(4):
        photo(tmp_path / "set" / images / f"{i}{stem}.jpg", seed=i)
        photo(tmp_path / "set" / masks / f"{i}{stem}.png", seed=i)
    command = f"--images {tmp_path}/set/{images} --masks {tmp_path}/set/{masks} --categories a,b,c --output data"
    with pytest.raises(UserError, match=re.escape(command + (f" --split {split}" if split else ", then"))):
        recognise(tmp_path / "set", None)


def test_names_are_asked_for_although_a_mask_is_broken(tmp_path):
    pairs(tmp_path / "set/images", tmp_path / "set/masks")
    for name in ("._0.png", "0.png"):
        (tmp_path / "set/masks" / name).write_bytes(b"\0\5\x16\7")
    with pytest.raises(UserError, match="masks hold ids up to 2: give the names with --categories"):
        recognise(tmp_path / "set", None)


def test_two_datasets_are_not_splits_of_one(tmp_path):
    for place in ("pets-train", "cars-val"):
        pairs(tmp_path / "set" / place / "images", tmp_path / "set" / place / "masks")
    with pytest.raises(UserError, match="holds 2 datasets; begin with one of them"):
        recognise(tmp_path / "set", ["cat", "dog"])


def test_one_table_of_colours_serves_all_splits_and_no_masks_of_ids(tmp_path):
    for split in ("train", "val"):
        pairs(tmp_path / "set" / split / "images", tmp_path / "set" / split / "masks", coloured=True)
    (tmp_path / "set/class_dict.csv").write_text("name,r,g,b\ncat,200,9,9\ndog,9,200,9\nbackground,0,0,0\n")
    done = init(tmp_path, tmp_path / "set", "--weak", "dog")
    assert done.exit_code == 0, done.output
    assert [len(listed(tmp_path, split)) for split in ("train", "val")] == [4, 4]
    pairs(tmp_path / "ids/images", tmp_path / "ids/masks")
    (tmp_path / "ids/class_dict.csv").write_text("name,r,g,b\ncat,200,9,9\ndog,9,200,9\n")
    with pytest.raises(UserError, match="masks hold ids up to 2"):
        recognise(tmp_path / "ids", None)


def test_a_persons_list_takes_the_place_of_the_folders_own(tmp_path):
    for split in ("train", "val"):
        pairs(tmp_path / "set/images" / split, tmp_path / "set/masks" / split, 6)
    (tmp_path / "mine.txt").write_text("train/0\ntrain/1\n")
    arguments = ["--categories", "cat,dog", "--weak", "dog", "--val", str(tmp_path / "mine.txt")]
    for more in ([], ["--force"]):
        assert init(tmp_path, tmp_path / "set", *arguments, *more).exit_code == 0
        assert len(listed(tmp_path, "val")) == 2 and len(listed(tmp_path, "train")) == 10


def test_the_lists_and_subsets_of_cvat_are_its_splits(tmp_path):
    pairs(tmp_path / "set/JPEGImages", tmp_path / "set/SegmentationClass", 6, coloured=True)
    (tmp_path / "set/labelmap.txt").write_text("background:0,0,0::\ncat:200,9,9::\ndog:9,200,9::\n")
    lists = tmp_path / "set/ImageSets/Segmentation"
    lists.mkdir(parents=True)
    stems = sorted(path.stem for path in (tmp_path / "set/JPEGImages").iterdir())
    (lists / "train.txt").write_text("\n".join(stems[:4]))
    (lists / "val.txt").write_text("\n".join(stems[4:]))
    _, parts = recognise(tmp_path / "set", None)
    assert {part.split: len(part.read().samples) for part in parts} == {"train": 4, "val": 2}
    done = import_dataset(read_cvat(str(tmp_path / "set")), tmp_path / "all", "train")
    assert any("came into train: 2 of its val" in note for note in done["notes"])
