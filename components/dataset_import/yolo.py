"""YOLO's formats: images/, labels/*.txt of polygons or boxes in fractions of the upright picture, data.yaml."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from components.beam_masks.faults import dead_letter
from components.dataset_import.drawing import Drawing, Object
from components.dataset_import.items import Contents, PictureFolder
from components.dataset_import.regions import Box, Polygon
from trainer.categories import BACKGROUND, VOID, ids_of_classes
from trainer.data.category_names import clean_name
from trainer.data.files import join, read_text
from trainer.data.names import plain, stem_of, suffix_of
from trainer.data.yaml_text import read_yaml
from trainer.errors import ImageFault, UserError, shown

DATA = "data.yaml"
SPLITS = ("train", "val", "valid", "validation", "test")  # folders' names; some are data.yaml's keys too


def _names(data: Any, path: str) -> tuple[tuple[str, ...], list[int]]:
    """(names by id, from 1; id of each class, from 0) of a data.yaml.

    Raises:
      UserError: its `names` are neither a list nor numbered from 0.
    """
    names = data.get("names") if isinstance(data, dict) else None
    if isinstance(names, dict):
        names = [names.get(i, names.get(str(i))) for i in range(len(names))]
    if not isinstance(names, list) or not names:
        raise UserError(f"{path}: `names` must list the classes, from 0")
    return ids_of_classes([clean_name(name, f"{path}: names") for name in names], path)


def _places(data: Any, split: str, folders: set[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The folders that data.yaml gives for a split, as far as there are such: it may lie elsewhere than it says."""
    given = data.get(split)
    places = []
    for entry in given if isinstance(given, list) else [given]:
        parts = tuple(part for part in plain(str(entry)).split("/") if part not in ("", ".", ".."))
        ends = (parts[first:] for first in range(len(parts)))
        places += [next((end for end in ends if any(_lies_in(folder, end) for folder in folders)), ())]
    return [place for place in places if place]


def _lies_in(folder: Sequence[str], place: Sequence[str]) -> bool:
    return any(tuple(folder[i : i + len(place)]) == tuple(place) for i in range(len(folder)))


def read_yolo(root: str, split: str | None = None, *, follow_links: bool = False) -> Contents:
    """Lines "class x y x y ..." are objects; lines of four numbers are boxes, void in the mask, and so are keypoints'.

    A picture without a file of labels, or with an empty one, shows nothing, as YOLO has it.

    Args:
      root: folder with data.yaml, images/ and labels/ (or train/images, train/labels, ...).
      split: only pictures below a folder of this name, e.g. train, or below those that data.yaml gives for it; None:
        all.
      follow_links: see `trainer.data.files.walk`.

    Raises:
      UserError: no pictures, or no names.
    """
    about = join(root, DATA)
    data = read_yaml(about, "a YAML file with names")
    names, ids = _names(data, about)
    pictures = PictureFolder(root, follow_links)
    labels = {stem_of(path, (".txt",)): path for path in pictures.others if suffix_of(path, (".txt",))}
    folders = {name: tuple(plain(name).split("/")[:-1]) for name in pictures.files.paths}
    places = {name: [(name,), *_places(data, name, set(folders.values()))] for name in {*SPLITS, split} if name}
    splits = {
        name: {one for one, several in places.items() if any(_lies_in(folder, place) for place in several)}
        for name, folder in folders.items()
    }
    faults, samples, used = list(pictures.faults), [], set()
    for name, own in splits.items():
        if split and split not in own:
            continue
        stem = "/".join("labels" if part == "images" else part for part in stem_of(name).split("/"))
        path = labels.get(stem) or labels.get(stem_of(name))
        used.add(path)
        try:
            text = read_text(join(root, path), "YOLO's labels") if path else ""
            objects = _objects(text, ids, boxed="kpt_shape" in data)
            samples.append(pictures.sample(name, None, Drawing(objects, upright=True)))
        except UserError as error:
            faults.append(dead_letter(name, ImageFault("tags", error)))
    if not samples and not faults:
        raise UserError(f"{root}: no pictures of the split {split}")
    alone = [path for path in labels.values() if "labels" in path.split("/") and path not in used]
    faults += [
        dead_letter(path, ImageFault("read", "no picture of this name"))
        for path in alone
        if not split or split in path.split("/")
    ]
    of_none = [name for name, own in splits.items() if not own]
    notes = []
    if split == SPLITS[0] and of_none:
        notes.append(f"{len(of_none)} pictures lie in no split's folder and are not read, e.g. {shown(of_none[0])}")
    return Contents(names, samples, faults, notes)


def _objects(text: str, ids: Sequence[int], boxed: bool) -> Sequence[Object]:
    """Those of a file of labels; `boxed`: what follows a line's first four numbers, which are a box, are keypoints."""
    objects = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not (cells := line.split()):
            continue
        where = f"line {number}"
        try:
            category, *numbers = int(cells[0]), *map(float, cells[1:])
        except ValueError:
            objects.append(Object(where, VOID, None, problem=f"{line[:40]!r} is no class and numbers"))
            continue
        if boxed:
            numbers = numbers[:4]
        if not 0 <= category < len(ids):
            problem = f"class {category} is none of the {len(ids)} in {DATA}"
            objects.append(Object(where, VOID, Polygon(numbers, "fraction"), problem=problem))
        elif ids[category] == BACKGROUND:
            continue
        elif len(numbers) == 4:
            x, y, width, height = numbers
            box = Box([x - width / 2, y - height / 2, x + width / 2, y + height / 2], "fraction")
            objects.append(Object(where, ids[category], box, only_void=True, where=box))
        else:
            objects.append(Object(where, ids[category], Polygon(numbers, "fraction")))
    return objects
