"""Boxes of every format that has them come in on the stored pixels; a category has all of its boxes, or none."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from test_import_objects import BLOCK, HEIGHT, WIDTH, coco, photo

from components.dataset_import.folders import read_folder
from components.dataset_import.label_studio import read_label_studio
from components.dataset_import.labelme import read_labelme
from components.dataset_import.tfrecords import read_tfrecords
from components.dataset_import.voc_folders import read_voc
from components.dataset_import.writer import import_dataset
from components.dataset_import.yolo import read_yolo
from trainer.data import features
from trainer.data.boxes import TagBox, read_boxes_table
from trainer.errors import UserError

BLOCK_BOX = (10, 5, 30, 15)


def brought_in(contents, place, **how):
    """(what import_dataset returns, (image, category, corners) of each box)"""
    done = import_dataset(contents, place / "out", "train", **how)
    path = place / "out/boxes.csv"
    rows = read_boxes_table(path).strict().rows if path.exists() else ()
    return done, [(row.image, row.category, row.corners) for row in rows]


def of_coco(place, **photo_how):
    return coco(place, [{"bbox": [10, 5, 20, 10]}])


def of_yolo(place, **photo_how):
    photo(place / "images/a.jpg", **photo_how)
    (place / "labels").mkdir()
    (place / "labels/a.txt").write_text(f"0 {20 / WIDTH} {10 / HEIGHT} {20 / WIDTH} {10 / HEIGHT}\n")
    (place / "data.yaml").write_text("names: [dog]\n")
    return read_yolo(str(place))


def of_label_studio(place, value=None, **photo_how):
    photo(place / "photos/a.jpg", **photo_how)
    percent = {"x": 1000 / WIDTH, "y": 500 / HEIGHT, "width": 2000 / WIDTH, "height": 1000 / HEIGHT}
    result = {"id": "r", "type": "rectanglelabels", "original_width": WIDTH, "original_height": HEIGHT}
    result["value"] = (value or percent) | {"rectanglelabels": ["dog"]}
    task = {"id": 1, "data": {"image": "a.jpg"}, "annotations": [{"result": [result]}]}
    (place / "tasks.json").write_text(json.dumps([task]))
    return read_label_studio(str(place / "tasks.json"), str(place / "photos"))


def of_labelme(place, kind="rectangle", points=((10, 5), (30, 15)), **photo_how):
    photo(place / "a.jpg", **photo_how)
    shape = {"label": "dog", "shape_type": kind, "points": points}
    data = {"imagePath": "a.jpg", "imageHeight": HEIGHT, "imageWidth": WIDTH, "shapes": [shape]}
    (place / "a.json").write_text(json.dumps(data))
    return read_labelme(str(place))


def of_voc(place, boxes=("10 5 30 15",), size=(HEIGHT, WIDTH), **photo_how):
    """Boxes as here; the file counts pixels from 1."""
    photo(place / "JPEGImages/a.jpg", **photo_how)
    (place / "Annotations").mkdir()
    objects = ""
    for box in boxes:
        x1, y1, x2, y2 = map(float, box.split())
        corners = f"<xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
        objects += f"<object><name>dog</name><bndbox>{corners}</bndbox></object>"
    size = f"<size><width>{size[1]}</width><height>{size[0]}</height></size>"
    (place / "Annotations/a.xml").write_text(f"<annotation>{size}{objects}</annotation>")
    return read_voc(str(place), ["dog"], None)


@pytest.mark.parametrize("read", [of_coco, of_yolo, of_label_studio, of_labelme, of_voc])
def test_a_box_comes_in_with_its_tag(read, tmp_path):
    done, [(image, category, corners)] = brought_in(read(tmp_path), tmp_path)
    assert (category, done["boxes"]) == ("dog", 1) and (tmp_path / f"out/JPEGImages/{image}.jpg").exists()
    np.testing.assert_allclose(corners, BLOCK_BOX, atol=1e-6)
    assert (tmp_path / "out/tags.csv").read_text() == f"image,tags\n{image},dog\n"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("read", [of_yolo, of_label_studio, of_labelme, of_voc])
def test_a_box_drawn_on_a_turned_picture_lies_on_its_stored_pixels(read, orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    width, height = (HEIGHT, WIDTH) if orientation >= 5 else (WIDTH, HEIGHT)  # of the stored pixels
    drawn = {"size": (0, 0)} if read is of_voc else {}  # an XML without a size is about the picture as people see it
    contents = read(tmp_path, width=width, height=height, exif=exif, **drawn)
    _, [(_, _, corners)] = brought_in(contents, tmp_path)
    seen = Image.fromarray(BLOCK.astype(np.uint8))
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's transpositions from upright to stored
    stored = np.asarray(seen if orientation == 1 else seen.transpose(back[orientation]))
    assert stored.shape == (height, width)
    rows, columns = np.nonzero(stored)
    expected = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    np.testing.assert_allclose(corners, expected, atol=1e-6)


def test_a_box_follows_a_picture_that_is_stored_upright(tmp_path):
    """A PNG that notes an orientation is turned when it comes in, and its boxes with it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(tmp_path / "images/a.png", width=HEIGHT, height=WIDTH, exif=exif)
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text(f"0 {20 / WIDTH} {10 / HEIGHT} {20 / WIDTH} {10 / HEIGHT}\n")
    (tmp_path / "data.yaml").write_text("names: [dog]\n")
    _, [(_, _, corners)] = brought_in(read_yolo(str(tmp_path)), tmp_path)
    assert Image.open(tmp_path / "out/JPEGImages/a.png").size == (WIDTH, HEIGHT)
    np.testing.assert_allclose(corners, BLOCK_BOX, atol=1e-6)


BOX = {"bbox": [10, 5, 20, 10]}
DRAWN = {"segmentation": [[2, 20, 8, 20, 8, 28, 2, 28]]}
CROWD = {"segmentation": {"size": [HEIGHT, WIDTH], "counts": [0, 60, HEIGHT * WIDTH - 60]}, "iscrowd": 1}
OTHER_CROWD = CROWD | {"category_id": 7}
LOST = {"segmentation": [[float("nan")] * 6]}


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        ([BOX, DRAWN], [BLOCK_BOX, (2, 20, 8, 28)]),
        ([DRAWN], []),
        ([BOX, CROWD], [BLOCK_BOX, (0, 0, 2, HEIGHT)]),
        ([BOX, OTHER_CROWD], [BLOCK_BOX]),
        ([BOX, LOST], []),
        ([BOX, LOST | {"bbox": [0, 0, 5, 5]}], [BLOCK_BOX, (0, 0, 5, 5)]),
        ([BOX, {}], []),
        ([{"bbox": [-10, -10, 20, 20]}], [(0, 0, 10, 10)]),
        ([BOX, {"bbox": [100, 100, 20, 20]}], []),
        ([BOX, {"bbox": [3, 3, 0, 4]}], []),
    ],
    ids=[
        "and one drawn",
        "drawn alone",
        "crowd",
        "another's crowd",
        "lost",
        "lost but boxed",
        "tag",
        "clip",
        "out",
        "0",
    ],
)
def test_a_category_has_all_of_its_boxes_or_none(objects, expected, tmp_path):
    _, boxes = brought_in(coco(tmp_path, objects), tmp_path)
    assert sorted(corners for _, _, corners in boxes) == sorted(expected)


def test_points_and_turned_rectangles_surround_nothing(tmp_path):
    percent = {"x": 10, "y": 10, "width": 10, "height": 10}
    kinds = [
        of_label_studio(tmp_path / "turned", percent | {"rotation": 30}),
        of_label_studio(tmp_path / "point", {"x": 10, "y": 10}),
        of_labelme(tmp_path / "dot", "point", ((10, 5),)),
        of_labelme(tmp_path / "line", "line", ((10, 5), (30, 15))),
    ]
    for number, contents in enumerate(kinds):
        assert brought_in(contents, tmp_path / str(number))[1] == []


def test_an_ellipse_has_the_box_around_it(tmp_path):
    value = {"x": 2000 / WIDTH, "y": 1000 / HEIGHT, "radiusX": 1000 / WIDTH, "radiusY": 500 / HEIGHT}
    _, [(_, _, corners)] = brought_in(of_label_studio(tmp_path, value), tmp_path)
    np.testing.assert_allclose(corners, BLOCK_BOX, atol=1e-6)


def test_a_voc_mask_knows_better_than_boxes(tmp_path):
    contents = of_voc(tmp_path)
    (tmp_path / "SegmentationClass").mkdir()
    Image.fromarray(BLOCK.astype(np.uint8)).save(tmp_path / "SegmentationClass/a.png")
    contents = read_voc(str(tmp_path), ["dog"], None)
    assert brought_in(contents, tmp_path)[1] == []


@pytest.mark.parametrize(
    ("box", "says"),
    [
        ("30 5 10 15", "no left, top, right and bottom"),
        ("nan 5 30 15", "no left, top"),
        ("90 5 99 15", "no pixel"),
        ("-.9 -.8 .5 .8", "a box within 0..1: fractions of the picture?"),
    ],
)
def test_a_wrong_box_of_an_xml_is_named(box, says, tmp_path):
    done, boxes = brought_in(of_voc(tmp_path, ["1 1 5 5", box]), tmp_path)
    assert boxes == [] and done["dropped"] == 1 and says in done["first_fault"]


def test_boxes_add_up_and_are_replaced_like_tags(tmp_path):
    brought_in(of_voc(tmp_path), tmp_path)
    brought_in(read_voc(str(tmp_path), ["dog"], None), tmp_path)
    assert len(read_boxes_table(tmp_path / "out/boxes.csv").rows) == 1
    path = tmp_path / "Annotations/a.xml"
    path.write_text(path.read_text().replace("<xmax>30.0", "<xmax>25.0"))
    assert len(brought_in(read_voc(str(tmp_path), ["dog"], None), tmp_path)[1]) == 2
    _, boxes = brought_in(read_voc(str(tmp_path), ["dog"], None), tmp_path, replace=True)
    assert boxes == [("a", "dog", (10, 5, 25, 15))]


def test_another_name_goes_along(tmp_path):
    _, [(_, category, _)] = brought_in(of_coco(tmp_path), tmp_path, prefix="my ")
    assert category == "my dog"


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_records_of_our_own_keep_their_boxes(orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo(tmp_path / "a.jpg", exif=exif)
    boxes = [TagBox(2, 1, 2, 3.5, 4), TagBox(1, 10, 5, WIDTH, 15)]
    example = features.make_example("a", (tmp_path / "a.jpg").read_bytes(), HEIGHT, WIDTH, [1, 2], boxes=boxes)
    with tf.io.TFRecordWriter(str(tmp_path / "a.tfrecord")) as writer:
        writer.write(example.SerializeToString())
    _, found = brought_in(read_tfrecords(str(tmp_path / "a.tfrecord"), ["dog", "cat"]), tmp_path)
    assert sorted(found) == [("a", "cat", (1, 2, 3.5, 4)), ("a", "dog", (10, 5, WIDTH, 15))]


def test_a_table_of_boxes_beside_pictures_is_read_and_is_a_tag(tmp_path):
    photo(tmp_path / "photos/a.jpg")
    photo(tmp_path / "photos/b.jpg", seed=1)
    (tmp_path / "tags.csv").write_text("image,tags\na.jpg,cat\n")
    (tmp_path / "boxes.csv").write_text("image,category,x1,y1,x2,y2\nb.jpg,dog,10,5,30,15\nc.jpg,dog,1,1,2,2\n")
    tables = {"tags": str(tmp_path / "tags.csv"), "boxes": str(tmp_path / "boxes.csv")}
    contents = read_folder(str(tmp_path / "photos"), None, names=None, **tables)
    done, rows = brought_in(contents, tmp_path)
    assert rows == [("b", "dog", BLOCK_BOX)] and done["categories"] == ["cat", "dog"]
    assert (tmp_path / "out/tags.csv").read_text() == "image,tags\na,cat\nb,dog\n"
    assert done["dead"] == 1 and "line 3: no picture 'c.jpg'" in done["first_fault"]


def test_commas_part_decimals_in_tables_of_semicolons_alone(tmp_path):
    table = tmp_path / "boxes.csv"
    table.write_text("image;category;x1;y1;x2;y2\na.jpg;dog;1,5;2;3;4,5\n")
    assert read_boxes_table(table).strict().rows[0].corners == (1.5, 2, 3, 4.5)
    table.write_text('image,category,x1,y1,x2,y2\na.jpg,dog,"1,200","1,300","2,100","2,400"\n')
    with pytest.raises(UserError, match="line 2: x1 is '1,200', must be a number of pixels"):
        read_boxes_table(table).strict()


def test_boxes_of_coco_in_fractions_are_refused_by_name(tmp_path):
    one = [{"bbox": [0.1, 0.2, 0.5, 0.6]}, {"bbox": [0.1, 0.2, 0.5, 0.6], "attributes": {"rotation": 30}}]
    with pytest.raises(UserError, match="annotation 1: a box within 0..1: fractions of the picture?"):
        brought_in(coco(tmp_path, one), tmp_path)
    done, boxes = brought_in(coco(tmp_path, [*one, BOX | {"category_id": 7}]), tmp_path)
    assert done["dropped"] == 2 and [category for _, category, _ in boxes] == ["cat"]
