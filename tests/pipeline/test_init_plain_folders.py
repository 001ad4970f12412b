"""`init` on pictures with masks beside them: splits that folders say, tables of colours, folders of the same names."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "components"))

from test_import_objects import HEIGHT, WIDTH, photo
from test_init_sources import _no_probe, init  # noqa: F401

from pipeline.init.recognise import recognise
from trainer.errors import UserError

COLOURS = [(0, 0, 0), (200, 9, 9), (9, 200, 9)]  # of background, cat, dog


def pairs(images, masks, number=4, ending="", coloured=False):
    """Pictures 0.jpg..., even ones of a cat (1), odd ones of a dog (2); no masks if `masks` is None."""
    for i in range(number):
        photo(images / f"{i}.jpg", seed=hash((str(images), i)) % 2**32)
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
    with pytest.raises(UserError, match=r"_classes\.csv: values must be 0, 1, 2 and so on"):
        recognise(tmp_path / "set", None)


def test_a_table_of_colours_beside_the_folders_is_used(tmp_path):
    pairs(tmp_path / "set/images", tmp_path / "set/masks", 6, coloured=True)
    with pytest.raises(UserError, match=r"0\.png: its mask has the colour .* --colours of transferseg import folder"):
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
