"""Masks drawn from objects. The object is the unit of failure: what cannot be drawn is dropped, named, and void."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.dataset_import.items import TURNED, Drawn
from components.dataset_import.regions import Box, Polygon, Region, Size, filled
from trainer.data.boxes import TagBox, clipped, stored_box
from trainer.data.categories import BACKGROUND, VOID
from trainer.data.masks import fit, is_upright, may_be_turned
from trainer.data.pictures import Header
from trainer.errors import ImageFault

_DIGITS = 10  # of a side; Python refuses to read some thousands


@dataclass(frozen=True)
class Object:
    """One object of a picture.

    Attributes:
      label: what letters call it, e.g. "annotation 12".
      index: id of its category; 255 for what has none.
      region: has draw(size) and extent(size); None: nothing is known of where it is.
      only_void: it has a box alone: its pixels are void, and its category is a tag.
      where: the Box that surrounds it, if the format gives one; void if the region cannot be drawn.
      of: id of the category that a crowd is of, whose `index` is 255.
      whole: what it is a part of, of the size of which depends what lies on top; "": itself.
      problem: why it is void although it can be drawn, e.g. that it has no label.
    """

    label: str
    index: int
    region: Region | None
    only_void: bool = False
    where: Box | None = None
    of: int | None = None
    whole: str = ""
    problem: str | None = None


@dataclass(frozen=True)
class Drawing:
    """A mask of objects.

    Attributes:
      objects: to draw.
      size: (height, width) that they are drawn for; None: the picture's as people see it.
      upright: they are surely drawn on the picture as people see it.
      tags: further categories that the picture shows.
      by_area: draw large ones first, so that small ones lie on top; else in the given order.
    """

    objects: Sequence[Object]
    size: Size | None = None
    upright: bool = False
    tags: tuple[int, ...] = ()
    by_area: bool = False

    def __call__(self, picture: Header) -> Drawn:
        """Raises ImageFault if the size is not the picture's, or not one of the objects can be drawn."""
        size = self._size(picture)
        upright = is_upright(size, picture, self._is_surely_upright)
        ids = np.zeros(size, np.uint8)
        doubt = np.zeros(size, bool)  # may hold something that was not drawn: void, if nothing else is there
        shown, dropped = set(self.tags), []
        for one in self._in_order(size):
            try:
                inside = _drawn(one.region, size) if one.region is not None else np.ones(size, bool)
            except ImageFault as fault:
                dropped.append((one.label, str(fault)))
                doubt |= _doubt(one, size)
                continue
            if one.problem:
                dropped.append((one.label, one.problem))
            elif one.index != VOID:
                shown.add(one.index)
            if one.only_void or one.region is None:
                doubt |= inside
            else:
                ids[inside] = one.index
        if dropped and not shown:
            raise ImageFault("object", f"none of its objects can be used: {dropped[0][0]}: {dropped[0][1]}")
        ids[doubt & (ids == BACKGROUND)] = VOID
        mask = fit(ids, picture, upright)
        doubts = (TURNED,) * (may_be_turned(picture) and not self._is_surely_upright)
        return Drawn(mask, tuple(sorted(shown - {BACKGROUND})), tuple(dropped), self.boxes(picture), doubts)

    def boxes(self, picture: Header) -> tuple[TagBox, ...]:
        """Boxes on the stored pixels, clipped to the picture, of the categories that some object shows by a box alone.

        Of such a category all objects have one, the drawn ones that around their pixels: what has boxes is nowhere
        else. So a category has none if nobody knows where some object of it is.

        Raises:
          ImageFault: the size is not the picture's.
        """
        size = self._size(picture)
        upright = is_upright(size, picture, self._is_surely_upright)
        boxed = {one.index for one in self.objects if one.only_void} - {BACKGROUND, VOID}
        found: list[TagBox] = []
        for tag in sorted(boxed):
            own = [_box(one, tag, size) for one in self.objects if tag in (one.index, one.of)]
            if all(own):
                found += own
        return tuple(stored_box(box, picture) if upright else box for box in found)

    def _size(self, picture: Header) -> Size:
        height, width = self.size or picture.upright_size
        return height, width

    @property
    def _is_surely_upright(self) -> bool:
        return self.upright or self.size is None

    def _in_order(self, size: Size) -> list[Object]:
        """Crowds and other void first, then by falling area."""
        if not self.by_area:
            return list(self.objects)

        areas: Counter[str] = Counter()
        for one in self.objects:
            areas[one.whole or one.label] += _area(one, size)

        def order(one: Object) -> tuple[bool, float]:
            return one.index != VOID, -areas[one.whole or one.label]

        return sorted(self.objects, key=order)


def size_in(entry: Mapping[str, Any], height: str, width: str) -> Size | None:
    """(height, width) that a JSON's entry has under these keys, as numbers or text; None where both are missing or 0.

    Raises:
      ImageFault: "size": they are no numbers of pixels.
    """
    given = [entry.get(key) or 0 for key in (height, width)]
    sides = [f"{side:.0f}" if isinstance(side, float) and side.is_integer() else str(side).strip() for side in given]
    if sides == ["0", "0"]:
        return None
    if not all(side.isdecimal() and len(side) < _DIGITS and int(side) for side in sides):
        raise ImageFault("size", f"the JSON gives its {height} and {width} as {given[0]!r} and {given[1]!r}")
    return int(sides[0]), int(sides[1])


def _drawn(region: Region, size: Size) -> np.ndarray:
    """bool [H, W]; a polygon inside the picture may be too thin for a pixel.

    Raises:
      ImageFault: "object": it cannot be drawn, or not on this picture.
    """
    inside = region.draw(size)
    if not inside.any() and ((extent := region.extent(size)) is None or not filled(extent, size).any()):
        raise ImageFault("object", "marks no pixel of the picture")
    return inside


def _box(one: Object, tag: int, size: Size) -> TagBox | None:
    """The box around an object; None if it has no area in the picture, or is not known."""
    try:
        if one.where is not None:
            extent = one.where.extent(size)
        elif one.only_void or one.region is None:
            extent = None
        elif (extent := one.region.extent(size)) is None:
            rows, columns = np.nonzero(one.region.draw(size))
            extent = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) if rows.size else None
        return None if extent is None else clipped(TagBox(tag, *map(float, extent)), *size)
    except ImageFault:
        return None


def _area(one: Object, size: Size) -> float:
    """Pixels; measured, because COCO's `area` may be missing in some objects, or be in another unit."""
    if one.region is None:
        return 0.0
    try:
        return one.region.area(size) if isinstance(one.region, Polygon) else float(one.region.draw(size).sum())
    except ImageFault:
        return 0.0


def _doubt(one: Object, size: Size) -> np.ndarray:
    """bool [H, W]: where an object may be that cannot be drawn; everywhere, if nobody knows."""
    extent = (one.where and one.where.extent(size)) or one.region.extent(size)
    return np.ones(size, bool) if extent is None else filled(extent, size)
