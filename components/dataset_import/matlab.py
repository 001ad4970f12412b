"""A matrix in a struct of a MATLAB 5 file (.mat), as SBD has them; SciPy's reader ends the process on damaged ones."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np

_COMPRESSED, _MATRIX, _STRUCT = 15, 14, 2
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_MOST = 1 << 29  # bytes unpacked: 40 million doubles and as much of what else is there


def read_field(data: bytes, variable: str, field: str) -> np.ndarray:
    """The numbers [H, W] of a field of a struct.

    Raises:
      ValueError: the file is damaged, or has no such thing.
    """
    try:
        order = {b"IM": "<", b"MI": ">"}[data[126:128]]
        for kind, content in _elements(data[128:], order):
            if kind == _COMPRESSED:
                unpacking = zlib.decompressobj()
                kind, content = next(_elements(unpacking.decompress(content, _MOST), order))
            if kind == _MATRIX and (found := _field(content, order, variable.encode(), field.encode())) is not None:
                return found
    except (KeyError, StopIteration, struct.error, zlib.error):
        pass
    raise ValueError(f"no {variable}.{field} inside, or damaged")


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """(type, content) of what lies one behind the other."""
    at = 0
    while at < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        start = at + 8
        if kind >> 16:  # up to four bytes, in the place of the size
            kind, size, start = kind & 0xFFFF, kind >> 16, at + 4
        if start + size > len(data):
            raise struct.error("ends too early")
        yield kind, data[start : start + size]
        at = start + size
        if kind != _COMPRESSED:
            at += -at % 8


def _field(matrix: bytes, order: str, variable: bytes, field: bytes) -> np.ndarray | None:
    parts = _elements(matrix, order)
    (_, flags), _, (_, name) = next(parts), next(parts), next(parts)
    if name != variable or struct.unpack_from(f"{order}I", flags)[0] & 0xFF != _STRUCT:
        return None
    (_, width), (_, names) = next(parts), next(parts)
    step = max(1, struct.unpack(f"{order}i", width)[0])
    labels = [names[at : at + step].partition(b"\0")[0] for at in range(0, len(names), step)]
    for label, (_, content) in zip(labels, parts, strict=False):
        if label == field:
            inner = _elements(content, order)
            _, (_, sides), _, (kind, numbers) = next(inner), next(inner), next(inner), next(inner)
            height, width = struct.unpack(f"{order}ii", sides)
            return np.frombuffer(numbers, f"{order}{_TYPES[kind]}").reshape(width, height).T
    return None
