"""Any sequence of imports into one folder keeps each picture right or names it, and loses nothing that is there."""

import csv
import hashlib
import io
import json
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from random_datasets import NAMES, Outcome, outcome, pictures
from random_formats import KINDS

from components.dataset_import.writer import import_dataset
from trainer.categories import VOC
from trainer.errors import UserError


@st.composite
def datasets(draw, number):
    """(format, its pictures, names by id, index of a category to skip or None)."""
    kind = draw(st.sampled_from(list(KINDS)))
    some = [draw(pictures(100 * number + i)) for i in range(draw(st.integers(1, 4)))]
    return kind, some, draw(st.permutations(NAMES)), draw(st.sampled_from([None] * 5 + [0]))


@st.composite
def sequences(draw):
    """1..3 datasets; one may bring pictures of an earlier one again, in its format or in another."""
    found = []
    for number in range(draw(st.integers(1, 3))):
        dataset = draw(datasets(number))
        if found and draw(st.integers(0, 3)) == 0:
            dataset = (dataset[0], *draw(st.sampled_from(found))[1:])
        found.append(dataset)
    return found


def look(data):
    """Of a JPEG its bytes, of others their upright pixels."""
    if data[:2] == b"\xff\xd8":
        return hashlib.sha256(data).hexdigest()
    with Image.open(io.BytesIO(data)) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
        return f"{upright.size} {hashlib.sha256(upright.tobytes()).hexdigest()}"


class Folder:
    """What lies in the output, read with Pillow and the standard library."""

    def __init__(self, root):
        self.files = {path.name: path.read_bytes() for path in (root / "JPEGImages").glob("*")}
        self.masks = {path.stem: np.array(Image.open(path)) for path in (root / "SegmentationClass").glob("*")}
        self.looks = {look(data): name.rpartition(".")[0] for name, data in self.files.items()}
        self.lists = {path.stem: path.read_text().split("\n") for path in root.glob("ImageSets/Segmentation/*.txt")}
        names = root / "categories.txt"
        self.names = names.read_text().split("\n")[:-1] if names.exists() else []
        self.tags = {}
        if (root / "tags.csv").exists():
            with open(root / "tags.csv", newline="") as file:
                self.tags = {row["image"]: set(row["tags"].split("|")) - {""} for row in csv.DictReader(file)}
        self.letters = []
        if (root / "import_faults.jsonl").exists():
            self.letters = [json.loads(line) for line in (root / "import_faults.jsonl").read_text().splitlines()]

    def check_consistent(self):
        keys = [name.rpartition(".")[0] for name in self.files]
        assert len(set(keys)) == len(keys) == len(self.looks), "two pictures share a key or a look"
        assert set(self.masks) <= set(keys) and set(self.tags) == set(keys)
        for keys_listed in self.lists.values():
            assert set(keys_listed) - {""} <= set(keys) and max(Counter(keys_listed).values()) == 1
        for name, data in self.files.items():
            mask = self.masks.get(name.rpartition(".")[0])
            with Image.open(io.BytesIO(data)) as image:
                assert mask is None or mask.shape == image.size[::-1]
        for mask in self.masks.values():
            assert set(np.unique(mask)) <= {*range(len(self.names) + 1), 255}

    def check_holds(self, before):
        """Nothing that was there before is lost or changed."""
        assert before.files.items() <= self.files.items()
        for key, mask in before.masks.items():
            np.testing.assert_array_equal(self.masks[key], mask)
        assert self.names[: len(before.names)] == before.names
        assert all(tags <= self.tags[key] for key, tags in before.tags.items())
        assert all(set(lines) <= set(self.lists[name]) for name, lines in before.lists.items())


def check_import(root, before, dataset, split, place):
    kind, given_pictures, names, skip = dataset
    names = list(VOC) if kind == "sbd" else list(names)
    kind = KINDS[kind]
    put = kind.takes(given_pictures)
    skipped = {names[skip]} if skip is not None else set()
    outcomes = [outcome(picture, names, kind) for picture in put]
    usable = [
        (picture, found)
        for picture, found in zip(put, outcomes, strict=True)
        if not found.dead and not (found.tags & skipped)
    ]
    left_out = sum(not found.dead and bool(found.tags & skipped) for found in outcomes)
    orphans = sum(thing.damage == "orphan" for picture in put for thing in picture.things)
    place.mkdir()
    read = kind.write(put, names, place)
    try:
        contents = read(place)
        done = import_dataset(contents, root, split, skip=skipped & set(contents.names))
    except UserError as error:
        after = Folder(root)
        after.check_holds(before)
        again = [p for p, _ in usable if look(p.encoded()) in before.looks]  # may contradict what is there
        assert len(again) == len(usable), f"{error}"
        assert "\n" not in str(error)
        return after
    after = Folder(root)
    after.check_holds(before)
    after.check_consistent()
    texts = [f"{letter['key']} {letter['reason']}" for letter in after.letters]

    def named(picture):
        return any(picture.name in text or picture.stem in text for text in texts)

    by_look = defaultdict(list)
    for picture, found in usable:
        by_look[look(picture.encoded())].append((picture, found))
    kept = 0
    for seen, several in by_look.items():
        key = after.looks.get(seen)
        assert key is not None, f"{several[0][0]} is not in the output: {texts}"
        contradicts = any(
            letter["key"] == p.name and letter["stage"] == "mask" for p, _ in several for letter in after.letters
        )
        if seen in before.looks and contradicts:
            continue
        kept += 1
        assert key in after.lists[split]
        mask, tags = after.masks.get(key), after.tags[key] - before.tags.get(key, set())
        fitting = [found for picture, found in several if fits(found, mask, picture, after.names, names, seen, before)]
        assert fitting, f"the mask of {key} is wrong: {several}\n{mask}"
        assert any(tags <= found.tags <= after.tags[key] for found in fitting), (tags, fitting)
    dead = [picture for picture, found in zip(put, outcomes, strict=True) if found.dead]
    assert all(named(picture) for picture in dead), (dead, texts)
    assert (done["images"], done["left_out"]) == (kept, left_out)
    assert done["images"] + done["left_out"] + done["dead"] == len(put) + orphans, texts
    if len(by_look) == len(usable) == kept:  # objects: those kept, those named one by one, those of pictures left out
        objects = sum(found.dropped for _, found in usable)
        assert (
            done["dropped"]
            == objects
            == sum(letter["stage"] == "object" for letter in after.letters)
            - orphans
            - sum(
                letter["stage"] == "object" and letter["reason"].startswith("none of its objects")
                for letter in after.letters
            )
        )
    assert len(after.letters) == done["dead"] + done["dropped"]
    return after


def fits(found: Outcome, mask, picture, all_names, names, seen, before):
    if found.mask is None:
        return mask is None or seen in before.looks
    return mask is not None and found.fits(
        mask, picture, [all_names.index(n) + 1 if n in all_names else 255 for n in names]
    )


def check_sequence(sequence, place):
    root = place / "out"
    state = Folder(root)
    for number, dataset in enumerate(sequence):
        state = check_import(root, state, dataset, ("train", "val")[number % 2], place / str(number))
    assert not (root / ".unfinished").exists()


SETTINGS = {"suppress_health_check": list(HealthCheck), "deadline": None}


@settings(max_examples=12, derandomize=True, **SETTINGS)
@given(sequence=sequences())
def test_imports_keep_each_picture_right_or_name_it(tmp_path_factory, sequence):
    check_sequence(sequence, tmp_path_factory.mktemp("imports"))


@pytest.mark.soak
@settings(max_examples=300, **SETTINGS)
@given(sequence=sequences())
def test_many_imports_keep_each_picture_right_or_name_it(tmp_path_factory, sequence):
    check_sequence(sequence, tmp_path_factory.mktemp("imports"))
