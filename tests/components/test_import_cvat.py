"""CVAT's own XML: what each kind of shape becomes, what is refused and in which words."""

import re

import numpy as np
import pytest
from PIL import Image
from test_import_boxes import brought_in
from test_import_objects import BLOCK, HEIGHT, WIDTH, photo

from components.dataset_import.folders import read_cvat
from components.dataset_import.writer import import_dataset
from pipeline.init.recognise import recognise
from trainer.errors import UserError

LABELS = "<meta><job><labels>{}</labels></job></meta>"
DOG_CAT = LABELS.format("".join(f"<label><name>{name}</name></label>" for name in ("dog", "cat")))
BLOCK_POINTS = "10.00,5.00;30.00,5.00;30.00,15.00;10.00,15.00"
DOG = f'<polygon label="dog" points="{BLOCK_POINTS}" z_order="0"/>'


def export(place, inside, meta=DOG_CAT, name="sub/a.jpg", size=(HEIGHT, WIDTH), **photo_how):
    """An export of one picture, images/sub/a.jpg."""
    photo(place / "images/sub/a.jpg", **photo_how)
    entry = f'<image id="0" name="{name}" subset="default" width="{size[1]}" height="{size[0]}">{inside}</image>'
    (place / "annotations.xml").write_text(f"<annotations><version>1.1</version>{meta}{entry}</annotations>")
    return read_cvat(str(place))


def mask_of(contents, place):
    import_dataset(contents, place / "out", "train")
    [path] = (place / "out/SegmentationClass").iterdir()
    return np.array(Image.open(path))


def letters(place):
    return (place / "out/import_faults.jsonl").read_text()


def test_an_export_is_recognised(tmp_path):
    export(tmp_path, DOG)
    _, [part] = recognise(tmp_path, None)
    assert part.kind == "CVAT" and part.read().names == ("dog", "cat")


def test_a_polygon_and_a_mask_are_pixels(tmp_path):
    mask = '<mask label="cat" left="33" top="20" width="3" height="2" rle="1, 2, 3"/>'
    found = mask_of(export(tmp_path, DOG + mask), tmp_path)
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[BLOCK] = 1
    expected[20, 34:36] = 2
    np.testing.assert_array_equal(found, expected)


def test_what_lies_higher_is_drawn_later_whatever_its_place_in_the_file(tmp_path):
    above = DOG.replace('z_order="0"', 'z_order="1"').replace("dog", "cat")
    assert set(np.unique(mask_of(export(tmp_path, above + DOG), tmp_path))) == {0, 2}


def test_shapes_lie_on_the_picture_as_cvat_shows_it(tmp_path):
    upright = mask_of(export(tmp_path / "one", DOG), tmp_path / "one")
    turned_by_180 = Image.Exif()
    turned_by_180[0x0112] = 3
    turned = mask_of(export(tmp_path / "two", DOG, exif=turned_by_180), tmp_path / "two")
    np.testing.assert_array_equal(turned, upright[::-1, ::-1])


def test_an_ellipse_is_drawn_turned(tmp_path):
    ellipse = '<ellipse label="dog" cx="20" cy="15" rx="12" ry="4" rotation="90"/>'
    found = mask_of(export(tmp_path, ellipse), tmp_path) == 1
    rows, columns = np.nonzero(found)
    assert abs(found.sum() - np.pi * 12 * 4) < 8
    assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == (24, 8)


def test_a_box_comes_in_with_its_tag(tmp_path):
    box = '<box label="dog" xtl="10.0" ytl="5.0" xbr="30.0" ybr="15.0"/>'
    _, [(_, category, corners)] = brought_in(export(tmp_path, box), tmp_path)
    assert category == "dog"
    np.testing.assert_allclose(corners, (10, 5, 30, 15))


@pytest.mark.parametrize(
    "shape",
    [
        '<box label="dog" xtl="10.0" ytl="5.0" xbr="30.0" ybr="15.0" rotation="30"/>',
        '<polyline label="dog" points="10,5;30,15"/>',
        '<points label="dog" points="10,5"/>',
        '<skeleton label="dog"><points label="nose" points="3,4"/></skeleton>',
        '<tag label="dog"/>',
    ],
)
def test_what_says_not_where_is_a_tag(shape, tmp_path):
    done, boxes = brought_in(export(tmp_path, shape), tmp_path)
    assert boxes == [] and done["images"] == 1 and done["dropped"] == 0
    assert (tmp_path / "out/tags.csv").read_text().endswith(",dog\n")


def test_parts_of_skeletons_are_no_labels(tmp_path):
    parts = "<label><name>dog</name></label><label><name>nose</name><parent>dog</parent></label>"
    assert export(tmp_path, DOG, LABELS.format(parts)).names == ("dog",)


def test_background_and_void_are_no_categories(tmp_path):
    names = LABELS.format("".join(f"<label><name>{name}</name></label>" for name in ("background", "dog", "ignore")))
    contents = export(tmp_path, DOG + DOG.replace("dog", "ignore").replace("30.00", "20.00"), names)
    assert contents.names == ("dog",)
    assert set(np.unique(mask_of(contents, tmp_path))) == {0, 1, 255}


@pytest.mark.parametrize(
    ("inside", "words"),
    [
        ("", "nobody has annotated it"),
        ('<tag label="cow"/>', "its tag 'cow' is no label of the task's"),
        (DOG.replace("dog", "cow"), "polygon 1: has no label of the task's"),
        ('<mask label="dog" left="1" top="1" width="3" height="2" rle="1, 2"/>', "do not fill its 3x2 pixels"),
        ('<mask label="dog" left="1" top="x" width="3" height="2" rle="6"/>', "not all whole numbers"),
        ('<mask label="dog" left="1" top="1" width="99999" height="9" rle="899991"/>', "larger than the picture"),
        ('<box label="dog" xtl="1" ytl="1" xbr="9" ybr="up"/>', "is no left, top, right and bottom"),
        ('<ellipse label="dog" cx="30" cy="20" rx="12"/>', "are no numbers|not a finite number"),
    ],
)
def test_what_cannot_be_used_is_named(inside, words, tmp_path):
    with pytest.raises(UserError, match=words):
        import_dataset(export(tmp_path, inside), tmp_path / "out", "train")


@pytest.mark.parametrize("side", ["", "0", "-30", "9" * 5000])
def test_a_size_that_is_none_is_named(side, tmp_path):
    with pytest.raises(UserError, match="the XML gives its height and width as"):
        import_dataset(export(tmp_path, DOG, size=(side, WIDTH)), tmp_path / "out", "train")


def test_one_unusable_shape_costs_no_other(tmp_path):
    found = mask_of(export(tmp_path, DOG + '<polygon label="cat" points="1,1;2"/>'), tmp_path)
    assert (found[BLOCK] == 1).all() and (found[-1] == 255).all() and "polygon 2" in letters(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<annotations><track id='0'/></annotations>", "tracks of a video; export as 'CVAT for images 1.1'"),
        ("<annotation/>", "not CVAT's XML"),
        ("<annotations>", "not readable XML"),
        ("<annotations></annotations>", "no label that can be learned"),
    ],
)
def test_other_files_are_refused(text, words, tmp_path):
    photo(tmp_path / "images/a.jpg")
    (tmp_path / "annotations.xml").write_text(text)
    with pytest.raises(UserError, match=words):
        read_cvat(str(tmp_path))


def test_a_folder_that_is_no_export_is_told_which_files_make_one(tmp_path):
    with pytest.raises(UserError, match=r"holds neither annotations\.xml nor labelmap\.txt"):
        read_cvat(str(tmp_path))


def test_a_subset_is_the_folder_of_a_picture(tmp_path):
    photo(tmp_path / "images/default/a.jpg", seed=5)
    contents = export(tmp_path, DOG, name="a.jpg")
    assert [sample.name for sample in contents.samples] == ["default/a.jpg"] and not contents.faults


def test_subsets_are_splits(tmp_path):
    export(tmp_path, DOG)
    photo(tmp_path / "images/sub/b.jpg", seed=1)
    path = tmp_path / "annotations.xml"
    [entry] = re.findall("<image.*</image>", path.read_text())
    other = entry.replace("sub/a.jpg", "sub/b.jpg").replace("default", "Validation")
    path.write_text(path.read_text().replace(entry, entry + other))
    _, parts = recognise(tmp_path, None)
    assert {part.split: [one.name for one in part.read().samples] for part in parts} == {
        "train": ["sub/a.jpg"],
        "val": ["sub/b.jpg"],
    }
    done = import_dataset(read_cvat(str(tmp_path)), tmp_path / "out", "train")
    assert any("came into train: 1 of its val" in note for note in done["notes"])
