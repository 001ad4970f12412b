"""CVAT's own XML ("CVAT for images 1.1"): annotations.xml and its pictures. CVAT shows pictures upright."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from components.beam_masks.faults import faults_to
from components.dataset_import.drawing import Drawing, Object
from components.dataset_import.items import Contents, ImportedPicture, PictureFolder
from components.dataset_import.regions import Box, Polygon, Region, Size, ellipse, placed, turned_box
from components.dataset_import.splits import split_said
from components.dataset_import.voc_xml import read_xml, size_of
from trainer.data.categories import BACKGROUND, VOID, ids_of_classes
from trainer.data.category_names import clean_name
from trainer.data.files import cut
from trainer.errors import ImageFault, UserError, shown

ANNOTATIONS, IMAGES = "annotations.xml", "images"


def read_cvat_xml(path: str, pictures: PictureFolder) -> Contents:
    """Polygons, ellipses and masks are objects; boxes, lines and points say where alone, and tags not even that.

    A picture on which nobody has drawn or tagged anything is named, not used: perhaps nobody has looked at it yet. A
    tag "background" says that there is nothing to find.

    Raises:
      UserError: not such an XML, or labels that cannot be told apart.
    """
    try:
        root = read_xml(path)
    except ImageFault as fault:
        raise UserError(str(fault)) from None
    if root.tag != "annotations":
        raise UserError(f"{path}: not CVAT's XML (its root is <{root.tag}>, not <annotations>)")
    if root.find("track") is not None:
        raise UserError(f"{path}: tracks of a video; export as 'CVAT for images 1.1'")
    entries = root.findall("image")
    names, ids = _labels(root, entries, path)
    paths = [_path(entry, pictures) for entry in entries]
    pictures.files.claim(paths)
    faults, read = list(pictures.faults), {}
    for number, (entry, called) in enumerate(zip(entries, paths, strict=True), start=1):
        label = entry.get("name") or f"image {number}"
        with faults_to(faults, label):
            name = pictures.files.find(called or label)
            if name in read:
                raise ImageFault("tags", f"two entries are about {name}; keep one")
            if not len(entry):
                raise ImageFault("tags", "nobody has annotated it")
            read[name] = _sample(name, entry, names, ids, pictures)
    return Contents(names, list(read.values()), faults)


def _path(entry: ElementTree.Element, pictures: PictureFolder) -> str:
    """What an entry calls its picture; in a project with subsets these are folders."""
    name, subset = entry.get("name", ""), entry.get("subset")
    inside = f"{subset}/{name}"
    return inside if subset and pictures.files.get(inside) == inside else name


def _labels(
    root: ElementTree.Element, entries: Sequence[ElementTree.Element], path: str
) -> tuple[tuple[str, ...], dict[str, int]]:
    """(names by id, label -> id, 0 or 255): the task's labels in its order, else those that are used.

    Parts of skeletons are no labels.
    """
    listed = [node.findtext("name") or "" for node in root.iter("label") if node.find("parent") is None]
    used = sorted({node.get("label", "") for entry in entries for node in entry})
    cleaned = {label: clean_name(label, path) for label in listed or used if label.strip()}
    names, ids = ids_of_classes(list(dict.fromkeys(cleaned.values())), path)
    if not names:
        raise UserError(f"{path}: no label that can be learned")
    return names, {label: ids[name] for label, name in cleaned.items()}


def _sample(
    name: str, entry: ElementTree.Element, names: Sequence[str], ids: Mapping[str, int], pictures: PictureFolder
) -> ImportedPicture:
    split = split_said(entry.get("subset", ""))
    drawn = sorted((node for node in entry if node.tag != "tag"), key=_height)
    objects = [_object(node, f"{node.tag} {number}", ids) for number, node in enumerate(drawn, start=1)]
    tags: set[int] = set()
    for node in entry.iter("tag"):
        if (label := node.get("label", "")) not in ids:
            raise ImageFault("tags", f"its tag '{shown(label)}' is no label of the task's")
        tags.add(ids[label])
    tags -= {BACKGROUND, VOID}
    if not objects:
        return pictures.sample(name, tuple(names[index - 1] for index in sorted(tags)), split=split)
    sides = entry.get("height", ""), entry.get("width", "")
    if (size := size_of(*sides)) is None:
        raise ImageFault("size", f"the XML gives its height and width as {cut(sides[0])!r} and {cut(sides[1])!r}")
    mask = Drawing(objects, size, upright=True, tags=tuple(sorted(tags)))
    return pictures.sample(name, None, mask, split=split)


def _height(node: ElementTree.Element) -> float:
    """z_order; what lies higher is drawn later."""
    try:
        return float(node.get("z_order") or 0)
    except ValueError:
        return 0.0


def _object(node: ElementTree.Element, label: str, ids: Mapping[str, int]) -> Object:
    read = _SHAPES.get(node.tag)
    region = read(node) if read else None  # a skeleton, a cuboid: somewhere
    only_void = region is None or isinstance(region, Box)
    where = region if node.tag == "box" and not _turn(node) else None  # a point or a line surrounds nothing
    index = ids.get(node.get("label", ""))
    problem = None if index is not None else "has no label of the task's"
    return Object(label, VOID if index is None else index, region, only_void=only_void, where=where, problem=problem)


def _numbers(node: ElementTree.Element) -> list[str]:
    """x, y, x, y, ... from "x,y;x,y;...", as text; what is wrong in it is named when it is drawn."""
    return [value for point in node.get("points", "").split(";") for value in point.split(",")]


def _polygon(node: ElementTree.Element) -> Polygon:
    return Polygon(_numbers(node))


def _line(node: ElementTree.Element) -> Box:
    """The box around points."""
    try:
        points = np.asarray(_numbers(node), np.float64).reshape(-1, 2)
        return Box([*points.min(0).tolist(), *points.max(0).tolist()])
    except ValueError:
        return Box(None)


def _box(node: ElementTree.Element) -> Box:
    """The box, or the one around it if it is turned about its centre."""
    corners = [node.get(side) for side in ("xtl", "ytl", "xbr", "ybr")]
    angle = _turn(node)
    return turned_box(corners, angle) if angle else Box(corners)


def _ellipse(node: ElementTree.Element) -> Polygon:
    try:
        x, y, rx, ry = (float(node.get(name) or "") for name in ("cx", "cy", "rx", "ry"))
    except ValueError:
        return Polygon(None)
    return ellipse((x, y), (rx, ry), _turn(node))


@dataclass(frozen=True)
class _Mask(Region):
    """A region: run lengths of a patch, row by row, beginning with what is outside of it."""

    runs: str
    corner_and_size: Sequence[str]  # left, top, width, height

    def draw(self, size: Size) -> np.ndarray:
        try:
            left, top, width, height = map(int, self.corner_and_size)
            runs = np.array([int(run) for run in self.runs.split(",")])
        except (ValueError, OverflowError):
            raise ImageFault("object", "its run lengths, corner and size are not all whole numbers") from None
        if min(width, height) < 1 or (runs < 0).any() or sum(runs.tolist()) != width * height:
            raise ImageFault("object", f"its run lengths do not fill its {width}x{height} pixels")
        if width * height > math.prod(size):
            raise ImageFault("object", f"its mask of {width}x{height} is larger than the picture")
        return placed(np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width), (left, top), size)


def _mask(node: ElementTree.Element) -> _Mask:
    return _Mask(node.get("rle", ""), [node.get(name, "") for name in ("left", "top", "width", "height")])


def _turn(node: ElementTree.Element) -> float:
    """Clockwise, in radians."""
    try:
        return math.radians(float(node.get("rotation") or 0))
    except ValueError:
        return 0.0


_SHAPES: dict[str, Callable[[ElementTree.Element], Region]] = {
    "polygon": _polygon,
    "polyline": _line,
    "points": _line,
    "box": _box,
    "ellipse": _ellipse,
    "mask": _mask,
}
