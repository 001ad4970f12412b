"""What can be read in two ways: told, or refused; never taken silently."""

import json

import numpy as np
import pytest
from PIL import Image
from test_import_names import letters, photo

from components.dataset_import.coco import read_coco
from components.dataset_import.folders import read_cvat, read_folder
from components.dataset_import.writer import import_dataset
from trainer.data.category_names import read_names
from trainer.errors import UserError

HEIGHT, WIDTH = 10, 12
IDS = np.zeros((HEIGHT, WIDTH), np.uint8)
IDS[1:5, 2:6] = 1


def mask(path, ids):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(ids).save(path)


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def brought(contents, place):
    return import_dataset(contents, place / "o", "train")


def of_folder(place, names=("dog", "cat")):
    return read_folder(str(place / "photos"), str(place / "masks"), None, names)


def test_a_half_turned_picture_and_a_mask_that_does_not_say_so_are_told_of(tmp_path):
    photo(tmp_path / "photos/a.jpg", exif=turned(3))
    photo(tmp_path / "photos/b.jpg", 1)
    for name in "ab":
        mask(tmp_path / f"masks/{name}.png", IDS)
    done = brought(of_folder(tmp_path), tmp_path)
    [note] = [note for note in done["notes"] if "EXIF" in note]
    assert "1 images, for one a.jpg" in note
    np.testing.assert_array_equal(Image.open(tmp_path / "o/SegmentationClass/a.png"), IDS)


def test_objects_of_coco_on_a_half_turned_picture_are_told_of(tmp_path):
    photo(tmp_path / "photos/a.jpg", exif=turned(3))
    entry = {"id": 1, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH}
    cat = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 8, 1, 8, 8]]}
    data = {"images": [entry], "annotations": [cat], "categories": [{"id": 1, "name": "cat"}]}
    (tmp_path / "x.json").write_text(json.dumps(data))
    done = brought(read_coco(str(tmp_path / "x.json"), str(tmp_path / "photos")), tmp_path)
    assert any("EXIF turns the picture" in note for note in done["notes"])


def test_cvats_masks_are_drawn_on_the_upright_picture(tmp_path):
    photo(tmp_path / "JPEGImages/a.jpg", exif=turned(3))
    colours = np.array([[0, 0, 0], [9, 200, 9]], np.uint8)
    (tmp_path / "SegmentationClass").mkdir()
    Image.fromarray(colours[IDS]).save(tmp_path / "SegmentationClass/a.png")
    (tmp_path / "labelmap.txt").write_text("background:0,0,0::\ndog:9,200,9::\n")
    done = brought(read_cvat(str(tmp_path)), tmp_path)
    assert not any("EXIF" in note for note in done["notes"])
    np.testing.assert_array_equal(Image.open(tmp_path / "o/SegmentationClass/a.png"), IDS[::-1, ::-1])


def test_a_palette_whose_colours_are_not_those_of_its_indices_is_told_of(tmp_path):
    photo(tmp_path / "photos/a.jpg")
    swapped = Image.fromarray(IDS, "P")
    swapped.putpalette([0, 0, 0, 0, 128, 0, 128, 0, 0])
    (tmp_path / "masks").mkdir()
    swapped.save(tmp_path / "masks/a.png")
    done = brought(of_folder(tmp_path), tmp_path)
    assert any("other ids than its indices; the colours were taken" in note for note in done["notes"])


def test_a_palette_of_black_and_white_is_of_indices(tmp_path):
    photo(tmp_path / "photos/a.jpg")
    drawn = Image.fromarray(IDS, "P")
    drawn.putpalette([0, 0, 0, 255, 255, 255])
    (tmp_path / "masks").mkdir()
    drawn.save(tmp_path / "masks/a.png")
    done = brought(of_folder(tmp_path), tmp_path)
    assert not any("colours were taken" in note for note in done["notes"])
    np.testing.assert_array_equal(Image.open(tmp_path / "o/SegmentationClass/a.png"), IDS)


def test_two_pictures_of_other_folders_are_not_the_one_that_is_there(tmp_path):
    photo(tmp_path / "photos/1.jpg")
    photo(tmp_path / "photos/2.jpg", 1)
    (tmp_path / "tags.csv").write_text("image,tags\ncats/1.jpg,cat\ndogs/1.jpg,dog\nphotos/2.jpg,dog\n")
    done = brought(read_folder(str(tmp_path / "photos"), None, str(tmp_path / "tags.csv"), None), tmp_path)
    assert set(done["keys"]) == {"2.jpg"}
    reasons = {letter["key"]: letter["reason"] for letter in letters(tmp_path / "o")}
    assert "'cats/1.jpg' and 'dogs/1.jpg' are both 1.jpg here" in reasons["cats/1.jpg"]


@pytest.mark.parametrize("name", ["a", "a.jpg"])
def test_a_picture_with_two_lines_of_tags_is_left_out_however_it_is_named(name, tmp_path):
    photo(tmp_path / "photos/a.jpg")
    photo(tmp_path / "photos/b.jpg", 1)
    (tmp_path / "tags.csv").write_text(f"image,tags\n{name},cat\n{name},dog\nb,dog\n")
    done = brought(read_folder(str(tmp_path / "photos"), None, str(tmp_path / "tags.csv"), None), tmp_path)
    assert set(done["keys"]) == {"b.jpg"}
    assert any("keep one line with all its tags" in letter["reason"] for letter in letters(tmp_path / "o"))


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        (("dog", "cat", "dog/cat"), "'dog/cat' looks like dog, cat"),
        (("haze primary", "clear primary", "clear", "haze", "primary"), "'haze primary' looks like haze, primary"),
        (
            ("haze road", "haze water", "haze field", "clear road", "clear water", "clear field"),
            "'haze road' looks like",
        ),
        (("dog", "nan"), "line 3: tag 'nan' is no category"),
    ],
)
def test_tags_that_look_like_several_or_like_nothing_are_refused(tags, words, tmp_path):
    for i, _ in enumerate(tags):
        photo(tmp_path / f"photos/{i}.jpg", i)
    lines = "".join(f"{i}.jpg,{tag}\n" for i, tag in enumerate(tags))
    (tmp_path / "tags.csv").write_text(f"image,tags\n{lines}")
    with pytest.raises(UserError, match=words):
        read_folder(str(tmp_path / "photos"), None, str(tmp_path / "tags.csv"), None)


def test_names_of_two_words_are_names(tmp_path):
    photo(tmp_path / "photos/a.jpg")
    (tmp_path / "tags.csv").write_text("image,tags\na.jpg,wine glass|dining table|dog\n")
    contents = read_folder(str(tmp_path / "photos"), None, str(tmp_path / "tags.csv"), None)
    assert contents.names == ("wine glass", "dining table", "dog")


@pytest.mark.parametrize("names", [("1 car", "2 bus"), ("M6, 10", "M8, 20")])
def test_names_that_their_own_file_would_not_give_back_are_refused(names, tmp_path):
    photo(tmp_path / "photos/a.jpg")
    mask(tmp_path / "masks/a.png", IDS)
    with pytest.raises(UserError, match=r"would be read as numbered lines .* --prefix"):
        brought(of_folder(tmp_path, names), tmp_path)


def test_a_prefix_makes_numbered_names_readable(tmp_path):
    photo(tmp_path / "photos/a.jpg")
    mask(tmp_path / "masks/a.png", IDS)
    done = import_dataset(of_folder(tmp_path, ("1 car", "2 bus")), tmp_path / "o", "train", prefix="the ")
    assert done["categories"] == ["the 1 car", "the 2 bus"] == read_names(tmp_path / "o/categories.txt")


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_picture_cut_short_does_not_come_in(suffix, tmp_path):
    photo(tmp_path / f"photos/a{suffix}", size=(80, 90))
    photo(tmp_path / "photos/b.jpg", 1)
    for name, size in (("a", (90, 80)), ("b", (HEIGHT, WIDTH))):
        mask(tmp_path / f"masks/{name}.png", np.ones(size, np.uint8))
    path = tmp_path / f"photos/a{suffix}"
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    done = brought(of_folder(tmp_path), tmp_path)
    assert set(done["keys"]) == {"b.jpg"}
    assert "damaged" in done["first_fault"]
