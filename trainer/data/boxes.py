"""Boxes: a tag that also says where. And their table, a CSV `image,category,x1,y1,x2,y2`, a box a line.

Coordinates are continuous, in pixels of the stored picture: x from its left edge, y from its top edge, so that the box
of the upper left pixel is 0, 0, 1, 1. Where a tag has boxes, each surrounds one of its objects, and they surround all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from trainer.data import csv_table
from trainer.data.files import cut
from trainer.data.pictures import FLIPPED_LEFT_RIGHT, FLIPPED_TOP_BOTTOM, Header
from trainer.errors import ImageFault, UserError

BOXES = "boxes.csv"  # where it lies in a dataset's folder, beside the tags table
HEADER = ("image", "category", "x1", "y1", "x2", "y2")
PIXELS = "coordinates are pixels"

Corners = tuple[float, float, float, float]  # x1, y1, x2, y2
T = TypeVar("T")


class TagBox(NamedTuple):
    """A box of a tag (a category's id); x1 < x2, y1 < y2."""

    tag: int
    x1: float
    y1: float
    x2: float
    y2: float

    @property
    def corners(self) -> Corners:
        return self[1:]


def clipped(box: TagBox, height: int, width: int) -> TagBox:
    """The part of a box that lies in the picture.

    Raises:
      ImageFault: "object": no part does.
    """
    tag, x1, y1, x2, y2 = box
    inside = TagBox(tag, max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
    if inside.x1 >= inside.x2 or inside.y1 >= inside.y2:
        where = ", ".join(f"{value:g}" for value in box.corners)
        raise ImageFault("object", f"a box ({where}) lies outside the picture, which is {width}x{height}")
    return inside


def pixels_of(box: TagBox, size: tuple[int, int], scale: tuple[float, float] = (1.0, 1.0)) -> tuple[slice, slice]:
    """Rows and columns whose middles a box surrounds, of a picture or of a copy of another size; at least one each.

    Args:
      box: in the picture.
      size: (height, width) of the copy.
      scale: (along y, along x), pixels of the copy to one of the picture.
    """

    def span(low: float, high: float, side: int) -> slice:
        first = min(max(math.ceil(low - 0.5), 0), side - 1)
        if math.ceil(high - 0.5) <= first:  # narrower than a pixel: the one that its middle lies in
            first = min(max(math.floor((low + high) / 2), 0), side - 1)
        return slice(first, min(max(math.ceil(high - 0.5), first + 1), side))

    return span(box.y1 * scale[0], box.y2 * scale[0], size[0]), span(box.x1 * scale[1], box.x2 * scale[1], size[1])


def upright_box(box: TagBox, picture: Header) -> TagBox:
    """A box on the stored pixels -> on the picture as people see it, as trainer.data.orientation.upright."""
    tag, x1, y1, x2, y2 = box
    if picture.orientation >= 5:
        x1, y1, x2, y2 = y1, x1, y2, x2
    return _flipped(TagBox(tag, x1, y1, x2, y2), picture)


def stored_box(box: TagBox, picture: Header) -> TagBox:
    """The reverse of `upright_box`."""
    tag, x1, y1, x2, y2 = _flipped(box, picture)
    return TagBox(tag, y1, x1, y2, x2) if picture.orientation >= 5 else TagBox(tag, x1, y1, x2, y2)


def _flipped(box: TagBox, picture: Header) -> TagBox:
    tag, x1, y1, x2, y2 = box
    height, width = picture.upright_size
    if picture.orientation in FLIPPED_LEFT_RIGHT:
        x1, x2 = width - x2, width - x1
    if picture.orientation in FLIPPED_TOP_BOTTOM:
        y1, y2 = height - y2, height - y1
    return TagBox(tag, x1, y1, x2, y2)


@dataclass(frozen=True)
class Row:
    """A line of the table: its number, the image as it is named there, the category, the box."""

    line: int
    image: str
    category: str
    corners: Corners


class BoxesTable(csv_table.Table[Row]):
    def faults_of_names(self, known: Sequence[str]) -> csv_table.Faults:
        """(line number, what is wrong) of categories that are none of the known names."""
        return tuple(csv_table.unknown(((row.line, row.category) for row in self.rows), known))

    def by_image(
        self, find: Callable[[str], T], ids: Mapping[str, int]
    ) -> tuple[dict[T, tuple[TagBox, ...]], list[tuple[int, str]]]:
        """Boxes by what `find` makes of their images' names, and the faults of all other lines.

        Args:
          find: its ImageFaults become faults of the line.
          ids: the known categories.
        """
        found: dict[T, list[TagBox]] = {}
        faults = [*self.faults, *self.faults_of_names(list(ids))]
        wrong = {line for line, _ in faults}
        for row in self.rows:
            try:
                image = find(row.image)
            except ImageFault as fault:
                faults.append((row.line, f"{fault}; correct the name, or take the line out"))
                continue
            if row.line not in wrong:
                found.setdefault(image, []).append(TagBox(ids[row.category], *row.corners))
        return {image: tuple(boxes) for image, boxes in found.items()}, sorted(faults)


def are_fractions(coordinates: np.ndarray) -> bool:
    """Whether they look like parts of a picture's sides: all in 0..1, and not only 0 and 1."""
    inside = (coordinates >= 0) & (coordinates <= 1)
    return bool(inside.all() and (coordinates % 1 != 0).any())


def read_boxes_table(path: str | Path) -> BoxesTable:
    """Reads a table, see `csv_table.read_lines`.

    Raises:
      UserError: no such file, no text, another header, or fractions; single wrong lines become `faults`.
    """
    rows, faults = csv_table.read_lines(path, HEADER, _row)
    if rows and are_fractions(np.array([row.corners for row in rows])):
        raise UserError(f"{path}: every box lies within 0..1: fractions of the picture? {PIXELS}")
    return BoxesTable(str(path), rows, faults)


def write_boxes_table(boxes: Mapping[str, Iterable[tuple[str, Corners]]]) -> bytes:
    """image -> (category, corners) of its boxes, as a table that `read_boxes_table` reads, sorted by image."""
    return csv_table.written(
        HEADER,
        (
            (image, category, *(f"{value:.10g}" for value in corners))
            for image, several in sorted(boxes.items())
            for category, corners in several
        ),
    )


def _row(line: int, cells: list[str], delimiter: str) -> Row:
    if len(cells) != len(HEADER) or not cells[0].strip() or not cells[1].strip():
        raise UserError(f"expected {','.join(HEADER)}, a box a line")
    if delimiter != ",":  # such tables have decimal commas; in others a comma parts thousands, or is a slip
        cells = [*cells[:2], *(cell.replace(",", ".") for cell in cells[2:])]
    corners = tuple(_number(name, cell) for name, cell in zip(HEADER[2:], cells[2:], strict=True))
    if fault := box_fault(corners):
        raise UserError(fault)
    return Row(line, cells[0].strip(), csv_table.category(cells[1]), corners)


def box_fault(corners: Sequence[float]) -> str | None:
    """What is wrong with x1, y1, x2, y2, whatever the picture; None if nothing is."""
    if not np.isfinite(corners).all():
        return "a corner of the box is not a finite number"
    x1, y1, x2, y2 = corners
    if x1 > x2 or y1 > y2:
        return f"the box is inverted: {x1:g} to {x2:g} and {y1:g} to {y2:g}; write left, top, right, bottom"
    if x1 == x2 or y1 == y2:
        return f"the box is empty: {x1:g} to {x2:g} and {y1:g} to {y2:g}"
    return None


def _number(name: str, cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise UserError(f"{name} is '{cut(cell, 20)}', must be a number of pixels") from None
