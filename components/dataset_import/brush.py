"""Label Studio's brush strokes, both ways.

Its run lengths are thi.ng's rle-pack: 32 bits of count, 5 of word size - 1, four times 4 of length size - 1, then runs:
1 bit (one value, or every value), 2 bits that choose a length size, length - 1, and the values. They hold RGBA; alpha
is the mask.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.dataset_import.regions import Region
from trainer.errors import ImageFault

_LENGTH_SIZES = (3, 4, 8, 16)  # bits


@dataclass(frozen=True)
class Brush(Region):
    """A stroke as a region (see regions.py): its run lengths."""

    data: Any

    def draw(self, size: tuple[int, int]) -> np.ndarray:
        """bool [H, W]. Raises ImageFault: "object": they are damaged, or of another size."""
        return decode_rle(self.data, 4 * math.prod(size)).reshape(*size, 4)[..., 3] > 0


def decode_rle(data: Sequence[int], expected: int) -> np.ndarray:
    """Label Studio's run lengths (bytes) -> uint8 [expected].

    Raises:
      ImageFault: "object": they hold another number of values, end too early, or are no bytes.
    """
    if not isinstance(data, list):  # bytes() would take a number for a length
        raise ImageFault("object", "a brush stroke's run lengths are no list")
    try:
        bits = "".join(f"{byte:08b}" for byte in bytes(data))
    except (TypeError, ValueError):
        raise ImageFault("object", "a brush stroke's run lengths are no bytes") from None
    position = 0

    def read(size: int) -> int:
        nonlocal position
        position += size
        if position > len(bits):
            raise ImageFault("object", "a brush stroke's run lengths end too early")
        return int(bits[position - size : position], 2)

    count, word = read(32), read(5) + 1
    if count != expected or word > 8:
        raise ImageFault("object", f"a brush stroke holds {count} values, its picture {expected} (four a pixel)")
    sizes = [read(4) + 1 for _ in range(4)]
    values = np.zeros(count, np.uint8)
    at = 0
    while at < count:
        one_value = read(1)
        end = at + 1 + read(sizes[read(2)])
        if one_value:
            values[at:end] = read(word)
        else:
            for i in range(at, min(end, count)):
                values[i] = read(word)
        at = end
    return values


def brush_rle(mask: np.ndarray) -> list[int]:
    """bool [H, W] -> Label Studio's run lengths, all four channels 255 inside."""
    values = np.repeat(mask.ravel().astype(np.uint8) * 255, 4)
    edges = np.concatenate([[0], np.flatnonzero(np.diff(values)) + 1, [len(values)]])
    bits = [f"{len(values):032b}", f"{8 - 1:05b}", *(f"{size - 1:04b}" for size in _LENGTH_SIZES)]
    for start, end in zip(edges[:-1], edges[1:], strict=True):
        for piece in range(start, end, 1 << _LENGTH_SIZES[-1]):
            length = min(end - piece, 1 << _LENGTH_SIZES[-1])
            choice = next(i for i, size in enumerate(_LENGTH_SIZES) if length <= 1 << size)
            bits.append(f"1{choice:02b}{length - 1:0{_LENGTH_SIZES[choice]}b}{values[start]:08b}")
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return [int(text[i : i + 8], 2) for i in range(0, len(text), 8)]


def brush_results(
    mask: np.ndarray, names: Mapping[int, str], from_name: str = "tag", to_name: str = "image"
) -> list[dict[str, Any]]:
    """A mask as the results of a Label Studio prediction, one a category.

    Args:
      mask: uint8 [H, W] of ids, upright, as Label Studio shows pictures.
      names: id -> the label's value in Label Studio; other ids are left out.
      from_name, to_name: of the project's BrushLabels and Image tags.
    """
    height, width = mask.shape
    return [
        {
            "id": names[i],
            "from_name": from_name,
            "to_name": to_name,
            "type": "brushlabels",
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {"format": "rle", "rle": brush_rle(mask == i), "brushlabels": [names[i]]},
        }
        for i in np.unique(mask).tolist()
        if i in names
    ]
