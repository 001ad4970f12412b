"""Masks that are files: pictures of ids or colours, and SBD's .mat files; and tables of colours."""

from __future__ import annotations

import contextlib
import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from components.dataset_import.items import TURNED, Drawn
from components.dataset_import.matlab import read_field
from trainer.data import masks
from trainer.data.categories import BACKGROUND, VOID, ids_of_classes
from trainer.data.category_names import clean_name
from trainer.data.files import join, read_bytes, read_text
from trainer.data.masks import Colour
from trainer.data.names import MASK_ENDINGS, MASK_SUFFIXES, PICTURE_SUFFIXES, Pictures, plain, stem_of, suffix_of
from trainer.data.pictures import Header
from trainer.errors import ImageFault, UserError, shown

_RECOLOURED = "palette's colours are VOC's or greys that stand for other ids than its indices; the colours were taken"
_LOOKED_AT = 300  # our choice: masks that are opened to see their ids
BINARY: dict[Colour, int] = {(0, 0, 0): BACKGROUND, (255, 255, 255): 1}


@dataclass(frozen=True)
class MaskFile:
    """A file of ids, or of colours: its path or its bytes, the number of categories, what its colours mean, and whether
    it is surely drawn on the picture as people see it."""

    source: str | bytes
    num_categories: int
    colours: Mapping[Colour, int] | None = None
    upright: bool = False

    def __call__(self, picture: Header) -> Drawn:
        """Raises ImageFault if it cannot be read or has another size than the picture."""
        data = self.source if isinstance(self.source, bytes) else read_bytes(self.source)
        mask = masks.decode(data, self.num_categories, self.colours)
        upright = self.upright or mask.upright
        ids = masks.fit(mask.ids, picture, upright)
        doubts = [_RECOLOURED] * mask.recoloured + [TURNED] * (masks.may_be_turned(picture) and not upright)
        return Drawn(ids, masks.ids_in(ids), doubts=tuple(doubts))


@dataclass(frozen=True)
class SbdMask:
    """A .mat file of the Semantic Boundaries Dataset (cls/): GTcls.Segmentation holds VOC's ids."""

    path: str
    num_categories: int

    def __call__(self, picture: Header) -> Drawn:
        data = read_bytes(self.path)
        if data.startswith(b"MATLAB 7.3"):
            raise ImageFault("mask", f"{self.path} is a MATLAB 7.3 file (HDF5); save it as version 7 or older")
        try:
            found = read_field(data, "GTcls", "Segmentation")
        except ValueError as error:
            raise ImageFault("mask", f"{self.path}: {error}") from None
        ids = found.astype(np.uint8)
        odd = [i for i in masks.ids_in(ids) if i > self.num_categories]
        if odd or not (ids == found).all():
            raise ImageFault("mask", f"{self.path}: has ids {odd[:5]}; there are {self.num_categories} categories")
        ids = masks.fit(ids, picture)
        return Drawn(ids, masks.ids_in(ids))


@dataclass(frozen=True)
class _OfCategory:
    """A mask in a folder that is called as a category: it must show that one, since pixels hold ids."""

    mask: MaskFile
    name: str
    index: int

    def __call__(self, picture: Header) -> Drawn:
        drawn = self.mask(picture)
        if self.index not in drawn.shown:
            raise ImageFault(
                "mask",
                f"lies in a folder '{self.name}' and has no pixel of its id {self.index}: folders say nothing here",
            )
        return drawn


def mask_of(
    folder: str, file: str, picture: str, names: Sequence[str], colours: Mapping[Colour, int] | None, upright: bool
) -> MaskFile | _OfCategory:
    mask = MaskFile(join(folder, file), len(names), colours, upright)
    others = set(file.split("/")[:-1]) - set(picture.split("/")[:-1])
    called = next(((name, index) for index, name in enumerate(names, start=1) if name in others), None)
    return _OfCategory(mask, *called) if called else mask


def highest_id(paths: Iterable[str]) -> int:
    """The highest category id in a sample of the masks; 1 if they are black and white or cannot be read."""
    highest = 1
    for path in islice(paths, _LOOKED_AT):
        with contextlib.suppress(ImageFault):
            highest = max(highest, *masks.ids_in(masks.read_mask(read_bytes(path), VOID)), 1)
    return highest


def pair(files: Iterable[str], pictures: Pictures) -> tuple[dict[str, str], list[tuple[str, ImageFault]]]:
    """Mask files by the picture that each belongs to: that of the same stem, also before an ending such as _mask.

    Where none belongs to any, what all pictures end with and what all masks end with does not count: a_sat, a_labels2.

    Args:
      files: relative paths of masks.

    Returns:
      (picture -> mask, [(mask or picture, why there is no pair)]).
    """
    stems = {file: stem_of(plain(file)) for file in files if suffix_of(file, (*MASK_SUFFIXES, *PICTURE_SUFFIXES))}
    found, odd = by_picture({file: (stem, MASK_ENDINGS.sub("", stem)) for file, stem in stems.items()}, pictures)
    endings, own = (_shorter(shared_ending(several)) for several in (map(stem_of, pictures.paths), stems.values()))
    if not found and (endings or own):
        also = {}
        for file, stem in stems.items():
            bases = (MASK_ENDINGS.sub("", stem), *(stem.removesuffix(ending) for ending in own))
            also[file] = [f"{base}{ending}" for ending in endings or [""] for base in bases]
        found, odd = by_picture(also, pictures)
    faults = [(file, ImageFault("read", f"the mask {file} belongs to no picture: {fault}")) for file, fault in odd]
    for picture, several in found.items():
        if len(several) > 1:
            faults.append(
                (picture, ImageFault("mask", f"has {len(several)} masks: {', '.join(several[:3])}; keep one"))
            )
    return {picture: several[0] for picture, several in found.items() if len(several) == 1}, faults


def shared_ending(stems: Iterable[str]) -> str:
    """What several names end with, from a _ or - on: "_sat" of 1_sat and 2_sat; "" if there is nothing."""
    several = [stem[::-1] for stem in stems]
    shared = os.path.commonprefix(several)[::-1] if len(several) > 1 else ""
    found = re.search(r"[_-].*", shared)
    return found[0] if found else ""


def _shorter(ending: str) -> list[str]:
    """An ending and those within it: "_000019_left" -> ["_000019_left", "_left"]."""
    return [ending[found.start() :] for found in re.finditer("[_-]", ending)]


def masks_among(names: Collection[str]) -> list[str]:
    """Those of the pictures in a folder that are masks of others.

    A lossless one is: a_mask.tif beside a.tif, a.png beside a.jpg or a.tif, a.bmp beside a.jpg. Where there is none,
    all .png are if they share an ending and the others too: a_mask.png beside a_sat.jpg.
    """
    suffixes: dict[str, set[str]] = defaultdict(set)
    for name in names:
        suffixes[stem_of(name)].add(suffix_of(name).lower())

    def is_mask(name: str) -> bool:
        stem, suffix = stem_of(name), suffix_of(name, MASK_SUFFIXES).lower()
        others = suffixes[stem] - {suffix}
        is_beside = bool(others if suffix == ".png" else others - set(MASK_SUFFIXES))
        return bool(suffix) and (is_beside or (bare := MASK_ENDINGS.sub("", stem)) != stem and bare in suffixes)

    if masks := [name for name in names if is_mask(name)]:
        return masks
    pngs = {name for name in names if suffix_of(name, (".png",))}
    share = all(shared_ending(map(stem_of, several)) for several in (pngs, set(names) - pngs))
    return sorted(pngs) if share else []


def by_picture(
    names: Mapping[str, Sequence[str]], pictures: Pictures
) -> tuple[dict[str, list[str]], list[tuple[str, ImageFault]]]:
    """The files that are about each picture.

    Folders need not agree; but where a file lies in the folders of its picture, those in others are not about it: they
    are about a picture that is missing.

    Args:
      names: file -> what it may call its picture, without suffix, best first.

    Returns:
      (picture -> its files, [(file, why it is about none)]).
    """
    own: dict[str, list[str]] = defaultdict(list)
    others: dict[str, list[str]] = defaultdict(list)
    faults = []
    for file, (*better, last) in names.items():
        try:
            picture = next(filter(None, map(pictures.get, better)), None) or pictures.find(last)
        except ImageFault as fault:
            faults.append((file, fault))
            continue
        (own if stem_of(plain(picture)) in names[file] else others)[picture].append(file)
    for picture in [one for one in others if one in own]:
        taken = f"{shown(picture)} has {shown(own[picture][0])}"
        for file in others.pop(picture):
            faults.append((file, ImageFault("read", f"no picture '{shown(names[file][-1])}'; {taken}")))
    return {**others, **own}, faults


def read_colours(path: str) -> tuple[dict[Colour, int], list[str]]:
    """A table of colours: lines `name:red,green,blue` (CVAT's labelmap.txt), `name,red,green,blue` (class_dict.csv) or
    `red green blue name` (CamVid's label_colors.txt).

    Returns:
      (RGB -> id, names by id). Background is 0, "ignore" and "void" are 255; a name without a colour has no pixels.

    Raises:
      UserError: a line is neither, or two lines have one colour.
    """
    colours: dict[Colour, str] = {}
    classes: list[str] = []
    for number, line in enumerate(read_text(path, "lines name:red,green,blue").split("\n"), start=1):
        line = line.strip()
        if not line or line.startswith("#") or re.fullmatch(r"name\W+r(ed)?\W+g(reen)?\W+b(lue)?", line, re.I):
            continue
        if re.fullmatch(r'("[^"]*"[,;\t]){3}"[^"]*"', line):
            line = line.replace('"', "")
        line = re.sub(r"^(\d{1,3})\s+(\d{1,3})\s+(\d{1,3})\s+(\S.*)$", r"\4:\1,\2,\3", line)
        found = re.match(r"^([^:]+):\s*(?:(\d{1,3}),\s*(\d{1,3}),\s*(\d{1,3})\s*)?(?::|$)", line) or re.match(
            r"^\"?([^,]*[^,\s\"])\"?\s*[,;\t]\s*(\d{1,3})\s*[,;\t]\s*(\d{1,3})\s*[,;\t]\s*(\d{1,3})\s*$", line
        )
        where = f"{path}: line {number}"
        if not found:
            raise UserError(f"{where}: must read name:red,green,blue, not {line[:60]!r}")
        classes.append(clean_name(found[1], where))
        if found[2] is None:
            continue
        colour = (int(found[2]), int(found[3]), int(found[4]))
        if max(colour) > 255 or colour in colours:
            problem = "no colour" if max(colour) > 255 else "the colour of another line"
            raise UserError(f"{where}: {colour} is {problem}; give each name its own red,green,blue in 0..255")
        colours[colour] = classes[-1]
    names, ids = ids_of_classes(classes, path)
    return {colour: ids[name] for colour, name in colours.items()}, list(names)


def in_order(colours: Mapping[Colour, int], own: Sequence[str], names: Sequence[str], path: str) -> dict[Colour, int]:
    """The same colours with the ids that `names` give; own: the table's names by id.

    Raises:
      UserError: the table has a name that is none of `names`.
    """
    unknown = [name for name in own if name not in names]
    if unknown:
        raise UserError(f"{path}: '{unknown[0]}' is none of the categories ({', '.join(names)})")
    return {c: i if i in (BACKGROUND, VOID) else names.index(own[i - 1]) + 1 for c, i in colours.items()}
