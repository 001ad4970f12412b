"""Boxes from a table through `transferseg label`, on turned pictures too, into the statistics of the label gate."""

import json

import numpy as np
import pytest
from labelling_samples import CATEGORIES, encode, scene
from PIL import Image

from components.weak_label_gate.label_statistics import LabelSums, label_statistics
from components.weak_labels.label_folder import label_folder
from trainer.errors import UserError

pytestmark = pytest.mark.slow  # whole Beam jobs

HEADER = "image,category,x1,y1,x2,y2\n"


@pytest.fixture()
def folder(tmp_path):
    """Two pictures: a with a red thing (ant), b with a green one (bee). Returns (folder, corners of the two)."""
    (tmp_path / "images").mkdir()
    corners = []
    for name, tag in (("a", 1), ("b", 2)):
        image, truth = scene(tag)
        (tmp_path / "images" / f"{name}.png").write_bytes(encode(image))
        rows, columns = np.nonzero(truth)
        corners.append((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
    (tmp_path / "tags.csv").write_text("image,tags\na,ant\n")
    return tmp_path, corners


def label(models, folder, *lines, **how):
    (folder / "boxes.csv").write_text(HEADER + "\n".join(lines) + "\n")
    places = folder / "images", folder / "tags.csv", folder / "out"
    return label_folder(models["l_net"], models["cam"], *places, boxes=folder / "boxes.csv", **how)


def line(name, category, corners):
    return f"{name},{category},{','.join(map(str, corners))}"


def test_a_box_is_a_tag_and_bounds_its_label(models, folder):
    root, (first, second) = folder
    half = (second[0], second[1], second[2], (second[1] + second[3]) // 2)
    summary = label(models, root, line("a.png", "ant", first), line("b", "bee", half))
    assert (summary["labelled"], summary["dead"], summary["boxes"], summary["empty_boxes"]) == (2, 0, 2, 0)
    mask = np.asarray(Image.open(root / "out/b.png"))
    rows, columns = np.nonzero(mask == 2)
    assert rows.size and rows.min() >= half[1] and rows.max() < half[3]
    assert columns.min() >= half[0] and columns.max() < half[2]

    kept = label(models, root, line("a.png", "ant", first), line("b", "bee", half))
    assert kept["kept"] == 2 and kept["boxes"] == 2
    changed = label(models, root, line("a.png", "ant", first), line("b", "bee", second))
    assert changed["kept"] == 1


def test_wrong_lines_stop_it_and_boxes_outside_are_dead_letters(models, folder):
    root, (first, second) = folder
    with pytest.raises(UserError, match="line 2: the box is empty.*line 3: no picture 'nobody'"):
        label(models, root, "a,ant,1,1,1,2", "nobody,ant,1,1,2,2")
    assert not list((root / "out").glob("*.png"))
    summary = label(models, root, line("a", "ant", first), "b,bee,96,0,99,9", max_dead_share=1)
    [letter] = [json.loads(text) for text in (root / "out/dead_letters.jsonl").read_text().splitlines()]
    assert summary["dead"] == 1 and letter["stage"] == "object" and "(96, 0, 99, 9) lies outside" in letter["reason"]


def test_boxes_are_on_the_stored_pixels_of_turned_pictures(models, tmp_path):
    (tmp_path / "images").mkdir()
    picture, truth = scene(1, seed=3)
    rows, columns = np.nonzero(truth)
    corners = (columns.min(), rows.min(), columns.max() + 1, (rows.min() + rows.max()) // 2)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = encode(Image.fromarray(picture), "JPEG", quality=95, exif=exif)
        (tmp_path / "images" / f"o{orientation}.jpg").write_bytes(data)
    (tmp_path / "tags.csv").write_text("image,tags\no1,ant\n")
    label(models, tmp_path, *(line(f"o{orientation}", "ant", corners) for orientation in range(1, 9)))
    inside = np.zeros(truth.shape, bool)
    inside[corners[1] : corners[3], corners[0] : corners[2]] = True
    for orientation in range(1, 9):
        mask = np.asarray(Image.open(tmp_path / f"out/o{orientation}.png"))
        assert mask.shape == truth.shape and not mask[~inside].any()
        assert (mask[inside] == 1).mean() > 0.8, orientation


def test_statistics_count_boxes_and_name_the_empty_ones():
    shares = {"0": 0.5, "255": 0.0, "2": 0.5}
    record = {"tags": [2], "confidence": 0.5, "shares": shares}
    records = [{"key": "a", **record, "boxes": [[2, 0.5], [2, 0.0]]}, {"key": "b", **record, "boxes": [[2, 1.0]]}]
    records.append({"key": "c", **record})
    sums = [LabelSums.of_image(record["key"], record, (2,)) for record in records]
    found = label_statistics(LabelSums.merged(sums), CATEGORIES)
    assert found["boxes"] == {"count": 3, "covered": 0.5, "empty": 1, "images": ["a"]}
    assert "boxes" not in label_statistics(sums[2], CATEGORIES)
