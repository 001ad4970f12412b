"""Labels kept from run to run, so that an image that is labelled the same way again is looked up.

A shard adds one zip file with the labels it had to make: an entry a label, called by its stamp. Nobody ever changes a
file, and its name says what is in it: two runs at once do no harm. Which file holds which stamp is a run's index, made
when it starts: rows of a stamp's and a file's 16 bytes, sorted. What is damaged is not found, and made anew.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from components.batch.masks import write_atomic
from trainer.data.files import read_bytes

_SUFFIX = ".zip"
_HALF = 16  # bytes of a stamp, and of what a file is called


@dataclass(frozen=True)
class Label:
    """A finished label: an 8-bit grey PNG of ids and 255, and the JSON-ready note of transform.py, with its stamp."""

    mask: bytes
    note: dict[str, Any]


@dataclass(frozen=True)
class LabelStore:
    """The labels by one recipe, which names all but the example that decides a label, in a folder for all recipes."""

    root: str
    recipe: str

    @property
    def folder(self) -> str:
        return f"{self.root}/{self.recipe[: 2 * _HALF]}"

    def files(self) -> list[str]:
        return sorted(tf.io.gfile.glob(f"{self.folder}/*{_SUFFIX}"))

    def put(self, labels: Sequence[Label]) -> None:
        """Adds a file of labels; none, no file.

        Raises:
          OSError or tf.errors.OpError: the file system refused.
        """
        if not labels:
            return
        buffer, name = io.BytesIO(), hashlib.sha256()
        with zipfile.ZipFile(buffer, "w") as file:
            for label in labels:
                name.update(label.note["stamp"].encode())
                entry = zipfile.ZipInfo(label.note["stamp"])  # without the time: the same labels, the same bytes
                file.writestr(entry, json.dumps(label.note, sort_keys=True).encode() + b"\n" + label.mask)
        tf.io.gfile.makedirs(self.folder)
        write_atomic(f"{self.folder}/{name.hexdigest()[: 2 * _HALF]}{_SUFFIX}", buffer.getvalue())


def stamps_in(path: str) -> list[str]:
    """The stamps in a file of a store; none of a damaged one."""
    file = _opened(path)
    return file.namelist() if file else []


def index_rows(path: str) -> bytes:
    """A file's rows of the index."""
    name = path.rpartition("/")[2].removesuffix(_SUFFIX)
    try:
        return b"".join(bytes.fromhex(stamp + name) for stamp in stamps_in(path))
    except ValueError:  # the name of a file, or of an entry, that is not ours
        return b""


def index_of(rows: Iterable[bytes]) -> bytes:
    """The index, of the rows of all files."""
    return np.sort(np.frombuffer(b"".join(rows), f"S{2 * _HALF}")).tobytes()


class Known:
    """Labels of a store by their stamps; the files they are in stay open, so it is made anew for every shard."""

    def __init__(self, store: LabelStore, index: bytes):
        self._store, self._index = store, index
        self._open: dict[str, zipfile.ZipFile | None] = {}

    def get(self, stamp: str) -> Label | None:
        for path in self._paths(bytes.fromhex(stamp)):
            if path not in self._open:
                self._open[path] = _opened(path)
            try:
                note, _, mask = self._open[path].read(stamp).partition(b"\n")
                return Label(mask, json.loads(note))
            except Exception:  # the entry is damaged, whatever zipfile says about it: perhaps another file has it
                continue
        return None

    def _paths(self, stamp: bytes) -> Iterator[str]:
        rows = range(0, len(self._index), 2 * _HALF)
        first = bisect_left(rows, stamp, key=lambda row: self._index[row : row + _HALF])
        for row in rows[first:]:
            if self._index[row : row + _HALF] != stamp:
                return
            yield f"{self._store.folder}/{self._index[row + _HALF : row + 2 * _HALF].hex()}{_SUFFIX}"


def _opened(path: str) -> zipfile.ZipFile | None:
    try:
        return zipfile.ZipFile(io.BytesIO(read_bytes(path)))
    except Exception:  # not there any more, or damaged in one of many ways
        return None
