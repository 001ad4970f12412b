"""Every format gives back the same images, masks and tags, drawn and real; faults are dead letters; imports add up."""

import json

import foreign_datasets
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from skimage.draw import polygon

from components.dataset_import.brush import brush_rle, decode_rle
from components.dataset_import.coco import read_coco
from components.dataset_import.folders import read_folder
from components.dataset_import.label_studio import read_label_studio
from components.dataset_import.voc_folders import read_voc
from components.dataset_import.writer import import_dataset
from components.image_example_gen.dataset_config import DatasetConfig, check_dataset
from components.image_example_gen.tables import read_tags
from trainer.data.categories import Categories
from trainer.data.pictures import Header
from trainer.errors import UserError

by_name = pytest.mark.parametrize("write", foreign_datasets.FORMATS, ids=lambda write: write.__name__)


def written(folder, key):
    with Image.open(folder / "SegmentationClass" / f"{key}.png") as mask:
        return np.array(mask)


def check_round_trip(write, originals, place):
    (place / "foreign").mkdir()
    contents = write(originals, place / "foreign")
    done = import_dataset(contents, place / "out", "train")
    assert (done["images"], done["masks"], done["dead"], done["left_out"]) == (len(originals), len(originals), 0, 0)
    names = done["categories"]
    tags = read_tags(place / "out" / "tags.csv", Categories(tuple(names), ()), place / "out")
    for one in originals:
        mask = written(place / "out", one.key)
        expected = np.where(one.mask == 255, 0, one.mask) if write in foreign_datasets.WITHOUT_VOID else one.mask
        ids = np.array([0, *(names.index(n) + 1 if n in names else 0 for n in foreign_datasets.VOC), *[0] * 234, 255])
        np.testing.assert_array_equal(mask, ids[expected])
        assert (place / "out" / "JPEGImages" / f"{one.key}.jpg").read_bytes() == one.image
        assert {names[i - 1] for i in tags[one.key]} == set(one.tags)
    listed = (place / "out" / "ImageSets/Segmentation/train.txt").read_text().split()
    assert listed == sorted(one.key for one in originals)
    check_dataset(DatasetConfig(root=str(place / "out"), eval="train"), Categories(tuple(names), ()))


@by_name
def test_a_round_trip_of_drawn_samples_changes_nothing(write, tmp_path):
    check_round_trip(write, foreign_datasets.drawn_originals(), tmp_path)


@by_name
def test_a_round_trip_of_real_samples_changes_nothing(write, tmp_path, real_data):
    check_round_trip(write, foreign_datasets.real_originals(real_data), tmp_path)


def test_real_coco_polygons_are_drawn_as_scikit_image_draws_them(tmp_path, real_data):
    annotations = next((real_data / "coco_sample" / "annotations").glob("instances*.json"))
    images = next(path for path in (real_data / "coco_sample").iterdir() if path.name != "annotations")
    contents = read_coco(str(annotations), str(images))
    assert len(contents.samples) == 128 and len(contents.names) == 80
    data = json.loads(annotations.read_text())
    index = {entry["id"]: i for i, entry in enumerate(data["categories"], start=1)}
    files = {entry["id"]: entry for entry in data["images"]}
    for sample, (number, entry) in list(zip(contents.samples, files.items(), strict=True))[:20]:
        expected = np.zeros((entry["height"], entry["width"]), np.uint8)
        found = [a for a in data["annotations"] if a["image_id"] == number]
        for annotation in sorted(found, key=lambda a: -a["area"]):
            inside = np.zeros(expected.shape, bool)
            for points in annotation["segmentation"]:
                inside[polygon(points[1::2], points[::2], expected.shape)] = True
            expected[inside] = index[annotation["category_id"]]
        drawn = sample.mask(Header(*expected.shape, 1, "JPEG"))
        assert (drawn.ids == expected).mean() > 0.97
        assert set(drawn.shown) == {index[a["category_id"]] for a in found} and not drawn.dropped


def test_masks_labelled_here_and_written_as_coco_come_back(tmp_path):
    """The JSON of `transferseg label --format coco`."""
    from components.beam_masks.coco_export import write_coco
    from components.beam_masks.images import Source
    from components.beam_masks.masks import encode

    originals = [
        foreign_datasets.Original(one.key, one.image, np.where(one.mask == 255, 0, one.mask))
        for one in foreign_datasets.drawn_originals()
    ]
    images = foreign_datasets.write_images(originals, tmp_path / "images")
    (tmp_path / "out").mkdir()
    for one in originals:
        (tmp_path / "out" / f"{one.key}.png").write_bytes(encode(one.mask, {}))
    sources = [Source(one.key, str(images / f"{one.key}.jpg"), tuple(one.ids)) for one in originals]
    write_coco(tmp_path / "out", sources, Categories(tuple(foreign_datasets.VOC), ()))
    contents = read_coco(str(tmp_path / "out" / "annotations.json"), str(images))
    for sample, one in zip(contents.samples, originals, strict=True):
        np.testing.assert_array_equal(sample.mask(Header(*one.mask.shape, 1, "JPEG")).ids, one.mask)


def test_sources_may_lie_on_any_file_system_tensorflow_knows(tmp_path):
    """ram:// stands for gs://: no local path works there."""
    originals = foreign_datasets.drawn_originals()
    (tmp_path / "foreign").mkdir()
    foreign_datasets.coco_instances(originals, tmp_path / "foreign")
    foreign_datasets.write_masks(originals, tmp_path / "foreign" / "masks")
    for path in (path for path in (tmp_path / "foreign").rglob("*") if path.is_file()):
        remote = f"ram://bucket/{path.relative_to(tmp_path / 'foreign')}"
        tf.io.gfile.makedirs(remote.rpartition("/")[0])
        tf.io.gfile.copy(str(path), remote)
    readers = {
        "coco": read_coco("ram://bucket/instances.json", "ram://bucket/images"),
        "folder": read_folder("ram://bucket/images", "ram://bucket/masks", None, foreign_datasets.VOC),
    }
    for name, contents in readers.items():
        assert import_dataset(contents, tmp_path / name, "train")["images"] == 4
        for one in originals:
            np.testing.assert_array_equal(written(tmp_path / name, one.key), one.mask)


def test_small_coco_objects_lie_on_top_and_crowds_are_void(tmp_path):
    box = lambda a, b: [[a, a, b, a, b, b, a, b]]  # noqa: E731
    data = {
        "images": [{"id": 1, "file_name": "sub/a.jpg", "height": 40, "width": 40}],
        "categories": [{"id": 3, "name": "cat"}, {"id": 9, "name": "dog"}],
        "annotations": [
            {"image_id": 1, "category_id": 9, "area": 25, "segmentation": box(10, 15)},
            {"image_id": 1, "category_id": 3, "area": 400, "segmentation": box(5, 25)},
            {"image_id": 1, "category_id": 3, "area": 900, "segmentation": box(0, 38), "iscrowd": 1},
        ],
    }
    (tmp_path / "x.json").write_text(json.dumps(data))
    (tmp_path / "images" / "sub").mkdir(parents=True)
    Image.new("RGB", (40, 40)).save(tmp_path / "images" / "sub" / "a.jpg")
    points = ((12, 12), (20, 20), (30, 30), (39, 39))
    for crowd, expected in (("void", [2, 1, 255, 0]), ("object", [2, 1, 1, 0])):
        contents = read_coco(str(tmp_path / "x.json"), str(tmp_path / "images"), crowd=crowd)
        done = import_dataset(contents, tmp_path / crowd, "train")
        mask = written(tmp_path / crowd, "sub_a")
        assert done["images"] == 1 and [mask[y, x] for y, x in points] == expected
        assert "sub_a,cat|dog\n" in (tmp_path / crowd / "tags.csv").read_text()


def test_label_studio_polygons_and_brush_strokes(tmp_path):
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (7, 5), (300, 400)):
        inside = rng.random(shape) < 0.5 if shape[0] < 10 else np.add.outer(np.arange(300), np.arange(400)) % 97 < 40
        np.testing.assert_array_equal(
            decode_rle(brush_rle(inside), 4 * inside.size).reshape(*shape, 4)[..., 3] > 0, inside
        )
    original = foreign_datasets.drawn_originals(1)[0]
    foreign_datasets.write_images([original], tmp_path)
    height, width = original.mask.shape
    points = [[25, 25], [75, 25], [75, 75], [25, 75]]
    value = {"points": points, "polygonlabels": ["kite"]}
    item = {"type": "polygonlabels", "original_height": height, "original_width": width, "value": value}
    tasks = [
        {"id": 1, "data": {"image": f"/data/local-files/?d=x/{original.key}.jpg"}, "annotations": [{"result": [item]}]},
        {"id": 2, "data": {"image": "/data/upload/1/gone.jpg"}, "annotations": [{"result": [item]}]},
        {"id": 3, "data": {"image": f"/data/upload/{original.key}.jpg"}, "annotations": []},
    ]
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    contents = read_label_studio(str(tmp_path / "export.json"), str(tmp_path))
    [sample] = contents.samples
    mask = sample.mask(Header(height, width, 1, "JPEG")).ids
    assert mask[height // 2, width // 2] == 1 and mask[0, 0] == 0 and 0.2 < mask.mean() < 0.3
    assert [(letter["stage"], letter["reason"]) for letter in contents.faults] == [
        ("read", f"task 2: no picture '/data/upload/1/gone.jpg' in {tmp_path}"),
        ("label", "task 3: nobody has annotated it"),
    ]


def test_voc_annotations_give_tags_without_masks(tmp_path):
    originals = foreign_datasets.drawn_originals(2)
    foreign_datasets.write_images(originals, tmp_path / "voc" / "JPEGImages")
    (tmp_path / "voc" / "Annotations").mkdir()
    for one in originals:
        objects = "".join(f"<object><name>{name}</name></object>" for name in one.tags)
        (tmp_path / "voc" / "Annotations" / f"{one.key}.xml").write_text(f"<annotation>{objects}</annotation>")
    done = import_dataset(read_voc(str(tmp_path / "voc"), None, None), tmp_path / "out", "train")
    assert (done["images"], done["masks"]) == (2, 0)
    tags = read_tags(tmp_path / "out" / "tags.csv", Categories(tuple(done["categories"]), ()), tmp_path / "out")
    assert {one.key: one.ids for one in originals} == {key: list(ids) for key, ids in tags.items()}


def test_imports_add_up_and_categories_keep_their_ids(tmp_path):
    originals = foreign_datasets.drawn_originals()
    images = foreign_datasets.write_images(originals, tmp_path / "images")
    (tmp_path / "one.csv").write_text("image,tags\ndrawn_0.jpg,kite|boat\ndrawn_1.jpg,boat\n")
    (tmp_path / "two.csv").write_text("image,tags\ndrawn_2.jpg,oar|boat\ndrawn_3.jpg,kite\n")
    first = read_folder(str(images), None, str(tmp_path / "one.csv"), None)
    second = read_folder(str(images), None, str(tmp_path / "two.csv"), None)
    assert import_dataset(first, tmp_path / "out", "train")["categories"] == ["kite", "boat"]
    done = import_dataset(second, tmp_path / "out", "val", skip=["kite"], prefix="sea ")
    assert done["categories"] == ["kite", "boat", "sea oar", "sea boat"]
    assert (done["images"], done["left_out"]) == (1, 1)
    lists = {name: (tmp_path / f"out/ImageSets/Segmentation/{name}.txt").read_text() for name in ("train", "val")}
    assert lists == {"train": "drawn_0\ndrawn_1\n", "val": "drawn_2\n"}
    assert "drawn_2,sea oar|sea boat\n" in (tmp_path / "out" / "tags.csv").read_text()
    again = import_dataset(first, tmp_path / "out", "train")
    assert again["categories"] == done["categories"] and len((tmp_path / "out/tags.csv").read_text().split("\n")) == 5


def test_what_cannot_be_read_is_named_and_the_rest_comes_in(tmp_path):
    originals = foreign_datasets.drawn_originals()
    images = foreign_datasets.write_images(originals, tmp_path / "images")
    masks = foreign_datasets.write_masks(originals, tmp_path / "masks")
    (images / "drawn_0.jpg").unlink()
    (masks / "drawn_1.png").write_bytes(b"no picture")
    Image.fromarray(np.full((9, 9, 3), 7, np.uint8)).save(masks / "drawn_2.png")
    (images / "alone.png").write_bytes((images / "drawn_3.jpg").read_bytes())
    contents = read_folder(str(images), str(masks), None, foreign_datasets.VOC)
    done = import_dataset(contents, tmp_path / "out", "train")
    assert (done["images"], done["dead"]) == (1, 4)
    letters = [json.loads(line) for line in (tmp_path / "out/import_faults.jsonl").read_text().splitlines()]
    reasons = {letter["key"]: letter["reason"] for letter in letters}
    assert set(reasons) == {"drawn_0.png", "drawn_1.jpg", "drawn_2.jpg", "alone.png"}
    assert "belongs to no picture" in reasons["drawn_0.png"] and "its mask: not a picture" in reasons["drawn_1.jpg"]
    assert "its mask is 9x9 but the picture is" in reasons["drawn_2.jpg"] and "neither" in reasons["alone.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"masks": None, "tags": None}, "give --masks, --tags or --boxes"),
        ({"masks": "masks", "tags": None}, "give the categories' names with --categories"),
        ({"masks": None, "tags": "gone.csv"}, "no such file"),
        ({"masks": None, "tags": "bad.csv"}, "line 1 must be the header image,tags"),
    ],
)
def test_wrong_arguments_are_explained(tmp_path, arguments, message):
    images = foreign_datasets.write_images(foreign_datasets.drawn_originals(1), tmp_path / "images")
    (tmp_path / "bad.csv").write_text("name;tag\n")
    with pytest.raises(UserError, match=message):
        read_folder(str(images), arguments["masks"], arguments["tags"] and str(tmp_path / arguments["tags"]), None)


def test_an_unknown_category_to_skip_is_named(tmp_path):
    images = foreign_datasets.write_images(foreign_datasets.drawn_originals(1), tmp_path / "images")
    (tmp_path / "a.csv").write_text("image,tags\ndrawn_0.jpg,a\n")
    with pytest.raises(UserError, match="--skip zebra: the dataset has no such category; it has a"):
        import_dataset(
            read_folder(str(images), None, str(tmp_path / "a.csv"), None), tmp_path / "o", "t", skip=["zebra"]
        )


def test_coco_that_is_none_is_refused(tmp_path):
    for text in ("[]", "{}", "no json"):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(UserError, match="COCO's JSON"):
            read_coco(str(tmp_path / "x.json"), str(tmp_path))


def test_names_and_tags_written_by_hand_are_read_as_people_write_them(tmp_path):
    originals = foreign_datasets.drawn_originals(2)
    foreign_datasets.write_images(originals, tmp_path / "photos")
    (tmp_path / "tags.csv").write_text("image,tags\n" + "".join(f"{one.key},blue\n" for one in originals))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "categories.txt").write_text("cat\r\ndog")  # no line end behind the last one
    (tmp_path / "out" / "tags.csv").write_bytes(b"\xef\xbb\xbfimage,tags\r\nold,dog\r\n")
    contents = read_folder(str(tmp_path / "photos"), None, str(tmp_path / "tags.csv"), None)
    assert import_dataset(contents, tmp_path / "out", "train")["categories"] == ["cat", "dog", "blue"]
    assert "old,dog\n" in (tmp_path / "out" / "tags.csv").read_text()
    for file in ("categories.txt", "tags.csv"):
        (tmp_path / "out" / file).write_bytes(b"caf\xe9,x\n")
        with pytest.raises(UserError, match=f"{file}: line 1 is not a text in UTF-8"):
            import_dataset(contents, tmp_path / "out", "train")
        (tmp_path / "out" / file).unlink()
