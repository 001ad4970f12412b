"""Any sequence of imports into one folder keeps each picture right or names it, and loses nothing that is there."""

import csv
import hashlib
import io
import json
import re
import unicodedata
from collections import Counter, defaultdict
from urllib.parse import unquote

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from random_datasets import NAMES, outcome, pictures
from random_formats import KINDS

from components.dataset_import.writer import import_dataset
from trainer.data.categories import VOC
from trainer.errors import UserError

pytestmark = pytest.mark.slow  # many random datasets


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
        self.looks = defaultdict(list)
        for name, data in self.files.items():
            self.looks[look(data)].append(name.rpartition(".")[0])
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

    def key(self, picture, kind):
        """The key of a picture: of what looks so, that which has its name, perhaps with a number behind."""
        name = re.sub(r'[/"]', "_", unicodedata.normalize("NFC", picture.stem))
        keys = [key for key in self.looks[look(picture.encoded())] if re.fullmatch(re.escape(name) + r"(_\d+)?", key)]
        assert len(keys) <= 1, f"{picture} came in twice: {keys}"
        return keys[0] if keys else None

    def check_consistent(self):
        keys = [name.rpartition(".")[0] for name in self.files]
        assert len(set(keys)) == len(keys), "two pictures share a key"
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
    """One more import into a folder that was as `before` -> the folder as it is now."""
    kind, given_pictures, names, skip = dataset
    names = list(VOC) if kind == "sbd" else list(names)
    kind = KINDS[kind]
    put = kind.takes(given_pictures)
    skipped = {names[skip]} if skip is not None else set()
    outcomes = [(picture, outcome(picture, names, kind)) for picture in put]
    usable = [(picture, found) for picture, found in outcomes if not found.dead and not found.tags & skipped]
    dead = [picture for picture, found in outcomes if found.dead]
    place.mkdir()
    read = kind.write(put, names, place)
    try:
        contents = read(place)
        done = import_dataset(contents, root, split, skip=skipped & set(contents.names))
    except UserError as error:
        after = Folder(root)
        after.check_holds(before)
        assert all(before.key(picture, kind) for picture, _ in usable), error  # what is there may be contradicted
        return after
    after = Folder(root)
    after.check_holds(before)
    after.check_consistent()
    contradicted = 0
    for picture, found in usable:
        letters = [letter for letter in after.letters if letter["key"] == kind.prefix + picture.name]
        if before.key(picture, kind) and any(letter["stage"] == "mask" for letter in letters):
            contradicted += 1
        else:
            check_kept(picture, found, kind, before, after, split, names, letters)
    told = [unquote(letter["key"] + letter["reason"]) for letter in after.letters]  # URLs stand there
    for picture in dead:
        assert any(picture.stem in text for text in told), picture
    assert done["images"] == len(usable) - contradicted
    assert done["left_out"] == len(put) - len(usable) - len(dead)
    orphans = sum(thing.damage == "orphan" for picture in put for thing in picture.things)
    assert done["dead"] == len(dead) + contradicted + orphans
    assert len(after.letters) == done["dead"] + done["dropped"]
    return after


def check_kept(picture, found, kind, before, after, split, names, letters):
    """A picture is there with its mask and tags, and all of its objects are in these or named."""
    key = after.key(picture, kind)
    assert key, f"{picture} is not in the output: {after.letters}"
    assert key in after.lists[split]
    old = before.key(picture, kind)
    mask, tags = after.masks.get(key), after.tags[key]
    assert tags - before.tags.get(old, set()) <= found.tags <= tags
    if found.mask is None:
        assert old or mask is None
    else:
        ids = [after.names.index(name) + 1 if name in after.names else 255 for name in names]
        assert found.fits(mask, picture, ids), f"{picture}: its mask is wrong:\n{mask}"
    if not old and not kind.is_mask:
        owned = sum(thing.damage != "orphan" for thing in picture.things)
        assert len(tags) + len(letters) == owned, f"{picture}: {tags} and {letters} are not its objects"


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
