"""VOC's layout and plain folders: whose names ids mean, which list is extended, and where files may lie."""

import pytest
from click.testing import CliRunner
from test_import_names import mask, photo, rows

from components.dataset_import.folders import read_folder, read_voc
from components.dataset_import.writer import import_dataset
from pipeline.cli import cli
from trainer.errors import UserError

XML = "<annotation><object><name>{}</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>6</xmax><ymax>6</ymax></bndbox>"
XML += "</object></annotation>"


def layout(place, keys="ab"):
    for number, key in enumerate(keys, start=1):
        photo(place / f"JPEGImages/{key}.jpg", seed=number)
        mask(place / f"SegmentationClass/{key}.png", 1 + number % 2)
    return place


@pytest.mark.parametrize(
    ("file", "text"),
    [("categories.txt", "apple\npear\n"), ("class_names.txt", "__ignore__\n_background_\napple\npear\n")],
)
def test_ids_mean_the_names_beside_them(file, text, tmp_path):
    (layout(tmp_path) / file).write_text(text)
    contents = read_voc(str(tmp_path), None, None)
    assert contents.names == ("apple", "pear") and not contents.notes
    assert read_voc(str(tmp_path), ["x", "y"], None).names == ("x", "y")


def test_ids_that_are_taken_for_vocs_are_told_of(tmp_path):
    contents = read_voc(str(layout(tmp_path)), None, None)
    assert contents.names[:2] == ("aeroplane", "bicycle") and "taken for VOC's 20 categories" in contents.notes[0]


@pytest.mark.parametrize(("options", "extended"), [((), "val"), (("--split", "train"), "train")])
def test_a_list_extends_its_own_split(options, extended, tmp_path):
    lists = layout(tmp_path / "set") / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("a\n")
    where = ["--root", str(tmp_path / "set"), "--output", str(tmp_path / "out")]
    result = CliRunner().invoke(cli, ["import", "voc", *where, "--list", "val", "--categories", "x,y", *options])
    assert result.exit_code == 0, result.output
    assert [path.name for path in (tmp_path / "out/ImageSets/Segmentation").iterdir()] == [f"{extended}.txt"]


@pytest.mark.parametrize("split", ["../../../evil", "a/b", "a\\b", "", " ", ".hidden", "train-{SPAN}"])
def test_a_split_is_the_name_of_a_list(split, tmp_path):
    contents = read_voc(str(layout(tmp_path / "set")), ["x", "y"], None)
    with pytest.raises(UserError, match="--split '.*': give the name of a list"):
        import_dataset(contents, tmp_path / "out", split)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("masks", "what"), [("nowhere", "no such folder"), ("empty", "holds no mask")])
def test_masks_that_are_not_there_are_refused(masks, what, tmp_path):
    photo(tmp_path / "photos/a.jpg")
    (tmp_path / "tags.csv").write_text("image,tags\na.jpg,x\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/notes.txt").write_text("none")
    with pytest.raises(UserError, match=f"{masks}: {what}"):
        read_folder(str(tmp_path / "photos"), str(tmp_path / masks), str(tmp_path / "tags.csv"), ["x"])


def test_an_xml_may_lie_beside_its_picture(tmp_path):
    for number, key in enumerate(("train/a", "valid/a")):
        photo(tmp_path / f"set/{key}.jpg", seed=number)
        (tmp_path / f"set/{key}.xml").write_text(XML.format("xy"[number]))
    contents = read_voc(str(tmp_path / "set"), ["x", "y"], None)
    done = import_dataset(contents, tmp_path / "out", "train")
    assert rows(tmp_path / "out") == ["train_a,x", "valid_a,y"] and done["boxes"] == 2 and not done["dead"]


def test_a_folder_that_is_not_vocs_says_so(tmp_path):
    photo(tmp_path / "set/a.jpg")
    with pytest.raises(UserError, match="holds neither JPEGImages nor an XML beside a picture"):
        read_voc(str(tmp_path / "set"), None, None)
