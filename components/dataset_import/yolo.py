"""YOLO's formats: images/, labels/*.txt of polygons or boxes in fractions of the upright picture, data.yaml."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from etils import epath

from components.beam_masks.faults import dead_letter
from components.dataset_import.drawing import Drawing, Object
from components.dataset_import.items import Contents, PictureFolder
from components.dataset_import.regions import Box, Polygon
from components.dataset_import.splits import SPLITS
from components.image_example_gen import voc
from trainer.data.categories import BACKGROUND, VOID, ids_of_classes
from trainer.data.category_names import clean_name
from trainer.data.files import join, read_text
from trainer.data.names import plain, stem_of, suffix_of
from trainer.data.yaml_text import read_yaml
from trainer.errors import ImageFault, UserError, shown

DATA = "data.yaml"
_ROUNDED = 1e-3  # our choice: fractions are written with a few digits
_BEYOND = 0.1  # our choice: what outlines may reach out of the picture, in its sides
_WHAT = "a YAML file with names"


def _names(data: Any, path: str) -> tuple[tuple[str, ...], list[int]]:
    """(names by id, from 1; id of each class, from 0) of a data.yaml.

    Raises:
      UserError: its `names` are neither a list nor numbered from 0.
    """
    names = data.get("names") if isinstance(data, dict) else None
    if isinstance(names, dict):
        missing = next((i for i in range(len(names)) if i not in names and str(i) not in names), None)
        if missing is not None:
            raise UserError(f"{path}: `names` has no class {missing}; number them from 0, none left out")
        names = [names.get(i, names.get(str(i))) for i in range(len(names))]
    if not isinstance(names, list) or not names:
        raise UserError(f"{path}: `names` must list the classes, from 0")
    classes = [clean_name(name, f"{path}: names") for name in names]
    found, ids = ids_of_classes(classes, path)
    if not found:
        raise UserError(f"{path}: names no category")
    return found, [ids[name] for name in classes]


def _given(data: Any, split: str) -> list[Any]:
    """What data.yaml gives for a split: one entry or several."""
    given = data.get(split)
    return given if isinstance(given, list) else [given]


def _places(data: Any, split: str, folders: set[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The folders that data.yaml gives for a split, as far as there are such: it may lie elsewhere than it says."""
    places = []
    for entry in _given(data, split):
        parts = tuple(part for part in plain(str(entry)).split("/") if part not in ("", ".", ".."))
        ends = (parts[first:] for first in range(len(parts)))
        places += [next((end for end in ends if any(_lies_in(folder, end) for folder in folders)), ())]
    return [place for place in places if place]


def _lies_in(folder: Sequence[str], place: Sequence[str]) -> bool:
    return any(tuple(folder[i : i + len(place)]) == tuple(place) for i in range(len(folder)))


def _splits(root: str, data: Any, pictures: PictureFolder, names: Iterable[str]) -> dict[str, set[str]]:
    """Picture -> the splits that it is of, by its folders, or by data.yaml: folders, or lists of pictures."""
    folders = {name: tuple(plain(name).split("/")[:-1]) for name in pictures.files.paths}
    found: dict[str, set[str]] = {name: set() for name in folders}
    for split in names:
        places = [(split,), *_places(data, split, set(folders.values()))]
        listed = _listed(root, data, split, pictures)
        for name, folder in folders.items():
            if name in listed or any(_lies_in(folder, place) for place in places):
                found[name].add(split)
    return found


def _listed(root: str, data: Any, split: str, pictures: PictureFolder) -> set[str]:
    """The pictures in the lists that data.yaml gives for a split."""
    texts = (entry for entry in _given(data, split) if isinstance(entry, str) and entry.endswith(".txt"))
    paths = [join(root, plain(text)) for text in texts]
    lines = [line for path in paths if epath.Path(path).is_file() for line in voc.list_names(path)]
    return {name for line in lines if (name := pictures.files.get(line))}


def splits_of(root: str) -> list[str]:
    """The splits that there are pictures of, each of which brings some that those before it have not."""
    pictures, about = PictureFolder(root), join(root, DATA)
    data = read_yaml(about, _WHAT)
    _names(data, about)
    splits = _splits(root, data, pictures, SPLITS)
    found, known = [], set()
    for split in SPLITS:
        mine = {name for name, own in splits.items() if split in own}
        if mine - known:
            found.append(split)
        known |= mine
    return found


def read_yolo(root: str, split: str | None = None, *, follow_links: bool = False) -> Contents:
    """Lines "class x y x y ..." are objects; lines of four numbers are boxes, void in the mask, and so are keypoints'.

    A picture without a file of labels, or with an empty one, shows nothing, as YOLO has it; some must have one.

    Args:
      root: folder with data.yaml, images/ and labels/ (or train/images, train/labels, ...).
      split: only pictures below a folder of this name, e.g. train, or those that data.yaml gives for it; None: all.
      follow_links: see `trainer.data.files.walk`.

    Raises:
      UserError: no pictures, no names, or no picture has a file of labels.
    """
    about = join(root, DATA)
    data = read_yaml(about, _WHAT)
    names, ids = _names(data, about)
    pictures = PictureFolder(root, follow_links)
    texts = [path for path in pictures.others if suffix_of(path, (".txt",))]
    links = {_folded(letter["key"]): letter["key"] for letter in pictures.faults}
    splits = _splits(root, data, pictures, {*SPLITS, split} - {None})
    labels = _labels(splits, texts)
    behind = {name: link for name in splits if not labels[name] and (link := _link_before(name, links))}
    if splits and not any(labels.values()) and not behind:
        raise _no_labels(root, next(iter(splits)), texts)
    faults, samples, used = list(pictures.faults), [], set()
    for name, own in splits.items():
        if split and split not in own:
            continue
        several = labels[name]
        used.update(several)
        try:
            if len(several) > 1:
                raise UserError(f"has {len(several)} files of labels: {', '.join(map(shown, several[:3]))}; keep one")
            if name in behind:
                raise UserError(f"its labels lie behind {behind[name]}, a link out of {root}; --follow-links takes it")
            path = next(iter(several), None)
            text = read_text(join(root, path), "YOLO's labels") if path else ""
            objects = _objects(text, ids, boxed="kpt_shape" in data)
            samples.append(pictures.sample(name, None, Drawing(objects, upright=True)))
        except UserError as error:
            faults.append(dead_letter(name, ImageFault("tags", error)))
    if not samples and not faults:
        raise UserError(f"{root}: no pictures of the split {split}")
    alone = [path for path in texts if "labels" in _folded(path).split("/") and path not in used]
    faults += [
        dead_letter(path, ImageFault("read", "no picture of this name"))
        for path in alone
        if not split or split in path.split("/")
    ]
    of_none = [name for name, own in splits.items() if not own]
    notes = []
    outlines = [one.region for sample in samples for one in sample.mask.objects if isinstance(one.region, Polygon)]
    if outlines and all(map(_is_turned_box, outlines)):
        notes.append("every outline is a box of four corners: turned boxes (OBB) are no masks of objects")
    if split == "train" and of_none:
        notes.append(f"{len(of_none)} pictures lie in no split's folder and are not read, e.g. {shown(of_none[0])}")
    return Contents(names, samples, faults, notes)


def _labels(names: Iterable[str], texts: Collection[str]) -> dict[str, list[str]]:
    """Picture -> the files of its labels, one if all is right: in labels/ for the last images/, or beside it.

    Names that agree but for case or composed letters count where none agrees to the letter.
    """
    found: dict[str, list[str]] = {name: [] for name in names}
    forms: tuple[Callable[[str], str], ...] = (str, _folded)
    for form in forms:
        taken = {path for several in found.values() for path in several}
        free: dict[str, list[str]] = defaultdict(list)
        for path in texts:
            if path not in taken:
                free[form(stem_of(path, (".txt",)))].append(path)
        for name in [name for name, several in found.items() if not several]:
            found[name] = free.get(form(_label_stem(name))) or free.get(form(stem_of(name)), [])
    return found


def _label_stem(name: str) -> str:
    """Where YOLO looks for a picture's labels, without .txt: a/images/b.jpg -> a/labels/b."""
    parts = stem_of(name).split("/")
    last = max((i for i, part in enumerate(parts[:-1]) if part.casefold() == "images"), default=None)
    return "/".join("labels" if i == last else part for i, part in enumerate(parts))


def _folded(name: str) -> str:
    return plain(name).casefold()


def _link_before(name: str, links: Mapping[str, str]) -> str | None:
    """The link, by its folded name, behind which a picture's labels would lie; None if there is none."""
    places = [PurePosixPath(_folded(f"{stem}.txt")) for stem in (_label_stem(name), stem_of(name))]
    return next((links[str(p)] for place in places for p in (place, *place.parents) if str(p) in links), None)


def _no_labels(root: str, name: str, texts: Sequence[str]) -> UserError:
    """That no picture has a file of labels, with one that may be meant for `name`."""
    place = f"{_label_stem(name)}.txt"
    near = next((path for path in texts if path.split("/")[-1] == place.split("/")[-1]), None)
    there = f"; move {shown(near)} there" if near else ""
    return UserError(
        f"{root}: no picture has a file of labels; those of {shown(name)} must be in {shown(place)}{there}"
    )


def _is_turned_box(outline: Polygon) -> bool:
    if len(outline.coordinates) != 8:
        return False
    first, second, third, fourth = np.reshape(outline.coordinates, (4, 2))
    return bool(np.abs(first + third - second - fourth).max() < _ROUNDED)


def _objects(text: str, ids: Sequence[int], boxed: bool) -> Sequence[Object]:
    """Those of a file of labels; `boxed`: what follows a line's first four numbers, which are a box, are keypoints."""
    objects = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not (cells := line.split()):
            continue
        where = f"line {number}"
        try:
            first, *numbers = map(float, cells)
        except ValueError:
            first = math.nan
        if not first.is_integer():
            objects.append(Object(where, VOID, None, problem=f"{line[:40]!r} is no class and numbers"))
            continue
        category = int(first)
        if boxed:
            numbers = numbers[:4]
        outside = [value for value in numbers if not -_BEYOND <= value <= 1 + _BEYOND and math.isfinite(value)]
        if not 0 <= category < len(ids):
            problem = f"class {category} is none of the {len(ids)} in {DATA}"
            objects.append(Object(where, VOID, Polygon(numbers, "fraction"), problem=problem))
        elif ids[category] == BACKGROUND:
            continue
        elif len(numbers) == 4:
            x, y, width, height = numbers
            box = Box([x - width / 2, y - height / 2, x + width / 2, y + height / 2], "fraction")
            objects.append(Object(where, ids[category], box, only_void=True, where=box))
        elif outside:
            problem = (
                f"{outside[0]:g} is no fraction of the picture (0 to 1); if these are keypoints, give {DATA} kpt_shape"
            )
            objects.append(Object(where, VOID, None, problem=problem))
        else:
            objects.append(Object(where, ids[category], Polygon(numbers, "fraction")))
    return objects
