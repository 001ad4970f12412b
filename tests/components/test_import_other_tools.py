"""What other tools and public datasets write in ways of their own: it comes in right, or a line says what is wrong."""

import base64
import json

import numpy as np
import pytest
from PIL import Image
from test_import_names import letters, mask, photo, rows
from test_import_objects import BLOCK, HEIGHT, POINTS, WIDTH, brought_in, coco

from components.dataset_import.folders import read_folder
from components.dataset_import.labelme import read_labelme
from components.dataset_import.voc_folders import read_voc
from components.dataset_import.writer import import_dataset
from trainer.data.category_names import read_names
from trainer.data.pictures import Header
from trainer.errors import UserError

RUNS = {"size": [HEIGHT, WIDTH], "counts": [305, 10] + [20, 10] * 19 + [315]}  # columns of 30: BLOCK
BRUSH = {"iscrowd": 1, "segmentation": RUNS, "attributes": {"occluded": False}}


def test_what_cvat_drew_with_a_brush_is_an_object(tmp_path):
    """Datumaro, which writes CVAT's COCO, marks every mask as crowd."""
    done, found, tags, _ = brought_in(coco(tmp_path, [BRUSH]), tmp_path)
    np.testing.assert_array_equal(found == 1, BLOCK)
    assert tags == ["a,dog"] and any("1 regions marked as crowd are objects" in note for note in done["notes"])


def test_crowds_that_are_void_are_told(tmp_path):
    crowd = {"iscrowd": 1, "segmentation": RUNS}
    done, found, _, _ = brought_in(coco(tmp_path, [crowd, {"segmentation": [POINTS], "category_id": 7}]), tmp_path)
    [note] = done["notes"]
    assert note.startswith("1 crowd regions are void, and dog has no others: import coco --crowd object")
    assert coco(tmp_path, [crowd], crowd="object").notes == []


def test_coco_annotators_box_is_a_box_though_it_has_corners(tmp_path):
    corners = [10, 5, 30, 5, 30, 15, 10, 15]
    one = {"isbbox": True, "segmentation": [corners], "bbox": [10, 5, 20, 10]}
    done, found, tags, _ = brought_in(coco(tmp_path, [one]), tmp_path)
    assert done["boxes"] == 1 and tags == ["a,dog"] and not (found == 1).any()


def test_lvis_pictures_are_named_by_their_address(tmp_path):
    images = [{"id": 1, "coco_url": "http://images.cocodataset.org/train2017/a.jpg", "height": 30, "width": 40}]
    _, found, _, _ = brought_in(coco(tmp_path, [{"segmentation": [POINTS]}], images=images), tmp_path)
    assert (found == 1).any()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("1: cat\n2: dog\n", ["cat", "dog"]),
        ("0 background\n1 cat\n2 dog\n", ["cat", "dog"]),
        ("1\tcat\n2\tdog", ["cat", "dog"]),
        ("1 euro\n2 euro\n", ["1 euro", "2 euro"]),  # names
        ("2 euro\n5 euro\n", ["2 euro", "5 euro"]),
        ("dog, brown\ncat, red\n", ["dog, brown", "cat, red"]),
    ],
)
def test_lines_that_begin_with_their_ids(text, names, tmp_path):
    (tmp_path / "names.txt").write_text(text)
    assert read_names(tmp_path / "names.txt") == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "0: unlabeled\n1: cat\n2: dog\n",
            "gives 'unlabeled' the id 0; .* for .*--colours, lines name:id,id,id",
        ),
        ("0: road\n1: sidewalk\n", "gives 'road' the id 0"),
        ("7 road\n8 sidewalk\n", "gives 'road' the id 7"),
        ("Idx,Ratio,Name\n1,0.15,wall\n2,0.11,sky\n", "line 2 is a row of a table, not a name"),
        ("name,r,g,b\nwall,120,120,120\nsky,6,230,230\n", "Colours, as name:r,g,b, are for --colours"),
        ("1 wall 40 0 0\n2 sky 0 40 0\n", "line 2 is a row of a table"),
    ],
)
def test_tables_are_no_lists_of_names(text, message, tmp_path):
    (tmp_path / "names.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        read_names(tmp_path / "names.txt")


def pictures(folder, number=3, ending=""):
    for i in range(number):
        photo(folder / f"images/{i}{ending}.jpg", seed=i)


def test_ids_that_seem_to_count_the_first_name_as_0_are_told(tmp_path):
    pictures(tmp_path)
    for i in range(3):
        mask(tmp_path / f"masks/{i}.png", i)
    names = ["road", "wall", "sky"]
    [note] = read_folder(str(tmp_path / "images"), str(tmp_path / "masks"), None, names).notes
    assert note.startswith("no mask has the id 3 of 'sky', the last name. If masks count 'road' as 0, it has become")
    (tmp_path / "tags.csv").write_text("image,tags\n0.jpg,sky\n")
    tags = str(tmp_path / "tags.csv")
    assert not read_folder(str(tmp_path / "images"), str(tmp_path / "masks"), tags, names).notes
    assert not read_folder(str(tmp_path / "images"), str(tmp_path / "masks"), None, names[:2]).notes


def test_the_colours_table_that_messages_speak_of_says_what_ids_mean(tmp_path):
    pictures(tmp_path)
    for i in range(3):
        mask(tmp_path / f"masks/{i}.png", i)
    with pytest.raises(UserError, match="'void' is no category: .* --colours, lines name:id,id,id such as"):
        read_names_of(tmp_path, "void\nbuilding\nbackground\n")
    (tmp_path / "ids.txt").write_text("void:0,0,0\nbackground:1,1,1\nbuilding:2,2,2\n")
    contents = read_folder(
        str(tmp_path / "images"), str(tmp_path / "masks"), None, None, colours=str(tmp_path / "ids.txt")
    )
    import_dataset(contents, tmp_path / "out", "train")
    found = [np.array(Image.open(tmp_path / f"out/SegmentationClass/{i}.png")) for i in range(3)]
    assert [set(ids.ravel().tolist()) for ids in found] == [{255}, {0}, {1}]


def read_names_of(folder, text):
    (folder / "names.txt").write_text(text)
    return read_names(folder / "names.txt")


@pytest.mark.parametrize(
    ("ending", "masks"), [("_sat", "_mask"), ("_training", "_manual1"), ("_leftImg8bit", ""), ("", "_L")]
)
def test_endings_of_all_pictures_and_of_all_masks_do_not_count(ending, masks, tmp_path):
    pictures(tmp_path, ending=ending)
    for i in range(3):
        mask(tmp_path / f"masks/{i}{masks}.png", 1)
    import_dataset(
        read_folder(str(tmp_path / "images"), str(tmp_path / "masks"), None, ["dog"]), tmp_path / "out", "train"
    )
    assert len(rows(tmp_path / "out")) == 3 and not letters(tmp_path / "out")


def test_cvats_voc_has_masks_by_colours_and_boxes(tmp_path):
    for i in range(2):
        photo(tmp_path / f"JPEGImages/{i}.jpg", seed=i)
    (tmp_path / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nbackground:0,0,0::\ndog:9,200,9::\n")
    colours = np.zeros((10, 12, 3), np.uint8)
    colours[2:5, 3:8] = 9, 200, 9
    (tmp_path / "SegmentationClass").mkdir()
    Image.fromarray(colours).save(tmp_path / "SegmentationClass/0.png")
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations/1.xml").write_text(
        "<annotation><filename>1.jpg</filename><size><width>12</width><height>10</height></size><object><name>dog"
        "</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>6</xmax><ymax>7</ymax></bndbox></object></annotation>"
    )
    done = import_dataset(read_voc(str(tmp_path), None, None), tmp_path / "out", "train")
    assert (done["masks"], done["boxes"], done["categories"]) == (1, 1, ["dog"])
    np.testing.assert_array_equal(
        np.array(Image.open(tmp_path / "out/SegmentationClass/0.png")) == 1, colours[..., 0] > 0
    )


@pytest.mark.parametrize("text", ["9,200,9", "9 200 9\tdog", "dog,9,200,9", "dog\t9\t200\t9", '"dog","9","200","9"'])
def test_masks_beside_pictures_whose_names_differ_in_their_endings(text, tmp_path):
    (tmp_path / "colours.txt").write_text(text if "dog" in text else f"dog:{text}\nbackground:0,0,0\n")
    for i in range(3):
        photo(tmp_path / f"set/{i}_sat.jpg", seed=i)
        Image.new("RGB", (12, 10), (9, 200, 9)).save(tmp_path / f"set/{i}_mask.png")
    folder, colours = str(tmp_path / "set"), str(tmp_path / "colours.txt")
    import_dataset(read_folder(folder, folder, None, None, colours=colours), tmp_path / "out", "train")
    assert rows(tmp_path / "out") == ["0_sat,dog", "1_sat,dog", "2_sat,dog"]


def test_pages_of_a_tiff_are_no_picture_and_a_smaller_copy_is_none(tmp_path):
    pages = [Image.new("RGB", (40, 30), (i, 0, 0)) for i in range(3)]
    (tmp_path / "images").mkdir()
    pages[0].save(tmp_path / "images/stack.tif", save_all=True, append_images=pages[1:])
    pages[1].encoderinfo = {"tiffinfo": {254: 4}}  # NewSubfileType: a mask of the first page
    more = [pages[1], pages[2].resize((20, 15))]
    pages[0].save(tmp_path / "images/pyramid.tif", save_all=True, append_images=more)
    (tmp_path / "tags.csv").write_text("image,tags\nstack.tif,dog\npyramid.tif,dog\n")
    import_dataset(
        read_folder(str(tmp_path / "images"), None, str(tmp_path / "tags.csv"), None), tmp_path / "out", "train"
    )
    assert rows(tmp_path / "out") == ["pyramid,dog"]
    [letter] = letters(tmp_path / "out")
    assert letter["key"] == "stack.tif" and letter["reason"].startswith(
        "has 3 pages; save each as a picture of its own"
    )


def drawn(contents):
    [sample] = contents.samples
    return sample.mask(Header(HEIGHT, WIDTH, 1, "JPEG"))


@pytest.mark.parametrize("size", [(30.0, 40.0), ("30", "40"), (0, 0), ("", None)])
def test_sizes_in_coco_may_be_text_or_missing(size, tmp_path):
    np.testing.assert_array_equal(drawn(coco(tmp_path, [{"segmentation": [POINTS]}], size=size)).ids == 1, BLOCK)


@pytest.mark.parametrize("wrap", [list, lambda points: [points]])
def test_outlines_in_coco_may_be_pairs(wrap, tmp_path):
    pairs = np.reshape(POINTS, (-1, 2)).tolist()
    np.testing.assert_array_equal(drawn(coco(tmp_path, [{"segmentation": wrap(pairs)}])).ids == 1, BLOCK)


def test_labelme_3_gives_no_size(tmp_path):
    photo(tmp_path / "a.jpg", size=(WIDTH, HEIGHT))
    shape = {"label": "dog", "points": np.reshape(POINTS, (-1, 2)).tolist(), "line_color": None}
    (tmp_path / "a.json").write_text(json.dumps({"imagePath": "a.jpg", "imageData": None, "shapes": [shape]}))
    np.testing.assert_array_equal(drawn(read_labelme(str(tmp_path))).ids == 1, BLOCK)


def test_what_lies_on_top_is_measured(tmp_path):
    """Some areas are missing, some are shares of the picture; an object of two parts is as large as both."""
    square = lambda x, side: [x, 2, x + side, 2, x + side, 2 + side, x, 2 + side]  # noqa: E731
    objects = [
        {"segmentation": [square(2, 10)], "category_id": 7, "area": 1200},
        {"segmentation": [square(0, 20), square(20, 4)], "area": 0.9},
        {"segmentation": [square(19, 6)], "category_id": 7},
    ]
    ids = drawn(coco(tmp_path, objects)).ids
    assert [ids[y, x] for y, x in ((5, 5), (15, 15), (4, 21))] == [2, 1, 2]


def test_panoptic_pixels_of_no_segment_are_void(tmp_path):
    photo(tmp_path / "photos/a.jpg", size=(WIDTH, HEIGHT))
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[:5], pixels[5:10] = (7, 0, 0), (9, 0, 0)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    segments = [{"id": 7, "category_id": 5}, {"id": 9, "category_id": 7}]
    annotation = {"file_name": "a.png", "segments_info": segments, "category_id": 5}
    categories = [{"id": 5, "name": "dog", "isthing": 1}, {"id": 7, "name": "grass", "isthing": 0}]
    contents = coco(tmp_path, [annotation], categories=categories, masks=str(tmp_path))
    assert [drawn(contents).ids[y, 0] for y in (2, 7, 20)] == [1, 0, 255] and not contents.notes
    for entry in categories:
        entry["isthing"] = 1
    assert "no pixel is background" in coco(tmp_path, [annotation], categories=categories, masks=str(tmp_path)).notes[0]


def labelme(path, **more):
    shape = {"label": "dog", "points": np.reshape(POINTS, (-1, 2)).tolist()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"imagePath": "C:\\x\\a.jpg", "shapes": [shape], **more}))


def test_a_picture_in_labelmes_json_alone_is_taken_from_there(tmp_path):
    image = photo(tmp_path / "a.jpg", size=(WIDTH, HEIGHT)).read_bytes()
    labelme(tmp_path / "set/one.json", imageData=base64.b64encode(image).decode())
    labelme(tmp_path / "set/two.json", imageData="no base64")
    labelme(tmp_path / "set/three.json", imageData=None)
    done = import_dataset(read_labelme(str(tmp_path / "set")), tmp_path / "out", "train")
    assert (tmp_path / "out/JPEGImages/one.jpg").read_bytes() == image and rows(tmp_path / "out") == ["one,dog"]
    reasons = {letter["key"]: letter["reason"] for letter in letters(tmp_path / "out")}
    assert reasons.keys() == {"two.json", "three.json"} and done["dead"] == 2
    assert all("no picture 'C:\\x\\a.jpg'" in reason for reason in reasons.values())


def test_pictures_that_labelme_has_not_annotated_are_counted(tmp_path):
    for number, key in enumerate("abc"):
        photo(tmp_path / f"{key}.jpg", seed=number)
    labelme(tmp_path / "a.json")
    [note] = read_labelme(str(tmp_path)).notes
    assert note.startswith("2 of 3 pictures have no JSON") and "--max-dead-share 1" in note
