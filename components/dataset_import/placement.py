"""Where what an import brings is put: each picture gets a key of its own, what is there already stays."""

from __future__ import annotations

import filecmp
import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from components.beam_masks.faults import dead_letter
from components.image_example_gen import voc
from trainer.data.boxes import Corners, read_boxes_table
from trainer.data.categories import VOID
from trainer.data.files import cut, read_json, read_text
from trainer.data.masks import read_mask
from trainer.data.names import STORED_SUFFIXES, free_keys, key_of, plain, stem_of, suffix_of
from trainer.data.tags_table import read_tags_table
from trainer.errors import ImageFault, few

SOURCES = "import_sources.json"  # key -> Origin
NamedBoxes = dict[str, tuple[tuple[str, Corners], ...]]  # key -> (category, corners)


class Origin(NamedTuple):
    """Where a picture is from: source, its name there without its suffix, digest of the mask that came along or ""."""

    source: str
    name: str
    mask: str = ""


class Placement:
    """Gives each picture its key and its place.

    Attributes:
      keys: of the pictures that came in.
      names: what each was called -> its key.
      masks: how many of them have one.
      empty: masks that show no category, by what they hold.
      dropped: letters of single objects.
      tags: key -> names, with those that were there before.
      boxes: key -> (name, corners) of its boxes, likewise.
      sources: key -> Origin of pictures from sources with a name, likewise.
    """

    def __init__(
        self,
        output: Path,
        tags: dict[str, tuple[str, ...]],
        boxes: NamedBoxes,
        replace: bool,
        source: str | None = None,
        named: Collection[str] = (),
    ):
        """`source`: a picture that comes from there again, under the same name, is a new version of what is here.

        `named`: what there is in the source now, without suffixes. One that is not among it and whose bytes come under
        another name is called otherwise now.
        """
        self.keys: set[str] = set()
        self.names: dict[str, str] = {}
        self.masks, self.empty, self.dropped, self.tags = 0, Counter(), [], tags
        self._outdated: list[str] = []
        self._doubts: dict[str, list[str]] = defaultdict(list)  # -> names
        self.boxes, self.sources, self._source = boxes, read_sources(output), source
        self._output, self._replace, self._replaced, self._renamed, self._renewed = output, replace, 0, 0, 0
        self._there = pictures_of(output)
        self._moved: list[str] = []
        self._called: dict[str, list[str]] = defaultdict(list)  # name in the source -> keys
        self._lost: dict[int, list[str]] = defaultdict(list)  # bytes of a picture that is not in the source now -> keys
        for key, origin in self.sources.items():
            if origin.source == source and key in self._there:
                self._called[origin.name].append(key)
                if origin.name not in named:
                    self._lost[os.path.getsize(output / voc.IMAGES / self._there[key])].append(key)

    def add(self, item: dict[str, Any]) -> None:
        """Raises ImageFault if the picture is there already and this one contradicts it."""
        wanted, name = wanted_key(item["name"]), stem_of(item["name"])
        key, same = self._find(wanted, item["picture"], name)
        there, before = self._there.get(key), self.sources.get(key)
        is_ours = self._source is not None and (before is None or before.source == self._source)
        drawn = before.mask if before and is_ours else ""
        if key in self.keys:
            raise ImageFault("list", f"the same picture as another of this import, which came in as {key}")
        target = voc.mask_path(self._output, key)
        if item["mask"]:
            if there is not None and target.exists() and not self._same_mask(target, item["mask"]):
                if not self._replace:
                    raise ImageFault("mask", f"is there already ({key}) with another mask; --replace takes the new one")
                self._replaced += 1
            drawn = _digest(item["mask"])
            os.replace(item["mask"], target)
            self.masks += 1
            if item["empty"]:
                self.empty[item["empty"]] += 1
        elif there and target.exists() and (not same or drawn == _digest(target)):
            self._outdated.append(key)
        if not there:
            self._renamed += key != wanted
        elif not same:
            self._renewed += 1
        if not same:
            self._there[key] = f"{key}{item['suffix']}"
            os.replace(item["picture"], self._output / voc.IMAGES / self._there[key])
            if there and there != self._there[key]:
                (self._output / voc.IMAGES / there).unlink()
        if is_ours:
            if before and before.name != name:
                self._moved.append(f"{before.name} ({name})")
            self.sources[key] = Origin(self._source, name, drawn)
        before = () if self._replace else self.tags.get(key, ())
        self.tags[key] = tuple(dict.fromkeys([*before, *item["tags"]]))
        before = () if self._replace else self.boxes.get(key, ())
        own = tuple((name, tuple(corners)) for name, corners in item["boxes"])
        self.boxes.pop(key, None)
        if before or own:
            self.boxes[key] = tuple(dict.fromkeys([*before, *own]))
        self.keys.add(key)
        self.names[item["name"]] = key
        for doubt in item["doubts"]:
            self._doubts[doubt].append(item["name"])
        self.dropped += [
            dead_letter(item["name"], ImageFault("object", f"{label}: {reason}")) for label, reason in item["dropped"]
        ]

    def _find(self, wanted: str, picture: str, name: str) -> tuple[str, bool]:
        """(key, whether the picture that has it is the same): the same picture with this key or of this name, or one
        that has no name any more; then another of this name, which has not come in now; else a free key."""
        for key in free_keys(wanted):
            if key not in self._there:
                break
            if self._is(key, picture):
                return key, True
        called = [other for other in self._called[name] if other not in self.keys]
        for other in (*called, *self._lost[os.path.getsize(picture)]):
            if other not in self.keys and self._is(other, picture):
                return other, True
        return (called[0], False) if called else (key, False)

    def _is(self, key: str, picture: str) -> bool:
        return filecmp.cmp(self._output / voc.IMAGES / self._there[key], picture, shallow=False)

    def notes(self, split: str) -> list[str]:
        """What a person should know of what came in."""
        found = []
        if count := sum(self.empty.values()):
            kinds = ", ".join(f"{number} only {kind}" for kind, number in sorted(self.empty.items()))
            found.append(f"{count} of {self.masks} masks show no category ({kinds})")
        if self.dropped:
            pictures = len({letter["key"] for letter in self.dropped})
            found.append(f"{len(self.dropped)} objects of {pictures} images could not be used; they are void")
        for doubt, names in sorted(self._doubts.items()):
            found.append(f"{len(names)} images, for one {cut(names[0])}: {doubt}; look at some")
        if self._replaced:
            found.append(f"{self._replaced} masks replaced by others")
        if self._renewed:
            found.append(f"{self._renewed} images replaced by new versions of theirs")
        if self._outdated:
            kept = few(self._outdated)
            found.append(
                f"{len(self._outdated)} images keep masks from before, since none came with them: {kept}; if one is "
                f"wrong, take it out of {self._output / voc.MASKS}"
            )
        if self._moved:
            found.append(f"{len(self._moved)} images have another name now and are what they were: {few(self._moved)}")
        if self._renamed:
            found.append(f"{self._renamed} images got another key, because theirs was another's")
        for path in sorted(voc.list_path(self._output, split).parent.glob("*.txt")):
            both = self.keys & read_list(path) if path.stem != split else set()
            if both:
                found.append(f"{len(both)} images are in the list {path.stem} too, for one {sorted(both)[0]}")
        return found

    @staticmethod
    def _same_mask(there: Path, new: str) -> bool:
        try:
            old = read_mask(there.read_bytes(), VOID)
        except ImageFault:
            return False
        return np.array_equal(old, read_mask(Path(new).read_bytes(), VOID))


def _digest(mask: str | Path) -> str:
    return hashlib.sha256(Path(mask).read_bytes()).hexdigest()[:16]


def wanted_key(name: str) -> str:
    """The key that a picture gets by its relative path, unless another has it; a folder `images` is the layout's."""
    *folders, file = plain(name).split("/")
    return key_of("/".join([*(folder for folder in folders if folder != "images"), file]))


def pictures_of(output: Path) -> dict[str, str]:
    """key -> file name of the pictures that a dataset has."""
    folder = output / voc.IMAGES
    names = os.listdir(folder) if folder.is_dir() else []
    return {key_of(name): name for name in names if suffix_of(name, STORED_SUFFIXES)}


def read_sources(output: Path) -> dict[str, Origin]:
    """See SOURCES; {} without the file."""
    path = output / SOURCES
    return {key: Origin(*origin) for key, origin in read_json(path, "our own").items()} if path.exists() else {}


def read_tags(path: Path) -> dict[str, tuple[str, ...]]:
    """The tags table of a folder, key -> tags; {} without one."""
    rows = read_tags_table(path).strict().rows if path.exists() else ()
    return {_key(path, row.image): row.tags for row in rows}


def read_boxes(path: Path) -> NamedBoxes:
    """The table of boxes of a folder, key -> boxes; {} without one."""
    found: dict[str, tuple] = {}
    for row in read_boxes_table(path).strict().rows if path.exists() else ():
        key = _key(path, row.image)
        found[key] = (*found.get(key, ()), (row.category, row.corners))
    return found


def _key(table: Path, name: str) -> str:
    """The key of a picture beside a table; hand-made ones name pictures in other ways."""
    try:
        return voc.find_key(table.parent, name)
    except ImageFault:
        return name


def read_list(path: Path) -> set[str]:
    return {line.strip() for line in read_text(path, "one name a line").split("\n")} - {""} if path.exists() else set()
