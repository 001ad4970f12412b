"""Boxes: their table, their place on turned pictures, the pixels they surround, and their way through an example."""

import numpy as np
import pytest

from trainer.data import features
from trainer.data.boxes import TagBox, clipped, pixels_of, read_boxes_table, stored_box, upright_box, write_boxes_table
from trainer.data.pictures import Header, upright_pixels
from trainer.errors import ImageFault, UserError

IDS = {"dog": 1, "cat": 2}


def table(tmp_path, *lines, header="image,category,x1,y1,x2,y2"):
    path = tmp_path / "boxes.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return read_boxes_table(path)


def test_a_table_groups_the_boxes_of_a_picture(tmp_path):
    read = table(tmp_path, "a.jpg,dog,1,2,3.5,4", "b.jpg,cat,0,0,1,1", "", 'a.jpg,"cat",-5,0,9,9')
    found, faults = read.by_image(lambda name: name[0], IDS)
    assert found == {"a": (TagBox(1, 1, 2, 3.5, 4), TagBox(2, -5, 0, 9, 9)), "b": (TagBox(2, 0, 0, 1, 1),)}
    assert faults == []


def test_spreadsheets_may_write_it(tmp_path):
    path = tmp_path / "boxes.csv"
    path.write_bytes("Image;Category;X1;Y1;X2;Y2\r\na;dog;0,5;1;2;3\r\n".encode("utf-16"))
    assert read_boxes_table(path).rows[0].corners == (0.5, 1, 2, 3)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("a,dog,1,2,3", "expected image,category,x1,y1,x2,y2"),
        (",dog,1,2,3,4", "expected image,category"),
        ("a,,1,2,3,4", "expected image,category"),
        ("a,dog,one,2,3,4", "x1 is 'one', must be a number of pixels"),
        ("a,dog,1,2,nan,4", "not a finite number"),
        ("a,dog,1,2,inf,4", "not a finite number"),
        ("a,dog,3,2,1,4", "the box is inverted: 3 to 1 and 2 to 4"),
        ("a,dog,1,5,3,4", "the box is inverted"),
        ("a,dog,1,2,1,4", "the box is empty"),
        ("a,dog,1,2,3,2", "the box is empty"),
        ("a,Dog,1,2,3,4", "unknown category 'Dog'; write dog"),
        ("a,cow,1,2,3,4", "unknown category 'cow'; known: dog, cat"),
        ("z,dog,1,2,3,4", "no picture z; correct the name"),
        ('a,"dog,1,2,3,4', "a quote is opened"),
    ],
)
def test_a_wrong_line_costs_itself_and_is_named(tmp_path, line, says):
    def find(name):
        if name == "z":
            raise ImageFault("read", "no picture z")
        return name

    found, [(number, what)] = table(tmp_path, "a,cat,0,0,1,1", line).by_image(find, IDS)
    assert found == {"a": (TagBox(2, 0, 0, 1, 1),)} and number == 3 and says in what


def test_another_header_is_refused(tmp_path):
    with pytest.raises(UserError, match="line 1 must be the header image,category,x1,y1,x2,y2, not 'image,tags'"):
        table(tmp_path, "a,dog", header="image,tags")


def test_fractions_are_refused(tmp_path):
    with pytest.raises(UserError, match="boxes.csv: every box lies within 0..1: fractions of the picture?"):
        table(tmp_path, "a,dog,.1,.2,.8,.9", "b,dog,0,0,1,1")


def test_what_is_written_is_read_again(tmp_path):
    boxes = {"b": [("cat", (0.125, 1 / 3, 7, 1234567.5))], "a": [("dog", (0, 0, 1, 1)), ("dog", (2, 2, 3, 3))]}
    (tmp_path / "boxes.csv").write_bytes(write_boxes_table(boxes))
    rows = read_boxes_table(tmp_path / "boxes.csv").strict().rows
    assert [(row.image, row.category) for row in rows] == [("a", "dog"), ("a", "dog"), ("b", "cat")]
    np.testing.assert_allclose(rows[2].corners, boxes["b"][0][1], rtol=1e-9)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_box_turns_with_its_picture(orientation):
    box, picture = TagBox(1, 2, 1, 5, 3), Header(6, 9, orientation, "JPEG")
    pixels = np.zeros(picture.size, np.uint8)
    pixels[1:3, 2:5] = 1
    rows, columns = np.nonzero(upright_pixels(pixels, orientation))
    turned = upright_box(box, picture)
    assert turned.corners == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert stored_box(turned, picture) == box


def test_boxes_are_clipped_and_those_outside_refused():
    assert clipped(TagBox(1, -3, 2.5, 99, 4), 10, 20).corners == (0, 2.5, 20, 4)
    for corners in ((20, 0, 30, 5), (-5, 0, 0, 5), (0, 10, 5, 12), (0, -4, 5, 0)):
        with pytest.raises(ImageFault, match="lies outside the picture, which is 20x10"):
            clipped(TagBox(1, *corners), 10, 20)


@pytest.mark.parametrize("scale", [(1, 1), (0.5, 0.5), (0.3, 0.7), (0.01, 0.01), (2, 3)])
def test_the_pixels_of_a_box_are_those_whose_middles_it_surrounds(scale):
    height, width = (max(1, round(side * s)) for side, s in zip((40, 60), scale, strict=True))
    scale = height / 40, width / 60
    rng = np.random.default_rng(0)
    y, x = (np.arange(height) + 0.5) / scale[0], (np.arange(width) + 0.5) / scale[1]
    for _ in range(200):
        (x1, x2), (y1, y2) = np.sort(rng.uniform(0, 60, 2)), np.sort(rng.uniform(0, 40, 2))
        rows, columns = pixels_of(TagBox(1, x1, y1, x2, y2), (height, width), scale)
        for chosen, middles, low, high in ((rows, y, y1, y2), (columns, x, x1, x2)):
            surrounded = np.flatnonzero((middles >= low) & (middles < high))
            found = np.arange(len(middles))[chosen]
            np.testing.assert_array_equal(found, surrounded) if surrounded.size else None
            assert len(found) == max(1, len(surrounded))


def test_an_example_carries_boxes_and_is_the_same_without():
    boxes = (TagBox(1, 0, 0.5, 2, 3), TagBox(3, 1, 1, 4, 4))
    example = features.make_example("k", b"", 5, 6, [1, 3], boxes=boxes)
    assert features.boxes_of(type(example).FromString(example.SerializeToString())) == boxes
    plain = features.make_example("k", b"", 5, 6, [1, 3])
    before = plain.SerializeToString(deterministic=True)
    assert features.boxes_of(plain) == () and plain.SerializeToString(deterministic=True) == before
    assert not {features.BOX_TAGS, features.BOX_CORNERS} & set(plain.features.feature)
