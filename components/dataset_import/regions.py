"""What people draw of one object: polygons, run lengths, boxes, pixels.

Coordinates and run lengths are checked before they are used: the libraries behind do not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pycocotools import mask as rle

from trainer.data.boxes import PIXELS, are_fractions
from trainer.errors import ImageFault

Size = tuple[int, int]  # height, width
Unit = Literal["pixel", "percent", "fraction"]
_CORNERS = 64  # of the polygon that stands for an ellipse


class Region:
    """What was drawn of one object. `draw` raises an ImageFault: "object", if it cannot be drawn."""

    def draw(self, size: Size) -> np.ndarray:
        """bool [H, W]."""
        raise NotImplementedError

    def extent(self, size: Size) -> tuple[float, float, float, float] | None:
        """x0, y0, x1, y1; None if that is not known."""
        return None


@dataclass(frozen=True)
class Polygon(Region):
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
        if self.unit == "pixel" and len(numbers) and are_fractions(numbers):
            raise ImageFault("object", f"a polygon within 0..1: fractions of the picture? {PIXELS}")
        height, width = size
        points = numbers.reshape(-1, 2) * _pixels(self.unit, size)
        wild = (points < (-width, -height)) | (points > (2 * width, 2 * height))
        if wild.any():
            x, y = points[wild.any(1)][0]
            raise ImageFault("object", f"a polygon has the point ({x:g}, {y:g}), the picture is {width}x{height}")
        return points


@dataclass(frozen=True)
class RunLengths(Region):
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


@dataclass(frozen=True)
class Pixels(Region):
    """bool [H, W] as they are; `name`: what letters call them."""

    inside: np.ndarray
    name: str = "a mask"

    def draw(self, size: Size) -> np.ndarray:
        if self.inside.shape != size:
            raise ImageFault("object", f"{self.name} is {self.inside.shape[::-1]}, the picture {size[::-1]}")
        return self.inside


@dataclass(frozen=True)
class Box(Region):
    """x0, y0, x1, y1; units as Polygon's."""

    corners: Any
    unit: Unit = "pixel"

    def draw(self, size: Size) -> np.ndarray:
        """bool [H, W], all pixels that the box touches.

        Raises:
          ImageFault: "object": no box in numbers, or fractions of the picture where pixels belong.
        """
        return filled(self._corners(size), size)

    def extent(self, size: Size) -> tuple[float, float, float, float] | None:
        try:
            return self._corners(size)
        except ImageFault:
            return None

    def _corners(self, size: Size) -> tuple[float, float, float, float]:
        wrong = ImageFault("object", f"a box {_short(self.corners)} is no left, top, right and bottom in numbers")
        try:
            numbers = _numbers(self.corners)
        except ImageFault:
            raise wrong from None
        if len(numbers) != 4 or (numbers[2:] < numbers[:2]).any():
            raise wrong
        if self.unit == "pixel" and are_fractions(numbers):
            raise ImageFault("object", f"a box within 0..1: fractions of the picture? {PIXELS}")
        return tuple(numbers * (_pixels(self.unit, size) * 2))


def ellipse(centre: Sequence[float], radii: Sequence[float], turned: float = 0.0) -> Polygon:
    """The polygon of an ellipse in pixels; `turned`: clockwise, in radians."""
    angles = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
    x, y = radii[0] * np.cos(angles), radii[1] * np.sin(angles)
    cosine, sine = math.cos(turned), math.sin(turned)
    return Polygon(np.stack([centre[0] + x * cosine - y * sine, centre[1] + x * sine + y * cosine], -1))


def turned_box(corners: Any, angle: float) -> Box:
    """The box around x0, y0, x1, y1 in pixels, turned about its centre by `angle`, in radians."""
    try:
        left, top, right, bottom = _numbers(corners)
    except (ValueError, ImageFault):
        return Box(None)
    if are_fractions(np.array([left, top, right, bottom])):
        return Box(corners)  # it is named when it is drawn
    x, y = (left + right) / 2, (top + bottom) / 2
    half = np.abs([right - left, bottom - top]) / 2
    cosine, sine = abs(math.cos(angle)), abs(math.sin(angle))
    beside, above = float(half @ (cosine, sine)), float(half @ (sine, cosine))
    return Box([x - beside, y - above, x + beside, y + above])


def placed(patch: np.ndarray, corner: Sequence[float], size: Size) -> np.ndarray:
    """bool [h, w] with its upper left corner at (x, y) of the picture -> bool [H, W].

    It may stand out by a pixel: some tools round so.

    Raises:
      ImageFault: "object": it is not inside the picture.
    """
    if not np.isfinite(corner).all():
        raise ImageFault("object", "a coordinate is not a finite number")
    x, y = (round(value) for value in corner)
    height, width = patch.shape
    if x < 0 or y < 0 or x + width > size[1] + 1 or y + height > size[0] + 1:
        raise ImageFault("object", f"its mask of {width}x{height} at ({x}, {y}) is not inside the picture")
    inside = np.zeros((size[0] + 1, size[1] + 1), bool)
    inside[y : y + height, x : x + width] = patch
    return inside[:-1, :-1]


def filled(extent: Sequence[float], size: Size) -> np.ndarray:
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
