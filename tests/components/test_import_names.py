"""Which picture a name means, that two pictures never share a key, and that nothing outside the folders is read."""

import json
import os
import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.dataset_import.coco import read_coco
from components.dataset_import.folders import read_cvat, read_folder
from components.dataset_import.voc_folders import read_voc
from components.dataset_import.writer import import_dataset
from trainer.data.names import Pictures
from trainer.errors import UserError


def photo(path, seed=0, size=(12, 10), **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)
    Image.fromarray(pixels).save(path, **how)
    return path


def mask(path, ids):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((10, 12), ids, np.uint8)).save(path)


def letters(place):
    return [json.loads(line) for line in (place / "import_faults.jsonl").read_text().splitlines()]


def rows(place):
    return (place / "tags.csv").read_text().split("\n")[1:-1]


NAMES = {  # what a table calls the picture "holiday/My é 1.JPG"
    "as it is": "holiday/My é 1.JPG",
    "without folder": "My é 1.JPG",
    "without suffix": "My é 1",
    "another case of the suffix": "My é 1.jpg",
    "decomposed": unicodedata.normalize("NFD", "My é 1.JPG"),
    "encoded": "holiday/My%20%C3%A9%201.JPG",
    "backslashes": "holiday\\My é 1.JPG",
    "a Windows path": "C:\\data\\photos\\holiday\\My é 1.JPG",
    "the folder of the table": "photos/holiday/My é 1.JPG",
    "a URL": "https://example.org/photos/holiday/My%20%C3%A9%201.JPG",
    "an upload": "/data/upload/3/0123abcd-My é 1.JPG",
    "all small": "my é 1.jpg",
    "its key": "holiday_My é 1",
    "blanks around": "  My é 1.JPG ",
}


@pytest.mark.parametrize("kind", NAMES)
def test_a_picture_is_found_by_what_people_call_it(kind, tmp_path):
    photo(tmp_path / "photos/holiday/My é 1.JPG")
    photo(tmp_path / "photos/other.jpg", 1)
    (tmp_path / "tags.csv").write_text(f'image,tags\n"{NAMES[kind]}",dog\nother.jpg,cat\n')
    done = import_dataset(
        read_folder(str(tmp_path / "photos"), None, str(tmp_path / "tags.csv"), None), tmp_path / "o", "train"
    )
    assert done["dead"] == 0 and rows(tmp_path / "o") == ["holiday_My é 1,dog", "other,cat"]


def test_names_that_mean_none_or_several_are_named_with_the_nearest(tmp_path):
    for i, name in enumerate(("one/photo.jpg", "two/photo.jpg", "holiday.jpg")):
        photo(tmp_path / "photos" / name, i)
    (tmp_path / "tags.csv").write_text("image,tags\nphoto.jpg,dog\nholidays.jpg,dog\none/photo.jpg,cat\n")
    done = import_dataset(
        read_folder(str(tmp_path / "photos"), None, str(tmp_path / "tags.csv"), None), tmp_path / "o", "train"
    )
    reasons = {letter["key"]: letter["reason"] for letter in letters(tmp_path / "o")}
    assert done["images"] == 1 and rows(tmp_path / "o") == ["one_photo,cat"]
    assert "line 2: 'photo.jpg' may mean one/photo.jpg or two/photo.jpg" in reasons["photo.jpg"]
    assert "the nearest is 'holiday.jpg'" in reasons["holidays.jpg"]


@pytest.mark.parametrize("ending", ["_mask", "-label", "_labels", "_gt", "_seg", ".jpg", ""])
@pytest.mark.parametrize("suffix", [".png", ".PNG", ".tif"])
def test_masks_are_paired_by_stem(ending, suffix, tmp_path):
    for i, name in enumerate(("a", "b.c d")):
        photo(tmp_path / f"photos/train/{name}.jpg", i)
        mask(tmp_path / f"masks/train/{name}{ending}{suffix}", i + 1)
    contents = read_folder(str(tmp_path / "photos"), str(tmp_path / "masks"), None, ["dog", "cat"])
    done = import_dataset(contents, tmp_path / "o", "train")
    assert (done["masks"], done["dead"]) == (2, 0) and rows(tmp_path / "o") == ["train_a,dog", "train_b.c d,cat"]


def test_a_mask_for_two_pictures_and_two_masks_for_one_are_named(tmp_path):
    for i, name in enumerate(("a.jpg", "a.png", "b.jpg", "c.jpg")):
        photo(tmp_path / "photos" / name, i)
    for name in ("a.png", "b.png", "b_mask.png", "c.png", "d.png"):
        mask(tmp_path / "masks" / name, 1)
    contents = read_folder(str(tmp_path / "photos"), str(tmp_path / "masks"), None, ["dog", "cat"])
    done = import_dataset(contents, tmp_path / "o", "train")
    reasons = {letter["key"]: letter["reason"] for letter in letters(tmp_path / "o")}
    assert done["images"] == 1 and set(reasons) == {"a.jpg", "a.png", "b.jpg", "d.png"}
    assert "has 2 masks: b.png, b_mask.png" in reasons["b.jpg"]


@pytest.mark.parametrize("other", ["a.jpg", "a.png", "b/a.jpg"])
def test_an_address_means_the_picture_in_its_folder(other):
    pictures = Pictures(["sub/a.jpg", other])
    assert pictures.find("/data/local-files/?d=sub/a.jpg") == "sub/a.jpg"
    assert pictures.find("http://host/data/local-files/?d=sub%2Fa.jpg") == "sub/a.jpg"
    assert pictures.find("https://host/x/sub/a.jpg?sign=1") == "sub/a.jpg"


@pytest.mark.parametrize(("there", "missing"), [("sub/a", "a"), ("a", "sub/a"), ("x/a", "y/a")])
def test_a_missing_pictures_mask_takes_no_other_picture(there, missing, tmp_path):
    photo(tmp_path / f"photos/{there}.jpg", 1)
    mask(tmp_path / f"masks/{there}.png", 1)
    mask(tmp_path / f"masks/{missing}.png", 2)
    contents = read_folder(str(tmp_path / "photos"), str(tmp_path / "masks"), None, ["dog", "cat"])
    done = import_dataset(contents, tmp_path / "o", "train")
    [letter] = letters(tmp_path / "o")
    assert done["images"] == 1 and [line.split(",")[1] for line in rows(tmp_path / "o")] == ["dog"]
    assert letter["key"] == f"{missing}.png" and "belongs to no picture" in letter["reason"]


@pytest.mark.parametrize(("there", "missing"), [("sub/a", "a"), ("a", "sub/a")])
def test_a_missing_pictures_annotation_takes_no_other_picture(there, missing, tmp_path):
    photo(tmp_path / f"voc/JPEGImages/{there}.jpg", 1)
    for name, category in ((there, "dog"), (missing, "cat")):
        path = tmp_path / f"voc/Annotations/{name}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"<annotation><object><name>{category}</name></object></annotation>")
    contents = read_voc(str(tmp_path / "voc"), ["dog", "cat"], None)
    assert [sample.tags for sample in contents.samples] == [("dog",)]
    assert [letter["key"] for letter in contents.faults] == [f"{missing}.xml"]


def test_masks_beside_the_pictures(tmp_path):
    for i in range(2):
        photo(tmp_path / f"{i}.jpg", i)
        mask(tmp_path / f"{i}.png", i + 1)
    contents = read_folder(str(tmp_path), str(tmp_path), None, ["dog", "cat"])
    assert import_dataset(contents, tmp_path / "o", "train")["images"] == 2 and rows(tmp_path / "o") == [
        "0,dog",
        "1,cat",
    ]


def test_pictures_of_one_key_are_kept_apart(tmp_path):
    names = ["a.jpg", "a.png", "sub/a.jpg", "sub_a.jpg", "x" * 230 + ".jpg", "x" * 230 + "y.jpg"]
    for i, name in enumerate(names):
        photo(tmp_path / "photos" / name, i)
    entries = [{"id": i, "file_name": name, "height": 10, "width": 12} for i, name in enumerate(names)]
    marks = [
        {"image_id": i, "category_id": i, "segmentation": [[i, 0, i + 3, 0, i + 3, 9, i, 9]]} for i in range(len(names))
    ]
    data = {
        "images": entries,
        "annotations": marks,
        "categories": [{"id": i, "name": f"c{i}"} for i in range(len(names))],
    }
    (tmp_path / "c.json").write_text(json.dumps(data))
    for _ in range(2):  # once more changes nothing
        done = import_dataset(read_coco(str(tmp_path / "c.json"), str(tmp_path / "photos")), tmp_path / "o", "train")
        assert done["images"] == len(names) and done["dead"] == 0
        tags = dict(row.split(",") for row in rows(tmp_path / "o"))
        assert len(tags) == len(names)
        for key, tag in tags.items():
            number = int(tag[1:])
            [stored] = (tmp_path / "o/JPEGImages").glob(f"{key}.*")
            assert stored.read_bytes() == (tmp_path / "photos" / names[number]).read_bytes()
            ids = np.array(Image.open(tmp_path / f"o/SegmentationClass/{key}.png"))
            assert set(ids[:, number]) == {0, number + 1} or (ids[:9, number] == number + 1).all()


def test_two_datasets_with_one_name_add_up(tmp_path):
    for i, place in enumerate(("one", "two")):
        photo(tmp_path / place / "1.jpg", i)
        mask(tmp_path / f"{place}_masks/1.png", 1)
    one = read_folder(str(tmp_path / "one"), str(tmp_path / "one_masks"), None, ["dog", "cat"])
    two = read_folder(str(tmp_path / "two"), str(tmp_path / "two_masks"), None, ["cat", "dog"])
    import_dataset(one, tmp_path / "o", "train")
    before = (tmp_path / "o/SegmentationClass/1.png").read_bytes()
    done = import_dataset(two, tmp_path / "o", "val")
    assert rows(tmp_path / "o") == ["1,dog", "1_2,cat"] and "1 images got another key" in done["notes"][-1]
    assert (tmp_path / "o/SegmentationClass/1.png").read_bytes() == before
    assert np.unique(Image.open(tmp_path / "o/SegmentationClass/1_2.png")).tolist() == [2]
    lists = {path.stem: path.read_text() for path in (tmp_path / "o/ImageSets/Segmentation").iterdir()}
    assert lists == {"train": "1\n", "val": "1_2\n"}


def test_a_picture_that_is_there_keeps_its_mask_unless_told_otherwise(tmp_path):
    photo(tmp_path / "photos/1.jpg")
    mask(tmp_path / "masks/1.png", 1)
    contents = read_folder(str(tmp_path / "photos"), str(tmp_path / "masks"), None, ["dog", "cat"])
    import_dataset(contents, tmp_path / "o", "train")
    mask(tmp_path / "masks/1.png", 2)
    with pytest.raises(
        UserError, match=r"1.jpg: is there already \(1\) with another mask; --replace takes the new one"
    ):
        import_dataset(contents, tmp_path / "o", "train")
    assert rows(tmp_path / "o") == ["1,dog"]
    done = import_dataset(contents, tmp_path / "o", "val", replace=True)
    assert rows(tmp_path / "o") == ["1,cat"] and "1 masks replaced by others" in done["notes"]
    assert "1 images are in the list train too, for one 1" in done["notes"]


def coco(place, images, **how):
    marks = [{"image_id": i, "category_id": 1, "segmentation": [[0, 0, 9, 0, 9, 9]]} for i in range(len(images))]
    data = {"images": images, "annotations": marks, "categories": [{"id": 1, "name": "dog"}]}
    (place / "c.json").write_text(json.dumps(data))
    return read_coco(str(place / "c.json"), str(place / "photos"), **how)


def entry(number, name):
    return {"id": number, "file_name": name, "height": 10, "width": 12}


@pytest.mark.parametrize("name", ["../secret/s.jpg", "{place}/secret/s.jpg", "file://{place}/secret/s.jpg", "s.jpg"])
def test_nothing_outside_the_given_folder_is_read(name, tmp_path):
    photo(tmp_path / "photos/1.jpg")
    photo(tmp_path / "secret/s.jpg", 1)
    contents = coco(tmp_path, [entry(0, "1.jpg"), entry(1, name.format(place=tmp_path))])
    done = import_dataset(contents, tmp_path / "o", "train")
    assert (done["images"], done["dead"]) == (1, 1) and "s.jpg" in letters(tmp_path / "o")[0]["key"]


def test_links_out_of_the_folder_are_named_or_followed(tmp_path):
    photo(tmp_path / "photos/1.jpg")
    photo(tmp_path / "store/2.jpg", 1)
    photo(tmp_path / "more/3.jpg", 2)
    os.symlink(tmp_path / "store/2.jpg", tmp_path / "photos/2.jpg")
    os.symlink(tmp_path / "more", tmp_path / "photos/batch")
    os.symlink(tmp_path / "photos", tmp_path / "photos/loop")
    images = [entry(0, "1.jpg"), entry(1, "2.jpg"), entry(2, "batch/3.jpg")]
    done = import_dataset(coco(tmp_path, images), tmp_path / "o", "train")
    reasons = {letter["key"]: letter["reason"] for letter in letters(tmp_path / "o")}
    assert done["images"] == 1 and "--follow-links takes it" in reasons["batch"]
    done = import_dataset(coco(tmp_path, images, follow_links=True), tmp_path / "all", "train")
    assert (done["images"], done["dead"]) == (3, 0)


def test_pipes_and_names_of_any_bytes_do_not_stop_an_import(tmp_path):
    photo(tmp_path / "photos/1.jpg")
    os.mkfifo(tmp_path / "photos/2.jpg")
    odd = photo(tmp_path / "photos/x.jpg", 1)
    os.rename(odd, os.fsencode(tmp_path / "photos") + b"/bad\xff.jpg")
    mask(tmp_path / "masks/1.png", 1)
    mask(tmp_path / "masks/2.png", 1)
    contents = read_folder(str(tmp_path / "photos"), str(tmp_path / "masks"), None, ["dog", "cat"])
    done = import_dataset(contents, tmp_path / "o", "train")
    reasons = {letter["key"]: letter["reason"] for letter in letters(tmp_path / "o")}
    assert done["images"] == 1 and "not a regular file" in reasons["2.jpg"] and "neither" in reasons["bad\\xff.jpg"]


def test_brackets_and_blanks_are_plain_letters(tmp_path):
    photo(tmp_path / "photos [1]/a [b]*.jpg")
    mask(tmp_path / "masks ?/a [b]*.png", 1)
    contents = read_folder(str(tmp_path / "photos [1]"), str(tmp_path / "masks ?"), None, ["dog", "cat"])
    import_dataset(contents, tmp_path / "out [v2] *", "train")
    assert rows(tmp_path / "out [v2] *") == ["a [b]*,dog"]
    assert {path.name for path in (tmp_path / "out [v2] *").iterdir() if not path.name.startswith(".")} == {
        *("JPEGImages", "SegmentationClass", "ImageSets", "tags.csv", "categories.txt", "import_faults.jsonl")
    }


LISTS = {
    "blanks": "my photo 1\n2\n",
    "quotes": '"my photo 1"\n2\n',
    "suffixes": "my photo 1.jpg\n2.JPG\n",
    "UTF-16": "my photo 1\r\n2\r\n".encode("utf-16"),
    "a byte order mark": "\ufeffmy photo 1\r\n2\r\n",
}


@pytest.mark.parametrize("kind", LISTS)
def test_lists_as_people_write_them(kind, tmp_path):
    for i, name in enumerate(("my photo 1.jpg", "2.JPG", "3.jpg")):
        photo(tmp_path / "JPEGImages" / name, i)
        mask(tmp_path / f"SegmentationClass/{Path(name).stem}.png", i + 1)
    (tmp_path / "ImageSets/Segmentation").mkdir(parents=True)
    text = LISTS[kind]
    (tmp_path / "ImageSets/Segmentation/train.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    done = import_dataset(read_voc(str(tmp_path), None, "train"), tmp_path / "o", "train")
    assert (done["images"], done["dead"]) == (2, 0) and rows(tmp_path / "o") == ["2,bicycle", "my photo 1,aeroplane"]


def test_an_export_of_cvat_without_pictures(tmp_path):
    for i in range(2):
        mask(tmp_path / f"cvat/SegmentationClass/{i}.png", 0)
        photo(tmp_path / f"photos/{i}.jpg", i)
    (tmp_path / "cvat/labelmap.txt").write_text("background:0,0,0::\ndog:9,9,9::\ncat:::\n")
    with pytest.raises(UserError, match="an export without pictures; export with 'save images', or give .* --images"):
        read_cvat(str(tmp_path / "cvat"))
    done = import_dataset(read_cvat(str(tmp_path / "cvat"), str(tmp_path / "photos")), tmp_path / "o", "train")
    assert done["images"] == 2 and done["categories"] == ["dog", "cat"]
    assert "2 of 2 masks show no category (2 only background)" in done["notes"]


@pytest.mark.parametrize(("missing", "there"), [("a.jpg", "sub/a.jpg"), ("sub/a.jpg", "a.jpg"), ("x/a.jpg", "y/a.jpg")])
def test_a_missing_picture_takes_no_other_entry_s_picture(tmp_path, missing, there):
    photo(tmp_path / "photos" / there, 1)
    contents = coco(tmp_path, [entry(0, missing), entry(1, there)])
    assert [sample.name for sample in contents.samples] == [there]
    [letter] = contents.faults
    assert letter["key"] == missing and "no picture" in letter["reason"]
    alone = coco(tmp_path, [entry(0, missing)]) if missing.partition("/")[0] != "x" else None
    assert alone is None or [sample.name for sample in alone.samples] == [there]  # else the folders are just others


def test_what_an_earlier_import_or_run_wrote_below_the_pictures_is_none_of_them(tmp_path):
    photo(tmp_path / "a.jpg")
    (tmp_path / "tags.csv").write_text("image,tags\na.jpg,dog\n")
    (tmp_path / "runs/first").mkdir(parents=True)
    (tmp_path / "runs/first/metadata.sqlite").touch()
    photo(tmp_path / "runs/first/curves.jpg", seed=1)
    for _ in range(2):
        contents = read_folder(str(tmp_path), None, str(tmp_path / "tags.csv"), None)
        done = import_dataset(contents, tmp_path / "data", "train")
        assert (done["images"], done["dead"]) == (1, 0)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ('a.jpg,"dog, cat"', "the tag 'dog, cat' holds a comma; tags are separated by |"),
        ("a.jpg,dog|void", "'void' is no category"),
    ],
)
def test_tags_that_are_no_categories_are_refused(rows, words, tmp_path):
    photo(tmp_path / "photos/a.jpg")
    (tmp_path / "tags.csv").write_text(f"image,tags\n{rows}\n")
    with pytest.raises(UserError, match=re.escape(words)):
        read_folder(str(tmp_path / "photos"), None, str(tmp_path / "tags.csv"), None)


def test_a_tag_background_says_that_there_is_nothing(tmp_path):
    photo(tmp_path / "photos/a.jpg")
    photo(tmp_path / "photos/b.jpg", seed=1)
    (tmp_path / "tags.csv").write_text("image,tags\na.jpg,background\nb.jpg,dog\n")
    for _ in range(2):
        contents = read_folder(str(tmp_path / "photos"), None, str(tmp_path / "tags.csv"), None)
        assert import_dataset(contents, tmp_path / "out", "train")["categories"] == ["dog"]
    assert (tmp_path / "out/tags.csv").read_text() == "image,tags\na,\nb,dog\n"
