"""Small pictures as data URIs: photographs, heat maps over them, masks in VOC's colours."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np

from components.beam_masks.masks import encode
from trainer.data.categories import palette

T = TypeVar("T")

_SIDE = 360  # our choice: pixels of the longer side
_HEAT = 0.6  # our choice: opacity of a heat map over its image
_QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 82]


@dataclass(frozen=True)
class Picture:
    """What an <img> needs: `src` a data URI, `alt` for those who cannot see it, `caption` below it."""

    src: str
    alt: str
    caption: str


def photo(image: np.ndarray) -> str:
    """uint8 [H, W, 3] RGB -> data URI of a JPEG of at most 360 pixels a side."""
    return _jpeg(_shrink(image, cv2.INTER_AREA))


def heat(image: np.ndarray, values: np.ndarray) -> str:
    """The image under a heat map; `values` float [H, W] in 0..1, dark is 0 and yellow 1."""
    small = _shrink(image, cv2.INTER_AREA)
    levels = cv2.resize(values.astype(np.float32), small.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    coloured = cv2.applyColorMap(np.round(255 * np.clip(levels, 0, 1)).astype(np.uint8), cv2.COLORMAP_INFERNO)
    return _jpeg(cv2.addWeighted(coloured[..., ::-1], _HEAT, small, 1 - _HEAT, 0))


def mask(ids: np.ndarray) -> str:
    """uint8 [H, W] of ids and 255 -> data URI of a palette PNG."""
    return data_uri("image/png", encode(_shrink(ids, cv2.INTER_NEAREST), {}))


def colour(category: int) -> str:
    """A category's colour in CSS notation."""
    return "#{:02x}{:02x}{:02x}".format(*palette()[category])


def data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def evenly_spaced(items: Sequence[T], most: int) -> list[T]:
    """At most so many of the items, the first and the last among them."""
    return [items[round(i)] for i in np.linspace(0, len(items) - 1, min(most, len(items)))]


def _shrink(image: np.ndarray, interpolation: int) -> np.ndarray:
    factor = min(1.0, _SIDE / max(image.shape[:2]))
    size = [max(1, round(factor * side)) for side in image.shape[1::-1]]
    return cv2.resize(image, size, interpolation=interpolation)


def _jpeg(image: np.ndarray) -> str:
    return data_uri("image/jpeg", cv2.imencode(".jpg", image[..., ::-1], _QUALITY)[1].tobytes())
