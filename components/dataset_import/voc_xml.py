"""PASCAL VOC's Annotations/*.xml, as VOC, LabelImg and most tools write them: the objects' names and boxes."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from unicodedata import normalize

import numpy as np

from components.dataset_import.drawing import Drawing, Object
from components.dataset_import.regions import Box, Size
from trainer.data.boxes import are_fractions
from trainer.data.files import read_bytes
from trainer.errors import ImageFault, one_line

_DIGITS = 9  # of a side; Python refuses to read some thousands
_FIRST = 1.0  # VOC counts pixels from 1, and a box holds its last pixel


def read_xml(path: str) -> ElementTree.Element:
    """Raises ImageFault: "read" or "tags": not readable, or no XML."""
    try:
        return ElementTree.fromstring(read_bytes(path))
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise ImageFault("tags", f"{path}: not readable XML: {one_line(error)}") from None


def read_annotation(path: str, names: Sequence[str]) -> tuple[tuple[str, ...], Drawing | None]:
    """(names of what a picture shows, its objects; None if none has a box).

    Raises:
      ImageFault: "tags": not readable, or an object that is none of `names`.
    """
    root = read_xml(path)
    nodes = [
        (name, node) for node in root.iter("object") if (name := normalize("NFC", node.findtext("name") or "").strip())
    ]
    found = {name for name, _ in nodes}
    if unknown := sorted(found - set(names)):
        near = next((f" ('{name}' is one)" for name in names if name.casefold() == unknown[0].casefold()), "")
        raise ImageFault(
            "tags", f"{path}: object '{unknown[0]}' is none of the categories{near}; give all with --categories"
        )
    objects = [_object(node, number, names.index(name) + 1) for number, (name, node) in enumerate(nodes, start=1)]
    has_boxes = any(one.where for one in objects)
    return tuple(sorted(found)), Drawing(objects, _size(root)) if has_boxes else None


def _object(node: ElementTree.Element, number: int, index: int) -> Object:
    box = node.find("bndbox")
    if box is None:
        return Object(f"object {number}", index, None, only_void=True)
    try:
        corners = np.array([float(box.findtext(side) or "") for side in ("xmin", "ymin", "xmax", "ymax")])
        where = Box((corners if are_fractions(corners) else corners - (_FIRST, _FIRST, 0, 0)).tolist())
    except ValueError:
        where = Box(None)  # it is named when it is drawn
    return Object(f"object {number}", index, where, only_void=True, where=where)


def _size(root: ElementTree.Element) -> Size | None:
    """(height, width) that the boxes are drawn for; None where it is not said, or 0 as some tools have it."""
    return size_of(root.findtext("size/height") or "", root.findtext("size/width") or "")


def size_of(height: str, width: str) -> Size | None:
    """A size as text says it; None if it says none."""
    sides = height.strip(), width.strip()
    if not all(side.isdecimal() and len(side) <= _DIGITS and int(side) for side in sides):
        return None
    return int(sides[0]), int(sides[1])
