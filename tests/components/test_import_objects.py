"""The object is the unit of failure: what cannot be drawn is dropped, named and void; the picture keeps the rest."""

import json

import numpy as np
import pytest
from PIL import Image

from components.dataset_import.brush import brush_rle
from components.dataset_import.coco import read_coco
from components.dataset_import.label_studio import read_label_studio
from components.dataset_import.labelme import read_labelme
from components.dataset_import.voc_folders import read_voc
from components.dataset_import.writer import import_dataset
from components.dataset_import.yolo import read_yolo
from trainer.errors import UserError

HEIGHT, WIDTH = 30, 40
BLOCK = np.zeros((HEIGHT, WIDTH), bool)
BLOCK[5:15, 10:30] = True
POINTS = [10, 5, 30, 5, 30, 15, 10, 15]
NAN = float("nan")


def photo(path, width=WIDTH, height=HEIGHT, seed=0, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path, **how)


def brought_in(contents, place):
    """(what import_dataset returns, mask of the one picture or None, its line in tags.csv, letters)"""
    done = import_dataset(contents, place / "out", "train")
    masks = sorted((place / "out/SegmentationClass").iterdir())
    rows = (place / "out/tags.csv").read_text().split("\n")[1:-1]
    letters = [json.loads(line) for line in (place / "out/import_faults.jsonl").read_text().splitlines()]
    return done, np.array(Image.open(masks[0])) if masks else None, rows, letters


def coco(place, annotations, size=(HEIGHT, WIDTH), categories=None, images=None, **how):
    photo(place / "photos/a.jpg")
    data = {
        "images": images or [{"id": 1, "file_name": "a.jpg", "height": size[0], "width": size[1]}],
        "categories": categories or [{"id": 5, "name": "dog"}, {"id": 7, "name": "cat"}],
        "annotations": [{"id": i, "image_id": 1, "category_id": 5, **one} for i, one in enumerate(annotations, 1)],
    }
    (place / "coco.json").write_text(json.dumps(data))
    return read_coco(str(place / "coco.json"), str(place / "photos"), **how)


GOOD = {"segmentation": [POINTS], "category_id": 7}
BAD = {
    "two points": ([[20, 20, 24, 24]], "a polygon of 2 points"),
    "no points": ([[]], "a polygon of 0 points"),
    "an odd number of coordinates": ([[1, 2, 3, 4, 5, 6, 7]], "an odd number"),
    "not a number": ([[NAN] * 6], "not a finite number"),
    "null": ([[1, 2, None, 4, 5, 6]], "not a finite number"),
    "far outside": ([[5, 5, 1e9, 5, 9, 9]], "the picture is 40x30"),
    "text": ([["a", "b", "c", "d", "e", "f"]], "are no numbers"),
    "a lonely number": (7, "an odd number"),
    "fractions": ([[0.1, 0.1, 0.9, 0.1, 0.9, 0.9]], "a polygon within 0..1: fractions of the picture?"),
    "runs too short": ({"size": [HEIGHT, WIDTH], "counts": [10, 20]}, "sum to 30, the picture has 1200"),
    "runs too long": ({"size": [HEIGHT, WIDTH], "counts": [10, 10**9]}, "sum to 1000000010"),
    "negative runs": ({"size": [HEIGHT, WIDTH], "counts": [-5, 1205]}, "sum to"),
    "runs of another size": ({"size": [10, 10], "counts": [5, 95]}, "run lengths for [10, 10]"),
    "runs of a size that lies": ({"size": [100000, 100000], "counts": [5, 95]}, "run lengths for [100000, 100000]"),
    "packed runs with other letters": ({"size": [HEIGHT, WIDTH], "counts": "\u00e9\u00e9"}, "packed run lengths"),
    "packed runs cut short": ({"size": [HEIGHT, WIDTH], "counts": "\x6f"}, "end too early"),
    "runs without counts": ({"size": [HEIGHT, WIDTH]}, "not a finite number"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_object_costs_itself_alone(kind, tmp_path):
    shape, words = BAD[kind]
    done, mask, rows, [letter] = brought_in(coco(tmp_path, [{"segmentation": shape}, GOOD]), tmp_path)
    assert (done["images"], done["dead"], done["dropped"]) == (1, 0, 1)
    assert rows == ["a,cat"] and ((mask == 2) == BLOCK).all() and not (mask == 1).any()
    assert letter["key"] == "a.jpg" and letter["stage"] == "object"
    assert letter["reason"].startswith("annotation 1") and words in letter["reason"]
    assert "1 objects of 1 images could not be used; they are void" in done["notes"]


@pytest.mark.parametrize("kind", BAD)
def test_a_picture_of_which_no_object_can_be_used_is_left_out_and_named(kind, tmp_path):
    shape, words = BAD[kind]
    with pytest.raises(UserError, match="no image came in: a.jpg: none of its objects can be used: annotation 1"):
        brought_in(coco(tmp_path, [{"segmentation": shape}]), tmp_path)
    [letter] = [json.loads(line) for line in (tmp_path / "out/import_faults.jsonl").read_text().splitlines()]
    assert words in letter["reason"] and not list((tmp_path / "out/JPEGImages").iterdir())


def test_where_a_dropped_object_may_have_been_is_void(tmp_path):
    boxed = {"segmentation": [[NAN] * 6], "bbox": [0, 20, 40, 10]}
    _, mask, _, _ = brought_in(coco(tmp_path / "box", [boxed, GOOD]), tmp_path / "box")
    assert (mask[20:] == 255).all() and (mask[:20][~BLOCK[:20]] == 0).all()
    nowhere = {"segmentation": [[NAN] * 6]}
    _, mask, _, _ = brought_in(coco(tmp_path / "nowhere", [nowhere, GOOD]), tmp_path / "nowhere")
    assert (mask[~BLOCK] == 255).all()
    speck = {"segmentation": [[2, 20, 4, 22]]}
    _, mask, _, _ = brought_in(coco(tmp_path / "speck", [speck, GOOD]), tmp_path / "speck")
    assert (mask[20:22, 2:4] == 255).all() and (mask == 255).sum() <= 9


@pytest.mark.parametrize("empty", [[], None, {}])
def test_a_coco_box_without_a_segmentation_is_a_tag_and_void(empty, tmp_path):
    box = {"segmentation": empty, "bbox": [10, 5, 20, 10]}
    done, mask, rows, letters = brought_in(coco(tmp_path, [box]), tmp_path)
    assert rows == ["a,dog"] and ((mask == 255) == BLOCK).all() and (mask[~BLOCK] == 0).all() and not letters
    assert "1 of 1 masks show no category (1 only void and background)" in done["notes"]


def test_coco_as_tools_write_it(tmp_path):
    """A polygon that is in no list, ids as text, an area that is missing, a background category, an unused root."""
    categories = [
        {"id": 0, "name": "pets", "supercategory": "none"},
        {"id": "1", "name": " dog ", "supercategory": "pets"},
        {"id": 2, "name": "_background_", "supercategory": "pets"},
        {"id": 3, "name": 7, "supercategory": "pets"},
    ]
    objects = [
        {"category_id": 1, "segmentation": POINTS, "area": None},
        {"category_id": 3.0, "segmentation": [[12, 7, 16, 7, 16, 11, 12, 11]]},
        {"category_id": 2, "segmentation": [[0, 0, 9, 0, 9, 9]]},
    ]
    done, mask, rows, letters = brought_in(coco(tmp_path, objects, categories=categories), tmp_path)
    assert done["categories"] == ["dog", "7"] and rows == ["a,dog|7"] and not letters
    assert (mask > 0).sum() == BLOCK.sum() and (mask[7:11, 12:16] == 2).all() and mask[6, 11] == 1
    assert any("'pets' is the root of the others and nothing shows it" in note for note in done["notes"])


@pytest.mark.parametrize(
    ("categories", "words"),
    [
        ([{"id": 5, "name": ""}], "category's name is empty"),
        ([{"id": 5, "name": "a|b"}], "separates tags"),
        ([{"id": 5, "name": "a\nb"}], "cannot be printed"),
        ([{"id": 5, "name": "Dog"}, {"id": 6, "name": "dog"}], "differ in case alone"),
        ([{"id": 5, "name": "dog"}, {"id": "5", "name": "cat"}], "the id 5 is given twice"),
        ([{"name": "dog"}], "has no id"),
        ([{"id": 5, "name": "background"}], "no category has a name that can be learned"),
    ],
)
def test_coco_categories_that_ids_cannot_rely_on_are_refused(categories, words, tmp_path):
    with pytest.raises(UserError, match=words):
        coco(tmp_path, [{"segmentation": [POINTS]}], categories=categories)


def test_objects_of_unknown_categories_and_images_are_named(tmp_path):
    objects = [
        {"category_id": 99, "segmentation": [POINTS]},
        {"segmentation": [[0, 20, 9, 20, 9, 29]]},
        {"image_id": 4},
    ]
    done, mask, rows, letters = brought_in(coco(tmp_path, objects), tmp_path)
    assert rows == ["a,dog"] and (mask[BLOCK] == 255).all()
    reasons = " ".join(letter["reason"] for letter in letters)
    assert "annotation 1: its category_id 99 is none of the categories" in reasons
    assert "annotation 3: its image_id 4 is no image" in reasons


@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), (60, 80), (2**32 + 1, 1), ("x", "40"), (0, 40), (True, None)])
def test_a_size_that_is_not_the_pictures_is_refused_by_name(size, tmp_path):
    with pytest.raises(UserError, match=r"a.jpg: (its mask is \d+x\d+ but the picture is 40x30|the JSON gives)"):
        brought_in(coco(tmp_path, [GOOD], size=size), tmp_path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_objects_drawn_upright_fit_the_stored_pixels(orientation, tmp_path):
    """Label Studio and labelme show pictures upright; so is every size in their files."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo(tmp_path / "photos/a.jpg", exif=exif)
    stored = Image.fromarray(BLOCK)  # what the object covers in the stored pixels
    turn = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}.get(orientation)  # Image.Transpose, as ImageOps has it
    seen = np.array(stored if turn is None else stored.transpose(turn))
    height, width = seen.shape
    (y0, y1), (x0, x1) = (np.flatnonzero(seen.any(axis))[[0, -1]] + (0, 1) for axis in (1, 0))
    box = [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]
    percent = [[100 * int(x) / width, 100 * int(y) / height] for x, y in box]
    size = {"original_height": height, "original_width": width}
    polygon = {**size, "type": "polygonlabels", "value": {"points": percent, "polygonlabels": ["dog"]}}
    brush = {**size, "type": "brushlabels", "value": {"rle": brush_rle(seen), "brushlabels": ["dog"]}}
    for item in (polygon, brush):
        tasks = [{"id": 1, "data": {"image": "a.jpg"}, "annotations": [{"result": [item]}]}]
        (tmp_path / "tasks.json").write_text(json.dumps(tasks))
        place = tmp_path / item["type"]
        _, mask, rows, _ = brought_in(read_label_studio(str(tmp_path / "tasks.json"), str(tmp_path / "photos")), place)
        assert rows == ["a,dog"] and ((mask == 1) == BLOCK).all()
    shape = {"label": "dog", "shape_type": "polygon", "points": [[int(x), int(y)] for x, y in box]}
    data = {"imagePath": "a.jpg", "imageHeight": height, "imageWidth": width, "shapes": [shape]}
    (tmp_path / "photos/a.json").write_text(json.dumps(data))
    _, mask, _, _ = brought_in(read_labelme(str(tmp_path / "photos")), tmp_path / "labelme")
    assert ((mask == 1) == BLOCK).all()


def label_studio(place, results):
    photo(place / "photos/a.jpg")
    size = {"original_height": HEIGHT, "original_width": WIDTH}
    results = [{**size, **result} for result in results]
    tasks = [{"id": 3, "data": {"image": "/data/upload/1/01234567-a.jpg"}, "annotations": [{"result": results}]}]
    (place / "tasks.json").write_text(json.dumps(tasks))
    return read_label_studio(str(place / "tasks.json"), str(place / "photos"))


PERCENT = [[25, 100 / 6], [75, 100 / 6], [75, 50], [25, 50]]
DOG = {"id": "d", "type": "polygonlabels", "value": {"points": PERCENT, "polygonlabels": ["dog"]}}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"points": PERCENT, "polygonlabels": [None]}, "has no label"),
        ({"points": PERCENT, "polygonlabels": []}, "has no label"),
        ({"points": PERCENT, "polygonlabels": ["cat", "cow"]}, "has 2 labels, must be one"),
        ({"points": [[1, 1], [2, None], [3, 3]], "polygonlabels": ["cat"]}, "not a finite number"),
        ({"points": [[1e9, 1], [2, 2], [3, 3]], "polygonlabels": ["cat"]}, "the picture is 40x30"),
        ({"rle": [0, 0, 0, 9], "brushlabels": ["cat"]}, "end too early"),
        ({"rle": [255] * 30, "brushlabels": ["cat"]}, "a brush stroke holds 4294967295 values"),
        ({"rle": ["x"], "brushlabels": ["cat"]}, "are no bytes"),
    ],
)
def test_a_bad_region_of_label_studio_costs_itself_alone(value, words, tmp_path):
    kind = next(key for key in value if key.endswith("labels"))
    contents = label_studio(tmp_path, [{"id": "x", "type": kind, "value": value}, DOG])
    done, mask, rows, [letter] = brought_in(contents, tmp_path)
    assert rows == ["a,dog"] and (mask[BLOCK] == done["categories"].index("dog") + 1).all()
    assert letter["reason"].startswith("task 3, region x") and words in letter["reason"]


def test_what_label_studio_has_as_box_point_or_choice_is_a_tag(tmp_path):
    box = {"id": "b", "type": "rectanglelabels", "value": {"x": 25, "y": 100 / 6, "width": 50, "height": 100 / 3}}
    box["value"]["rectanglelabels"] = ["dog"]
    _, mask, rows, letters = brought_in(label_studio(tmp_path / "box", [box]), tmp_path / "box")
    assert rows == ["a,dog"] and (mask[BLOCK] == 255).all() and (mask[25:] == 0).all() and not letters
    choice = {"id": "c", "type": "choices", "value": {"choices": ["cat"]}}
    choice |= {"original_height": None, "original_width": None}
    _, mask, rows, _ = brought_in(label_studio(tmp_path / "choice", [choice]), tmp_path / "choice")
    assert rows == ["a,cat"] and mask is None
    point = {"id": "p", "type": "keypointlabels", "value": {"x": 9, "y": 9, "width": 1, "keypointlabels": ["cow"]}}
    _, mask, rows, _ = brought_in(label_studio(tmp_path / "all", [DOG, choice, point]), tmp_path / "all")
    assert rows == ["a,cat|cow|dog"] and ((mask == 3) == BLOCK).all()


def test_a_region_and_its_label_may_be_two_results(tmp_path):
    shape = {"id": "s", "type": "polygon", "value": {"points": PERCENT}}
    label = {"id": "s", "type": "labels", "value": {"points": PERCENT, "labels": ["dog"]}}
    _, mask, rows, letters = brought_in(label_studio(tmp_path, [shape, label]), tmp_path)
    assert rows == ["a,dog"] and ((mask == 1) == BLOCK).all() and not letters


def test_labelme_shapes(tmp_path):
    photo(tmp_path / "a.jpg")
    shapes = [
        {"label": "dog", "points": [[10, 5], [30, 5], [30, 15], [10, 15]]},
        {"label": "cat", "shape_type": "rectangle", "points": [[0, 20], [9, 29]]},
        {"label": "cow", "shape_type": "circle", "points": [[33, 22], [38, 22]]},
        {"label": None, "points": [[15, 20], [20, 20], [20, 28]]},
    ]
    data = {"imagePath": "..\\a.jpg", "imageHeight": HEIGHT, "imageWidth": WIDTH, "shapes": shapes, "imageData": None}
    (tmp_path / "a.json").write_text(json.dumps(data))
    (tmp_path / "b.json").write_text("{}")
    done, mask, rows, [letter] = brought_in(read_labelme(str(tmp_path)), tmp_path / "out")
    assert done["categories"] == ["cat", "cow", "dog"] and rows == ["a,cat|cow|dog"]
    assert ((mask == 3) == BLOCK).all() and 60 < (mask == 2).sum() < 90 and (mask[20:29, :9] == 255).all()
    assert "shape 4: has no label" in letter["reason"] and mask[22, 19] == 255


def test_yolo_polygons_boxes_and_bad_lines(tmp_path):
    for split in ("train", "val"):
        photo(tmp_path / f"images/{split}/a.jpg", seed=len(split))
        (tmp_path / f"labels/{split}").mkdir(parents=True)
    (tmp_path / "data.yaml").write_text("names: {0: dog, 1: cat}\n")
    lines = [
        "0 .25 .16667 .75 .16667 .75 .5 .25 .5",
        "1 .1 .9 .2 .2",
        "7 .1 .1 .2 .1 .2 .2",
        "0 x",
        "",
        "1 nan 1 .5 .5 0 0",
    ]
    (tmp_path / "labels/train/a.txt").write_text("\n".join(lines))
    done, mask, rows, letters = brought_in(read_yolo(str(tmp_path), "train"), tmp_path)
    assert done["images"] == 1 and rows == ["train_a,dog|cat"]
    assert (mask[BLOCK] == 1).all() and (mask[24:30, :8] == 255).all()
    reasons = [letter["reason"] for letter in letters]
    assert len(reasons) == 3 and "class 7 is none of the 2" in reasons[0] and "'0 x' is no class" in reasons[1]
    assert "line 6: a coordinate is not a finite number" in reasons[2]
    done = import_dataset(read_yolo(str(tmp_path), "val"), tmp_path / "val", "val")
    assert (done["images"], done["empty_masks"]) == (1, 1)  # no file of labels: nothing to see


def yolo(place, names, labels, **more):
    """labels: path of a picture -> its lines."""
    for number, (path, lines) in enumerate(labels.items()):
        photo(place / "images" / f"{path}.jpg", seed=number)
        text = place / "labels" / f"{path}.txt"
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_text(lines)
    (place / "data.yaml").write_text(json.dumps({"names": names, **more}))
    return place


_POLYGON = ".25 .16667 .75 .16667 .75 .5 .25 .5"


def test_yolo_classes_that_mean_background_or_void_shift_no_id(tmp_path):
    lines = f"0 0 0 1 0 1 1 0 1\n2 {_POLYGON}\n3 .1 .7 .4 .7 .4 .9 .1 .9\n"
    root = yolo(tmp_path, ["background", "cat", "dog", "ignore"], {"train/a": lines, "val/b": lines})
    for split in ("train", "val"):
        done = import_dataset(read_yolo(str(root), split), tmp_path / "out", split)
        assert done["categories"] == ["cat", "dog"]
    for mask in (tmp_path / "out/SegmentationClass").iterdir():
        ids = np.array(Image.open(mask))
        assert (ids[BLOCK] == 2).all() and ids[24, 8] == 255 and ids[0, 0] == 0
    assert (tmp_path / "out/tags.csv").read_text() == "image,tags\ntrain_a,dog\nval_b,dog\n"


def test_a_coco_box_that_cvat_turned_is_void_where_it_may_be_and_no_box(tmp_path):
    turned = {"segmentation": [], "bbox": [10, 10, 20, 4], "attributes": {"rotation": 90.0}}
    done, mask, rows, letters = brought_in(coco(tmp_path, [turned]), tmp_path)
    rows_of, columns_of = np.nonzero(mask == 255)
    assert (rows_of.min(), rows_of.max(), columns_of.min(), columns_of.max()) == (2, 21, 18, 21)
    assert rows == ["a,dog"] and done["boxes"] == 0 and not letters


def test_coco_stuff_is_background_in_panoptic_files_alone(tmp_path):
    grass = [{"id": 5, "name": "grass", "isthing": 0}]
    _, mask, rows, _ = brought_in(coco(tmp_path, [{"segmentation": [POINTS]}], categories=grass), tmp_path)
    assert rows == ["a,grass"] and ((mask == 1) == BLOCK).all()


def test_of_more_categories_than_ids_those_that_nothing_shows_are_left_out(tmp_path):
    many = [{"id": i, "name": f"c{i}"} for i in range(1203)]
    contents = coco(tmp_path, [{"segmentation": [POINTS], "category_id": 900}], categories=many)
    assert contents.names == ("c900",)
    assert contents.notes == ["1202 categories that nothing shows are left out: masks hold ids up to 254"]


def test_turned_boxes_of_yolo_are_told_of(tmp_path):
    whole = yolo(tmp_path / "obb", ["cat"], {"a": "0 .5 .2 .8 .5 .5 .8 .2 .5\n"})
    assert read_yolo(str(whole)).notes == [
        "every outline is a box of four corners: turned boxes (OBB) are no masks of objects"
    ]
    outline = yolo(tmp_path / "other", ["cat"], {"a": "0 .5 .2 .8 .5 .5 .8 .1 .5\n"})
    assert not read_yolo(str(outline)).notes


def test_a_bitmask_of_label_studio_is_named_and_void(tmp_path):
    drawn = {
        "id": "m",
        "type": "bitmask",
        "value": {"imageDataURL": "data:image/png;base64,x", "bitmasklabels": ["dog"]},
    }
    _, mask, rows, [letter] = brought_in(label_studio(tmp_path, [DOG, drawn]), tmp_path)
    assert "a bitmask, which is not read" in letter["reason"] and rows == ["a,dog"]
    assert (mask[BLOCK] == 1).all() and (mask[~BLOCK] == 255).all()


def test_yolo_keypoints_are_boxes(tmp_path):
    root = yolo(tmp_path, ["cat"], {"a": f"0 .5 {1 / 3} .5 {1 / 3} .1 .1 2 .9 .9 2\n"}, kpt_shape=[2, 3])
    _, mask, rows, letters = brought_in(read_yolo(str(root)), tmp_path)
    assert rows == ["a,cat"] and not letters and ((mask == 255) == BLOCK).all()
    assert (tmp_path / "out/boxes.csv").read_text().split("\n")[1].startswith("a,cat,10,")


def test_yolo_pictures_of_a_split_are_where_data_yaml_says_and_others_are_told_of(tmp_path):
    labels = dict.fromkeys(["train/a", "extra/b", "val/c", "more/d"], f"0 {_POLYGON}\n")
    where = {
        "path": "../datasets/mine",
        "train": ["images/train", "../datasets/mine/images/extra"],
        "val": "images/val",
    }
    contents = read_yolo(str(yolo(tmp_path, ["cat"], labels, **where)), "train")
    assert [sample.name for sample in contents.samples] == ["images/extra/b.jpg", "images/train/a.jpg"]
    assert contents.notes[1:] == ["1 pictures lie in no split's folder and are not read, e.g. images/more/d.jpg"]


def test_a_label_that_means_void_is_void_and_relations_are_passed_over(tmp_path):
    corner = [[0, 80], [20, 80], [20, 100], [0, 100]]
    unclear = {"id": "u", "type": "polygonlabels", "value": {"points": corner, "polygonlabels": ["ignore"]}}
    relation = {"type": "relation", "from_id": "d", "to_id": "u", "direction": "right"}
    contents = label_studio(tmp_path, [DOG, unclear, relation])
    done, mask, rows, letters = brought_in(contents, tmp_path)
    assert done["categories"] == ["dog"] and rows == ["a,dog"] and not letters
    assert (mask[BLOCK] == 1).all() and (mask[25:, :7] == 255).all()
    assert import_dataset(contents, tmp_path / "out", "train", replace=True)["categories"] == ["dog"]


def test_labelme_files_in_a_folder_beside_their_pictures(tmp_path):
    photo(tmp_path / "images/a.jpg")
    shape = {"label": "dog", "points": [[10, 5], [30, 5], [30, 15], [10, 15]]}
    data = {"imagePath": "../images/a.jpg", "imageHeight": HEIGHT, "imageWidth": WIDTH, "shapes": [shape]}
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann/note of a.json").write_text(json.dumps(data))
    _, mask, rows, _ = brought_in(read_labelme(str(tmp_path)), tmp_path)
    assert rows == ["images_a,dog"] or rows == ["a,dog"]
    assert ((mask == 1) == BLOCK).all()
    (tmp_path / "ann/note of a.json").write_text(json.dumps({**data, "imagePath": "../../other.jpg"}))
    with pytest.raises(UserError, match="with a labelled shape; ann/note of a.json: .*leads out of the folder"):
        read_labelme(str(tmp_path))


def test_labelmes_flags_alone_are_named(tmp_path):
    for name, shapes, flags in (
        ("a", [{"label": "dog", "points": [[10, 5], [30, 5], [30, 15]]}], {}),
        ("b", [], {"cat": True}),
    ):
        photo(tmp_path / f"set/{name}.jpg")
        about = {
            "imagePath": f"{name}.jpg",
            "imageHeight": HEIGHT,
            "imageWidth": WIDTH,
            "shapes": shapes,
            "flags": flags,
        }
        (tmp_path / f"set/{name}.json").write_text(json.dumps(about))
    done, _, rows, [letter] = brought_in(read_labelme(str(tmp_path / "set")), tmp_path)
    assert rows == ["a,dog"] and letter["key"] == "b.jpg" and "has no shape, only flags (cat)" in letter["reason"]


def test_objects_of_voc_may_have_decomposed_letters(tmp_path):
    photo(tmp_path / "voc/JPEGImages/a.jpg")
    (tmp_path / "voc/Annotations").mkdir()
    xml = "<annotation><object><name>{}</name></object></annotation>"
    (tmp_path / "voc/Annotations/a.xml").write_text(xml.format("cafe\u0301"))
    _, _, rows, _ = brought_in(read_voc(str(tmp_path / "voc"), ["caf\u00e9"], None), tmp_path)
    assert rows == ["a,caf\u00e9"]
    (tmp_path / "voc/Annotations/a.xml").write_text(xml.format("Dog"))
    contents = read_voc(str(tmp_path / "voc"), ["dog"], None)
    assert "object 'Dog' is none of the categories ('dog' is one)" in contents.faults[0]["reason"]
