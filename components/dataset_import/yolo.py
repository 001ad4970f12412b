"""YOLO's segmentation format: images/, labels/*.txt of polygons in fractions of the upright picture, data.yaml."""

from __future__ import annotations

from collections.abc import Sequence

from components.beam_masks.faults import dead_letter
from components.dataset_import.drawing import Drawing, Object
from components.dataset_import.items import Contents, PictureFolder
from components.dataset_import.regions import Box, Polygon
from trainer.categories import VOID
from trainer.data.category_names import check_distinct, clean_name
from trainer.data.files import join, read_text
from trainer.data.names import plain, stem_of, suffix_of
from trainer.data.yaml_text import read_yaml
from trainer.errors import ImageFault, UserError

DATA = "data.yaml"


def read_yolo_names(path: str) -> list[str]:
    """Names by class, from 0, of a data.yaml.

    Raises:
      UserError: it cannot be read, or its `names` are neither a list nor numbered from 0.
    """
    data = read_yaml(path, "a YAML file with names")
    names = data.get("names") if isinstance(data, dict) else None
    if isinstance(names, dict):
        names = [names.get(i, names.get(str(i))) for i in range(len(names))]
    if not isinstance(names, list) or not names:
        raise UserError(f"{path}: `names` must list the classes, from 0")
    found = [clean_name(name, f"{path}: names") for name in names]
    check_distinct(found, path)
    return found


def read_yolo(root: str, split: str | None = None, *, follow_links: bool = False) -> Contents:
    """Lines "class x y x y ..." are objects; lines of four numbers are boxes, void in the mask.

    A picture without a file of labels, or with an empty one, shows nothing, as YOLO has it.

    Args:
      root: folder with data.yaml, images/ and labels/ (or train/images, train/labels, ...).
      split: only pictures below a folder of this name, e.g. train; None: all.
      follow_links: see `trainer.data.files.walk`.

    Raises:
      UserError: no pictures, or no names.
    """
    names = read_yolo_names(join(root, DATA))
    pictures = PictureFolder(root, follow_links)
    labels = {stem_of(path, (".txt",)): path for path in pictures.others if suffix_of(path, (".txt",))}
    faults, samples, used = list(pictures.faults), [], set()
    for name in pictures.files.paths:
        folders = plain(name).split("/")[:-1]
        if split and split not in folders:
            continue
        stem = "/".join("labels" if part == "images" else part for part in stem_of(name).split("/"))
        path = labels.get(stem) or labels.get(stem_of(name))
        used.add(path)
        try:
            objects = _objects(read_text(join(root, path), "YOLO's labels"), len(names)) if path else []
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
    return Contents(tuple(names), samples, faults)


def _objects(text: str, num_categories: int) -> Sequence[Object]:
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
        if not 0 <= category < num_categories:
            problem = f"class {category} is none of the {num_categories} in {DATA}"
            objects.append(Object(where, VOID, Polygon(numbers, "fraction"), problem=problem))
        elif len(numbers) == 4:
            x, y, width, height = numbers
            box = Box([x - width / 2, y - height / 2, x + width / 2, y + height / 2], "fraction")
            objects.append(Object(where, category + 1, box, only_void=True, where=box))
        else:
            objects.append(Object(where, category + 1, Polygon(numbers, "fraction")))
    return objects
