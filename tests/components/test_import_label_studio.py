"""Label Studio's exports: which picture a task is about, which of its annotations counts, what of it are labels."""

import json
import re

import numpy as np
import pytest
from PIL import Image
from test_import_objects import BLOCK, HEIGHT, PERCENT, WIDTH, brought_in, photo

from components.dataset_import.brush import brush_rle
from components.dataset_import.label_studio import read_label_studio

OTHER = [[0, 80], [20, 80], [20, 100], [0, 100]]  # a corner
STROKE = {"format": "rle", "rle": brush_rle(BLOCK)}


def result(name, points=PERCENT, kind="polygonlabels", tag="image", number="r", **more):
    value = {**(points if isinstance(points, dict) else {"points": points}), kind: [name]}
    size = {"original_height": HEIGHT, "original_width": WIDTH}
    return {"id": number, "type": kind, "to_name": tag, **size, "value": value, **more}


def task(data, *results, number=1, **about):
    return {"id": number, "data": data, "annotations": [{"id": 1, "result": list(results), **about}]}


def read(place, tasks, *names, masks=None):
    for seed, name in enumerate(names or ["a"]):
        photo(place / f"photos/{name}.jpg", seed=seed)
    (place / "tasks.json").write_text(json.dumps(tasks))
    return read_label_studio(str(place / "tasks.json"), str(place / "photos"), masks)


@pytest.mark.parametrize("there", [("a", "b"), ("a",)])
def test_two_pictures_in_a_task_are_named(there, tmp_path):
    regions = result("dog", tag="img1"), result("cat", OTHER, tag="img2", number="s")
    contents = read(tmp_path, [task({"one": "a.jpg", "two": "b.jpg"}, *regions)], *there)
    [letter] = contents.faults
    assert not contents.samples and "task 1: has regions on several pictures (img1, img2)" in letter["reason"]
    same = read(tmp_path, [task({"one": "a.jpg"}, *regions)], *there)  # one picture, shown twice
    assert [sample.name for sample in same.samples] == ["a.jpg"]


@pytest.mark.parametrize(
    "data",
    [
        {"title": "dog", "image": "/data/upload/1/a.jpg"},
        {"id": "dog", "url": "s3://bucket/a.jpg?sign=1"},
        {"reference": "dog.jpg", "image": "a.jpg"},  # the Image tag is called so
        {"title": "dog", "image": "photos/a"},
        {"source": "http://there/1.jpg", "url": "a.jpg"},  # 1.jpg is nowhere
    ],
)
def test_a_text_beside_the_picture_is_not_its_name(data, tmp_path):
    contents = read(tmp_path, [task(data, result("dog"))], "a", "dog")
    assert [sample.name for sample in contents.samples] == ["a.jpg"] and not contents.faults


@pytest.mark.parametrize("missing", ["a", "x"])
def test_data_that_names_two_pictures_is_a_fault(missing, tmp_path):
    """Also where the one of them is not there: then the other would get its regions."""
    tasks = [
        task({"one": f"{missing}.jpg", "two": "dog.jpg"}, result("dog")),
        task({"one": "b.jpg"}, result("dog"), number=2),
    ]
    contents = read(tmp_path, tasks, "a", "b", "dog")
    [letter] = contents.faults
    assert f"task 1: its data names several pictures (one: '{missing}.jpg', two: 'dog.jpg')" in letter["reason"]
    assert [sample.name for sample in contents.samples] == ["b.jpg"]


@pytest.mark.parametrize(
    ("about", "counts", "told"),
    [
        ([{"updated_at": "2024-01-01", "ground_truth": True}, {"updated_at": "2024-01-02"}], "n0", False),
        ([{"updated_at": "2024-01-01"}, {"updated_at": "2024-01-02"}], "n1", True),
        ([{"created_at": "2024-01-01"}, {"created_at": "2024-01-02"}], "n1", True),
        ([{"created_at": "2024-01-02"}, {"created_at": "2023-01-01", "updated_at": "2024-01-01"}], "n0", True),
        ([{"updated_at": "2024-01-01"}, {"updated_at": "2024-01-02", "was_cancelled": True}], "n0", False),
        ([{"updated_at": str(year), "ground_truth": year < 2026} for year in (2024, 2025, 2026)], "n1", True),
    ],
)
def test_the_ground_truth_counts_else_the_newest(about, counts, told, tmp_path):
    made = [{**more, "result": [result(f"n{number}")]} for number, more in enumerate(about)]
    contents = read(tmp_path, [{"id": 1, "data": {"image": "a.jpg"}, "annotations": made}])
    assert contents.names == (counts,)
    note = "1 tasks, e.g. task 1, have several annotations and not one ground truth: of each the newest counts"
    assert contents.notes == ([note] if told else [])


def png(place, name, inside):
    (place / "pngs").mkdir(exist_ok=True)
    Image.fromarray(np.where(inside, 255, 0).astype(np.uint8)).save(place / "pngs" / name)


def test_pngs_of_the_annotation_that_counts_stand_in_for_its_strokes(tmp_path):
    corner = np.zeros_like(BLOCK)
    corner[20:, 30:] = True
    png(tmp_path, "task-1-annotation-1-by-1-tag-old-0.png", ~corner)
    png(tmp_path, "task-1-annotation-2-by-2-tag-a-b-0.png", corner)
    stroke = result("a/b", STROKE, "brushlabels", number="s")
    kept = result("cow", STROKE, "brushlabels", number="k")  # without a PNG
    made = [
        {"id": 1, "updated_at": "2025", "was_cancelled": True, "result": [result("old", STROKE, "brushlabels")]},
        {"id": 2, "updated_at": "2024", "result": [kept, stroke, result("cat", OTHER)]},
    ]
    tasks = [{"id": 1, "data": {"image": "a.jpg"}, "annotations": made}]
    contents = read(tmp_path, tasks, masks=str(tmp_path / "pngs"))
    done, mask, _, letters = brought_in(contents, tmp_path)
    assert done["categories"] == ["a/b", "cat", "cow"] and not letters
    assert ((mask == 1) == corner).all() and ((mask == 3) == BLOCK).all() and (mask[25:, :7] == 2).all()
    del made[1]["id"]
    [letter] = read(tmp_path, tasks, masks=str(tmp_path / "pngs")).faults
    assert "task 1: has PNGs of 2 annotations, and the JSON gives its own no id" in letter["reason"]


@pytest.mark.parametrize("value", [PERCENT, STROKE])
def test_choices_of_a_region_are_none_of_its_labels(value, tmp_path):
    region = result("dog", value, "polygonlabels" if value is PERCENT else "brushlabels")
    bare, drawn = result("blurry", {}, "choices"), result("occluded", value, "choices")
    whole = result("cat", {}, "choices", number="w")
    contents = read(tmp_path, [task({"image": "a.jpg"}, bare, region, drawn, whole)])
    done, mask, rows, letters = brought_in(contents, tmp_path)
    assert done["categories"] == ["cat", "dog"] and rows == ["a,cat|dog"] and not letters
    assert ((mask == 2) == BLOCK).all()


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"completions": [{"result": []}]}, "has 'completions' of an old Label Studio; import it into a new one"),
        ({"predictions": [{"result": []}]}, "has only predictions, which are a model's, not a person's; submit them"),
        ({"annotations": [{"was_cancelled": True, "result": []}]}, "its annotations are cancelled"),
        ({"annotations": [{"result": []}]}, "its annotation has no label"),
        (
            {"data": {"pages": ["a.jpg", "b.jpg"]}},
            r"shows a list of pictures \(valueList: pages\).*make a task for each",
        ),
        ({"annotations": [{"result": [result("dog", item_index=1)]}]}, "shows a list of pictures"),
    ],
)
def test_a_task_without_an_annotation_of_one_picture_says_what_is_there(about, words, tmp_path):
    [letter] = read(tmp_path, [{"id": 7, "data": {"image": "a.jpg"}, **about}]).faults
    assert re.search(f"task 7: {words}", letter["reason"])
