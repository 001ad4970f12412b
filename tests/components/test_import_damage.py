"""Single kinds of damage in foreign datasets, each named in words and worth no more than what it damages."""

import io
import json

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from PIL import Image
from scipy.io import savemat

from components.dataset_import.coco import read_coco
from components.dataset_import.drawing import Drawing, Object
from components.dataset_import.folders import read_cvat
from components.dataset_import.label_studio import read_label_studio
from components.dataset_import.labelme import read_labelme
from components.dataset_import.matlab import read_field
from components.dataset_import.regions import Box
from components.dataset_import.tfrecords import read_tfrecords
from components.dataset_import.voc_folders import read_sbd, read_voc
from components.dataset_import.writer import import_dataset
from components.dataset_import.yolo import read_yolo
from pipeline.cli.common import cli
from trainer.data.category_names import clean_name
from trainer.data.files import shown
from trainer.data.names import Pictures, key_of
from trainer.data.pictures import Header
from trainer.errors import ImageFault, UserError, one_line

HEADER = Header(20, 30, 1, "JPEG")


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (30, 20), "teal").save(path)
    return path


def of_coco(place, annotations, **more):
    picture(place / "images" / "tree.jpg")
    images = [{"id": 1, "file_name": "tree.jpg", "height": 20, "width": 30}]
    data = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "oak"}]}
    (place / "x.json").write_text(json.dumps(data | more))
    return read_coco(str(place / "x.json"), str(place / "images"), str(place))


def of_label_studio(place, annotations):
    picture(place / "images" / "tree.jpg")
    (place / "x.json").write_text(json.dumps([{"id": 5, "data": {"image": "tree.jpg"}, "annotations": annotations}]))
    return read_label_studio(str(place / "x.json"), str(place / "images"))


def test_annotations_whose_picture_is_not_there_are_named(tmp_path):
    picture(tmp_path / "voc/JPEGImages/here.JPG")
    (tmp_path / "voc/Annotations").mkdir()
    for name in ("HERE", "gone"):
        (tmp_path / f"voc/Annotations/{name}.xml").write_text("<a><object><name>cat</name></object></a>")
    contents = read_voc(str(tmp_path / "voc"), None, None)
    assert [(one.name, one.tags) for one in contents.samples] == [("here.JPG", ("cat",))]
    assert [(letter["key"], letter["reason"]) for letter in contents.faults] == [("gone.xml", "no picture 'gone'")]
    picture(tmp_path / "sbd/img/here.jpg")
    (tmp_path / "sbd/cls").mkdir()
    for name in ("here", "gone"):
        savemat(tmp_path / f"sbd/cls/{name}.mat", {"GTcls": {"Segmentation": np.ones((20, 30), np.uint8)}})
    contents = read_sbd(str(tmp_path / "sbd"), None)
    assert [one.name for one in contents.samples] == ["here.jpg"]
    assert [letter["key"] for letter in contents.faults] == ["gone.mat"]


def test_mat_files_are_read_as_scipy_writes_them_and_refused_where_they_are_cut(tmp_path):
    rng = np.random.default_rng(0)
    for number, kind in enumerate((np.uint8, np.uint16, np.int64, np.float32, np.float64)):
        ids = rng.integers(0, 21, (7, 4 + number)).astype(kind)
        content = {"other": 5, "GTcls": {"Boundaries": [ids, ids], "x": "text", "Segmentation": ids}}
        for packed in (False, True):
            file = io.BytesIO()
            savemat(file, content, do_compression=packed)
            data = file.getvalue()
            np.testing.assert_array_equal(read_field(data, "GTcls", "Segmentation"), ids)
            for end in range(0, len(data), 7):
                with pytest.raises(ValueError, match="no GTcls.Segmentation inside, or damaged"):
                    read_field(data[:end], "GTcls", "Segmentation")
            with pytest.raises(ValueError, match="no GTcls.y inside"):
                read_field(data, "GTcls", "y")


def test_a_missing_picture_is_not_another_one_that_is_named_too(tmp_path):
    images = [{"id": 1, "file_name": "tree.png"}, {"id": 2, "file_name": "tree.jpg"}]
    contents = of_coco(tmp_path, [{"image_id": 1, "category_id": 1}], images=images)
    assert [letter["reason"] for letter in contents.faults] == ["no picture 'tree.png'; tree.jpg is named too"]
    assert contents.samples[0].mask(HEADER).shown == ()  # what was drawn on tree.png is not taken for tree.jpg's
    contents = of_coco(tmp_path, [{"image_id": 1, "category_id": 1}], images=images[:1])
    assert contents.samples[0].name == "tree.jpg" and contents.samples[0].mask(HEADER).shown == (1,)
    tasks = [{"data": {"image": f"/data/local-files/?d=tree.{suffix}"}} for suffix in ("png", "jpg")]
    result = {"type": "choices", "value": {"choices": ["oak"]}}
    (tmp_path / "x.json").write_text(json.dumps([{**task, "annotations": [{"result": [result]}]} for task in tasks]))
    contents = read_label_studio(str(tmp_path / "x.json"), str(tmp_path / "images"))
    assert [one.name for one in contents.samples] == ["tree.jpg"]
    assert "tree.jpg is named too" in contents.faults[0]["reason"]


def test_two_annotations_of_one_picture_are_told(tmp_path):
    picture(tmp_path / "JPEGImages/a/b.jpg")
    for name in ("a/b.xml", "b.xml"):
        (tmp_path / "Annotations" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "Annotations" / name).write_text("<a><object><name>cat</name></object></a>")
    [letter] = read_voc(str(tmp_path), None, None).faults
    assert (letter["key"], letter["reason"]) == ("b.xml", "no picture 'b'; a/b.jpg has a/b.xml")


def panoptic(place, numbers, segments):
    pixels = np.stack([numbers % 256, numbers // 256 % 256, numbers // 65536], -1).astype(np.uint8)
    Image.fromarray(pixels).save(place / "p.png")
    contents = of_coco(place, [{"image_id": 1, "file_name": "p.png", "segments_info": segments}])
    return contents.samples[0].mask(HEADER)


def test_panoptic_segments_that_do_not_fit_their_png_are_named(tmp_path):
    numbers = np.zeros((20, 30), np.int64)
    numbers[:5], numbers[5:9], numbers[9:12] = 700, 800, 900
    drawn = panoptic(tmp_path, numbers, [{"id": i, "category_id": c} for i, c in ((700, 1), (800, 6), (950, 1))])
    assert drawn.dropped == (
        ("segment 800", "its category_id 6 is none of the categories"),
        ("segment 900", "is in the PNG, not in segments_info"),
        ("segment 950", "is in segments_info, not in the PNG"),
    )
    assert [drawn.ids[y, 0] for y in (0, 6, 10, 15)] == [1, 255, 255, 255] and drawn.shown == (1,)


def test_a_photo_in_the_place_of_a_panoptic_png_is_refused_at_once(tmp_path):
    numbers = np.arange(1, 1_000_001).reshape(1000, 1000)  # a million segments: each may be looked for only once
    with pytest.raises(ImageFault, match="none of its 1000001 segments can be used"):
        panoptic(tmp_path, numbers, [{"id": 2**40, "category_id": 1}])
    for segments, number in (([{"id": 3, "category_id": 1}] * 2, "3"), ([{"id": None}], "None")):
        contents = of_coco(tmp_path, [{"image_id": 1, "file_name": "p.png", "segments_info": segments}])
        assert contents.faults[0]["reason"] == f"a segment's id is {number}; each must be a number of its own"


@pytest.mark.parametrize("side", [10**400, 1e308, float("nan"), "9", None, -40])
def test_a_box_of_any_numbers_leaves_void_or_is_named(tmp_path, side):
    value = {"x": 1.5, "y": side, "width": 9, "height": 9, "rectanglelabels": ["oak"]}
    result = {"type": "rectanglelabels", "original_height": 20, "original_width": 30, "value": value}
    for contents in (
        of_coco(tmp_path, [{"image_id": 1, "category_id": 1, "bbox": [1.5, 2, side, 3]}]),
        of_label_studio(tmp_path, [{"result": [result]}]),
    ):
        try:
            assert (contents.samples[0].mask(HEADER).ids == 255).any()
        except ImageFault as fault:
            assert "none of its objects can be used" in str(fault)


def test_objects_that_mark_no_pixel_are_named_unless_they_are_thin(tmp_path):
    shapes = [[[40, 2, 50, 2, 50, 9]], {"size": [20, 30], "counts": [600]}, [[3.1, 3.1, 3.2, 3.1, 3.2, 3.2]]]
    annotations = [{"id": i, "image_id": 1, "category_id": 1, "segmentation": s} for i, s in enumerate(shapes)]
    drawn = of_coco(tmp_path, annotations).samples[0].mask(HEADER)
    reason = "marks no pixel of the picture"
    assert drawn.shown == (1,) and drawn.dropped == (("annotation 0", reason), ("annotation 1", reason))
    point = Drawing([Object("a point", 1, Box([5, 5, 5, 5]), only_void=True)], (20, 30))(HEADER)
    assert np.argwhere(point.ids == 255).tolist() == [[5, 5]]


def test_label_studio_annotations_without_a_result_and_strokes_that_are_a_number_are_named(tmp_path):
    for annotations in ([{"id": 3}], [{"result": None}]):
        [letter] = of_label_studio(tmp_path, annotations).faults
        assert letter["reason"] == "task 5: its result is no list"
    stroke = {"rle": 10**9, "brushlabels": ["oak"]}  # as a length it would take gigabytes
    size = {"original_height": 20, "original_width": 30}
    [sample] = of_label_studio(tmp_path, [{"result": [{"type": "brushlabels", "value": stroke, **size}]}]).samples
    with pytest.raises(ImageFault, match="run lengths are no list"):
        sample.mask(HEADER)


def test_a_label_that_is_no_name_is_refused_with_its_file(tmp_path):
    value = {"choices": ["a|b"]}
    with pytest.raises(UserError, match=r"x\.json: task 5, region #1: the category 'a\|b' holds a \|"):
        of_label_studio(tmp_path, [{"result": [{"type": "choices", "value": value}]}])
    picture(tmp_path / "labelme/sub/tree.jpg")
    shape = {"label": "a|b", "points": [[0, 0], [9, 0], [9, 9]]}
    data = {"imagePath": "tree.jpg", "imageHeight": 20, "imageWidth": 30, "shapes": [shape]}
    (tmp_path / "labelme/sub/tree.json").write_text(json.dumps(data))
    with pytest.raises(UserError, match=r"labelme/sub/tree.jpg: the category 'a\|b' holds a \|"):
        read_labelme(str(tmp_path / "labelme"))


@pytest.mark.parametrize(
    "text",
    [
        "names: [2001-99-99]",
        "names: [!!timestamp soon]",
        "names: [!!bool perhaps]",
        "names: " + "1" * 5000,
        "names: &a [*a]",
        "\n".join(
            [
                "a0: &a0 [x, x]",
                *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)),
                "names: [*a11]",
            ]
        ),
    ],
    ids=["date", "time", "truth", "number", "itself", "endless"],
)
def test_yaml_that_is_none_is_refused_in_a_line(tmp_path, text):
    picture(tmp_path / "images/tree.jpg")
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(UserError, match=r"data\.yaml: (not valid YAML|stands for more|names)") as caught:
        read_yolo(str(tmp_path))
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "line",
    [f"oak:{'9' * 5000},0,0::", f"oak:{' ' * 300_000}x", f"oak{' ' * 300_000}x"],
    ids=["digits", "blanks behind a colon", "blanks"],
)
def test_lines_of_any_length_are_refused(tmp_path, line):
    picture(tmp_path / "JPEGImages/tree.jpg")
    (tmp_path / "labelmap.txt").write_text(f"{line}\n")
    with pytest.raises(UserError, match=r"labelmap.txt: line 1: must read name:red,green,blue"):
        read_cvat(str(tmp_path))
    (tmp_path / "ImageSets/Main").mkdir(parents=True)
    (tmp_path / "ImageSets/Main/all.txt").write_text(f"{line}\ntree\n")
    (tmp_path / "labelmap.txt").unlink()
    assert read_voc(str(tmp_path), None, "all").faults[0]["reason"].startswith("no picture 'oak")


def test_records_whose_keys_hold_another_kind_are_named(tmp_path):
    def bytes_of(value):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    data = io.BytesIO()
    Image.new("RGB", (30, 20)).save(data, "PNG")
    numbers = tf.train.Feature(float_list=tf.train.FloatList(value=[1.0]))
    features = [{"image/tags": numbers}, {"mask/encoded": numbers, "image/tags": numbers}, {"image/key": numbers}]
    features += [{"image/key": bytes_of(b"pine"), "image/encoded": bytes_of(b"")}]
    with tf.io.TFRecordWriter(str(tmp_path / "x.tfrecord")) as writer:
        for feature in features:
            feature = {"image/encoded": bytes_of(data.getvalue())} | feature
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    with pytest.raises(UserError, match="no image came in"):
        import_dataset(read_tfrecords(str(tmp_path / "x.tfrecord"), ["oak"]), tmp_path / "out", "train")
    letters = [json.loads(line) for line in (tmp_path / "out/import_faults.jsonl").read_text().splitlines()]
    assert [(letter["key"], letter["reason"].partition("record ")[2]) for letter in letters] == [
        ("pine", "4: image/encoded is empty"),
        ("x-000001", "1: its image/tags is a float_list, must be a int64_list"),
        ("x-000002", "2: its mask/encoded is a float_list, must be a bytes_list"),
        ("x-000003", "3: its image/key is a float_list, must be a bytes_list"),
    ]


def test_text_from_data_can_be_printed_whatever_it_holds(tmp_path):
    odd = "a\ud800\x1b[31mb\u202e\udce9.jpg"
    assert shown(odd) == "a\\ud800\\x1b[31mb\\u202e\\xe9.jpg"
    assert one_line(odd).isprintable() and key_of(odd).isprintable() and len(key_of(odd * 99).encode()) <= 200
    with pytest.raises(ImageFault, match="no picture 'a"):
        Pictures(["tree.jpg"]).find(odd)
    with pytest.raises(ImageFault, match=r"no picture 'http://\[x'"):
        Pictures(["tree.jpg"]).find("http://[x")
    with pytest.raises(UserError, match="cannot be printed"):
        clean_name(odd, "x")
    assert one_line(f"annotation {odd}\n: has no label").endswith("\\n: has no label")
    images = [{"id": 1, "file_name": "tree.jpg"}, {"id": 2, "file_name": odd}]
    of_coco(tmp_path, [{"image_id": 1, "category_id": 1}, {"image_id": 1, "category_id": odd}], images=images)
    arguments = ["--annotations", f"{tmp_path}/x.json", "--images", f"{tmp_path}/images", "--output", f"{tmp_path}/out"]
    result = CliRunner().invoke(cli, ["import", "coco", *arguments, "--max-dead-share", "1"])
    assert result.exit_code == 0 and result.output.replace("\n", "").isprintable()
    assert "a\\ud800\\x1b[31mb" in result.output
    letters = (tmp_path / "out/import_faults.jsonl").read_text()
    assert "its category_id a\\\\ud800\\\\x1b[31mb" in letters and "no picture 'a" in letters
