"""Objects that people drew: polygons, run lengths, brush strokes, boxes; and masks drawn from them.

The object is the unit of failure. What cannot be drawn is dropped and named, and void where it may have been.
Coordinates and run lengths are checked before they are used: the libraries behind do not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pycocotools import mask as rle

from components.dataset_import.samples import Drawn
from trainer.categories import BACKGROUND, VOID
from trainer.data.masks import check_size, fit
from trainer.data.pictures import Header
from trainer.errors import ImageFault

Size = tuple[int, int]  # height, width
Unit = Literal["pixel", "percent", "fraction"]


@dataclass(frozen=True)
class Polygon:
    """An outline: x, y, x, y, ... in pixels, or in percents or fractions of the picture's width and height."""

    coordinates: Any
    unit: Unit = "pixel"

    def draw(self, size: Size) -> np.ndarray:
        """bool [H, W], pixels by COCO's rule.

        Raises:
          ImageFault: "object": no numbers, fewer than three points, or far outside the picture.
        """
        points = self._points(size)
        if len(points) < 3:
            raise ImageFault("object", f"a polygon of {len(points)} points has no area")
        return rle.decode(rle.merge(rle.frPyObjects([points.ravel().tolist()], *size))).astype(bool)

    def extent(self, size: Size) -> tuple[float, float, float, float] | None:
        """x0, y0, x1, y1; None if that is not known."""
        try:
            points = self._points(size)
        except ImageFault:
            return None
        return (*points.min(0), *points.max(0)) if len(points) else (0, 0, 0, 0)

    def area(self, size: Size) -> float:
        x, y = self._points(size).T
        return abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))) / 2

    def _points(self, size: Size) -> np.ndarray:
        """float64 [N, 2] in pixels."""
        numbers = _numbers(self.coordinates)
        if len(numbers) % 2:
            raise ImageFault("object", f"a polygon has {len(numbers)} coordinates, an odd number")
        height, width = size
        points = numbers.reshape(-1, 2) * _pixels(self.unit, size)
        wild = (points < (-width, -height)) | (points > (2 * width, 2 * height))
        if wild.any():
            x, y = points[wild.any(1)][0]
            raise ImageFault("object", f"a polygon has the point ({x:g}, {y:g}), the picture is {width}x{height}")
        return points


@dataclass(frozen=True)
class RunLengths:
    """COCO's: {"size": [height, width], "counts": list or packed text}, columns first, background first."""

    value: Any

    def draw(self, size: Size) -> np.ndarray:
        """bool [H, W].

        Raises:
          ImageFault: "object": of another size, or their sum is not that of the pixels.
        """
        declared = self.value.get("size") if isinstance(self.value, dict) else None
        if not isinstance(declared, list | tuple) or tuple(declared) != tuple(size):
            raise ImageFault("object", f"run lengths for {_short(declared)} (height, width), the picture is {size}")
        counts = self.value.get("counts")
        runs = _unpacked(counts) if isinstance(counts, str) else _numbers(counts)
        if (runs < 0).any() or (runs != np.floor(runs)).any() or runs.sum() != math.prod(size):
            raise ImageFault("object", f"run lengths sum to {runs.sum():.0f}, the picture has {math.prod(size)} pixels")
        inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs.astype(np.int64))
        return inside.reshape(size[::-1]).T

    def extent(self, size: Size) -> None:
        return None


@dataclass(frozen=True)
class Box:
    """x0, y0, x1, y1; units as Polygon's."""

    corners: Any
    unit: Unit = "pixel"

    def draw(self, size: Size) -> np.ndarray:
        """bool [H, W], all pixels that the box touches."""
        extent = self.extent(size)
        if extent is None:
            raise ImageFault("object", f"a box {_short(self.corners)} is no left, top, right and bottom in numbers")
        return _filled(extent, size)

    def extent(self, size: Size) -> tuple[float, float, float, float] | None:
        try:
            numbers = _numbers(self.corners)
        except ImageFault:
            return None
        if len(numbers) != 4 or (numbers[2:] < numbers[:2]).any():
            return None
        return tuple(numbers * (_pixels(self.unit, size) * 2))


@dataclass(frozen=True)
class Object:
    """One object of a picture.

    Attributes:
      label: what letters call it, e.g. "annotation 12".
      index: id of its category; 255 for what has none.
      region: has draw(size) and extent(size); None: nothing is known of where it is.
      only_void: it has a box alone: its pixels are void, and its category is a tag.
      where: a Box around it, if the format gives one; void if the region cannot be drawn.
      area: pixels; objects are drawn in the order of falling area. None: it is measured.
      problem: why it is void although it can be drawn, e.g. that it has no label.
    """

    label: str
    index: int
    region: Any
    only_void: bool = False
    where: Box | None = None
    area: float | None = None
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
        size = tuple(self.size or picture.upright_size)
        check_size(size, picture)
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
        mask = fit(ids, picture, self.upright or self.size is None)
        return Drawn(mask, tuple(sorted(shown - {BACKGROUND})), tuple(dropped))

    def _in_order(self, size: Size) -> list[Object]:
        """Crowds and other void first, then by falling area."""
        if not self.by_area:
            return list(self.objects)

        def order(one: Object) -> tuple[bool, float]:
            return one.index != VOID, -_area(one, size)

        return sorted(self.objects, key=order)


def _area(one: Object, size: Size) -> float:
    if one.area is not None:
        return one.area
    try:
        return one.region.area(size) if isinstance(one.region, Polygon) else float(one.region.draw(size).sum())
    except (ImageFault, AttributeError):
        return 0.0


def _drawn(region: Any, size: Size) -> np.ndarray:
    """bool [H, W]; a polygon inside the picture may be too thin for a pixel.

    Raises:
      ImageFault: "object": it cannot be drawn, or not on this picture.
    """
    inside = region.draw(size)
    if not inside.any() and ((extent := region.extent(size)) is None or not _filled(extent, size).any()):
        raise ImageFault("object", "marks no pixel of the picture")
    return inside


def _doubt(one: Object, size: Size) -> np.ndarray:
    """bool [H, W]: where an object may be that cannot be drawn; everywhere, if nobody knows."""
    extent = (one.where and one.where.extent(size)) or one.region.extent(size)
    return np.ones(size, bool) if extent is None else _filled(extent, size)


def _filled(extent: Sequence[float], size: Size) -> np.ndarray:
    """bool [H, W]: the pixels that a box touches; one of no width or height touches some too."""
    sides = (*size[::-1], *size[::-1])
    x0, y0, x1, y1 = np.clip(extent, -1, np.add(sides, 1))
    left, top = math.floor(x0), math.floor(y0)
    inside = np.zeros(size, bool)
    inside[max(top, 0) : max(top + 1, math.ceil(y1)), max(left, 0) : max(left + 1, math.ceil(x1))] = True
    return inside


def _pixels(unit: Unit, size: Size) -> tuple[float, float]:
    """Pixels of one unit along x and y."""
    parts = {"pixel": None, "percent": 100, "fraction": 1}[unit]
    return (size[1] / parts, size[0] / parts) if parts else (1.0, 1.0)


def _numbers(values: Any) -> np.ndarray:
    """float64 [N], all finite."""
    try:
        numbers = np.asarray(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ImageFault("object", f"{_short(values)} are no numbers") from None
    if not np.isfinite(numbers).all() or values is None:
        raise ImageFault("object", "a coordinate is not a finite number")
    return numbers.ravel()


def _unpacked(text: str) -> np.ndarray:
    """COCO's packed run lengths (five bits a character, differences to the last but one) -> float64 [N].

    Raises:
      ImageFault: "object": it is no such text.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 35:
            raise ImageFault("object", "packed run lengths hold a character or a number that they cannot hold")
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            value -= (code & 16) << (shift - 4)  # two's complement
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    if shift:
        raise ImageFault("object", "packed run lengths end too early")
    return np.array(runs, np.float64)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else text[:57] + "..."
