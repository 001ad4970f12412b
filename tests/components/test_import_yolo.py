"""YOLO's labels: where they are found, and what is no label; a picture is not background because they are elsewhere."""

import json

import pytest
from test_import_objects import HEIGHT, WIDTH, photo

from components.dataset_import.yolo import read_yolo
from trainer.data.pictures import Header
from trainer.errors import UserError

OUTLINE = "0 .1 .1 .5 .1 .5 .5 .1 .5"


def yolo(place, files, **more):
    """files: picture -> its file of labels."""
    for number, (picture, text) in enumerate(files.items()):
        photo(place / picture, seed=number)
        (place / text).parent.mkdir(parents=True, exist_ok=True)
        (place / text).write_text(OUTLINE)
    (place / "data.yaml").write_text(json.dumps({"names": ["dog", "cat"], **more}))
    return str(place)


def drawn(sample):
    return sample.mask(Header(HEIGHT, WIDTH, 1, "JPEG"))


@pytest.mark.parametrize(
    ("picture", "text"),
    [
        ("images/a.jpg", "labels/a.txt"),
        ("Images/a.jpg", "Labels/a.txt"),
        ("images/site/images/a.jpg", "images/site/labels/a.txt"),
        ("images/IMG_1.JPG", "labels/img_1.txt"),
        ("images/caf\u00e9.jpg", "labels/cafe\u0301.txt"),
        ("photos/a.jpg", "photos/a.txt"),
    ],
)
def test_labels_are_found_as_yolo_finds_them(picture, text, tmp_path):
    contents = read_yolo(yolo(tmp_path, {picture: text}))
    [sample] = contents.samples
    assert drawn(sample).shown == (1,) and not contents.faults


def test_names_that_differ_in_case_alone_keep_their_own_labels(tmp_path):
    contents = read_yolo(yolo(tmp_path, {"images/A.jpg": "labels/A.txt", "images/a.jpg": "labels/x.txt"}))
    shown = {sample.name: drawn(sample).shown for sample in contents.samples}
    assert shown == {"images/A.jpg": (1,), "images/a.jpg": ()}
    assert [letter["key"] for letter in contents.faults] == ["labels/x.txt"]


def test_labels_that_are_nowhere_are_no_background(tmp_path):
    root = yolo(tmp_path, {"images/a.jpg": "annotations/a.txt", "images/b.jpg": "annotations/b.txt"})
    with pytest.raises(
        UserError, match=r"no picture has .* images/a.jpg must be in labels/a.txt; move annotations/a.txt there"
    ):
        read_yolo(root)


def test_labels_behind_a_link_are_no_background(tmp_path):
    files = {f"images/{name}.jpg": f"../store/{name}.txt" for name in "ab"}
    root = yolo(tmp_path / "set", files)
    (tmp_path / "set/labels").symlink_to("../store")
    contents = read_yolo(root)
    assert not contents.samples and len(contents.faults) == 3
    assert "its labels lie behind labels, a link out of" in contents.faults[1]["reason"]
    (tmp_path / "set/labels").unlink()
    (tmp_path / "set/labels").mkdir()
    (tmp_path / "set/labels/a.txt").symlink_to("../../store/a.txt")
    assert "behind labels/a.txt" in read_yolo(root).faults[1]["reason"]
    followed = read_yolo(root, follow_links=True)
    assert [drawn(sample).shown for sample in followed.samples] == [(1,), ()] and not followed.faults


@pytest.mark.parametrize("line", ["0 .5 .5 .4 .4 .3 .3 2 .6 .6 1", "0 12 8 20 8 20 20"])
def test_what_is_no_fraction_is_no_outline(line, tmp_path):
    root = yolo(tmp_path, {"images/a.jpg": "labels/a.txt"})
    (tmp_path / "labels/a.txt").write_text(f"{OUTLINE}\n{line}\n")
    [sample] = read_yolo(root).samples
    [(where, reason)] = drawn(sample).dropped
    assert where == "line 2" and "is no fraction of the picture" in reason and "kpt_shape" in reason


def test_a_class_may_be_written_as_0_0(tmp_path):
    root = yolo(tmp_path, {"images/a.jpg": "labels/a.txt"})
    (tmp_path / "labels/a.txt").write_text(f"{OUTLINE.replace('0', '1.0', 1)}\n{OUTLINE.replace('0', '0.5', 1)}\n")
    [sample] = read_yolo(root).samples
    assert drawn(sample).shown == (2,)
    assert [reason for _, reason in drawn(sample).dropped] == ["'0.5 .1 .1 .5 .1 .5 .5 .1 .5' is no class and numbers"]


def test_pictures_that_are_links_out_alone_are_named(tmp_path):
    photo(tmp_path / "store/a.jpg")
    (tmp_path / "set").mkdir()
    (tmp_path / "set/images").symlink_to("../store")
    (tmp_path / "set/data.yaml").write_text("names: [dog]\n")
    [letter] = read_yolo(str(tmp_path / "set")).faults
    assert letter["key"] == "images"
