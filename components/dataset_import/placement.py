"""Where what an import brings is put: each picture gets a key of its own, what is there already stays."""

from __future__ import annotations

import filecmp
import os
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

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

SOURCES = "import_sources.json"  # key -> [source, the picture's name there, without its suffix]
NamedBoxes = dict[str, tuple[tuple[str, Corners], ...]]  # key -> (category, corners)


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
      sources: key -> (source, name there) of pictures from sources with a name, likewise.
    """

    def __init__(
        self,
        output: Path,
        tags: dict[str, tuple[str, ...]],
        boxes: NamedBoxes,
        replace: bool,
        source: str | None = None,
    ):
        """`source`: a picture that comes from there again, under the same name, is a new version of what is here."""
        self.keys: set[str] = set()
        self.names: dict[str, str] = {}
        self.masks, self.empty, self.dropped, self.tags = 0, Counter(), [], tags
        self._outdated: list[str] = []
        self._doubts: dict[str, list[str]] = defaultdict(list)  # -> names
        self.boxes, self.sources, self._source = boxes, read_sources(output), source
        self._output, self._replace, self._replaced, self._renamed, self._renewed = output, replace, 0, 0, 0
        self._there = pictures_of(output)

    def add(self, item: dict[str, Any]) -> None:
        """Raises ImageFault if the picture is there already and this one contradicts it."""
        wanted = wanted_key(item["name"])
        origin = self._source and (self._source, stem_of(item["name"]))
        key, same = self._find(wanted, item["picture"], origin)
        there = self._there.get(key)
        if key in self.keys:
            raise ImageFault("list", f"the same picture as another of this import, which came in as {key}")
        target = voc.mask_path(self._output, key)
        if item["mask"]:
            if there is not None and target.exists() and not self._same_mask(target, item["mask"]):
                if not self._replace:
                    raise ImageFault("mask", f"is there already ({key}) with another mask; --replace takes the new one")
                self._replaced += 1
            os.replace(item["mask"], target)
            self.masks += 1
            if item["empty"]:
                self.empty[item["empty"]] += 1
        if not there:
            self._renamed += key != wanted
        elif not same:
            self._renewed += 1
            if not item["mask"] and target.exists():
                self._outdated.append(key)
        if not same:
            self._there[key] = f"{key}{item['suffix']}"
            os.replace(item["picture"], self._output / voc.IMAGES / self._there[key])
            if there and there != self._there[key]:
                (self._output / voc.IMAGES / there).unlink()
        if origin:
            self.sources.setdefault(key, origin)
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

    def _find(self, wanted: str, picture: str, origin: tuple[str, str] | None) -> tuple[str, bool]:
        """(key, whether the picture that has it is the same): of those with this name first the same picture, then the
        one of the same origin that has not come in now; else a free key."""
        keys, renewed = free_keys(wanted), None
        while (key := next(keys)) in self._there:
            if filecmp.cmp(self._output / voc.IMAGES / self._there[key], picture, shallow=False):
                return key, True
            if origin and self.sources.get(key) == origin and key not in self.keys:
                renewed = renewed or key
        return renewed or key, False

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
            found.append(f"{len(self._outdated)} of them keep masks from before, since none came with them: {kept}")
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


def wanted_key(name: str) -> str:
    """The key that a picture gets by its relative path, unless another has it; a folder `images` is the layout's."""
    *folders, file = plain(name).split("/")
    return key_of("/".join([*(folder for folder in folders if folder != "images"), file]))


def pictures_of(output: Path) -> dict[str, str]:
    """key -> file name of the pictures that a dataset has."""
    folder = output / voc.IMAGES
    names = os.listdir(folder) if folder.is_dir() else []
    return {key_of(name): name for name in names if suffix_of(name, STORED_SUFFIXES)}


def read_sources(output: Path) -> dict[str, tuple[str, str]]:
    """See SOURCES; {} without the file."""
    path = output / SOURCES
    return {key: (source, name) for key, (source, name) in read_json(path, "our own").items()} if path.exists() else {}


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
