"""VOC's layout and plain folders: whose names ids mean, which list is extended, and where files may lie."""

import pytest
from click.testing import CliRunner
from test_import_names import mask, photo, rows

from components.dataset_import.folders import read_folder
from components.dataset_import.mask_decoding import masks_among, pair
from components.dataset_import.voc_folders import read_voc
from components.dataset_import.writer import import_dataset
from pipeline.cli import cli
from trainer.data.names import Pictures
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


@pytest.mark.parametrize(
    ("names", "masks"),
    [
        ("a.tif a_mask.tif b.tif b_mask.tif", "a_mask.tif b_mask.tif"),
        ("a.bmp a_mask.bmp", "a_mask.bmp"),
        ("a.jpg a.bmp b.tif b.png", "a.bmp b.png"),
        ("a.png a_mask.png b.png", "a_mask.png"),
        ("a.tif b.bmp c.png", ""),
        ("1_sat.jpg 2_sat.jpg 1_gt.png 2_gt.png", "1_gt.png 2_gt.png"),
    ],
)
def test_which_pictures_of_a_folder_are_masks(names, masks):
    assert " ".join(sorted(masks_among(names.split()))) == masks


def test_masks_beside_pictures_may_be_tiff(tmp_path):
    for number, key in enumerate("ab"):
        photo(tmp_path / f"set/{key}.tif", seed=number)
        mask(tmp_path / f"set/{key}_mask.tif", 255)
    contents = read_folder(str(tmp_path / "set"), str(tmp_path / "set"), None, ["tumour"])
    assert [sample.name for sample in contents.samples] == ["a.tif", "b.tif"] and not contents.faults
    assert all(sample.mask for sample in contents.samples)


def test_pictures_and_masks_may_share_more_than_an_ending(tmp_path):
    """Cityscapes: the frame's number is the same in all of them."""
    frames = ["aachen_000000_000019", "aachen_000001_000019"]
    pictures = Pictures(f"aachen/{frame}_leftImg8bit.png" for frame in frames)
    files = [f"aachen/{frame}_gtFine_{kind}.png" for frame in frames for kind in ("labelIds", "color")]
    found, odd = pair(files, pictures)
    assert found == {f"aachen/{frame}_leftImg8bit.png": f"aachen/{frame}_gtFine_labelIds.png" for frame in frames}
    assert [file for file, _ in odd] == [file for file in files if "color" in file]
