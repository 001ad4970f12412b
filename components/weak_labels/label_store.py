"""Labels kept from run to run, so that an image that is labelled the same way again is looked up.

A shard adds one file with the labels it had to make. Nobody changes a file, and its name says what is in it: two runs
at once do no harm. A damaged one holds nothing, and its labels are made anew.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from components.beam_masks.masks import write_atomic
from trainer.data.files import from_lines, read_bytes, to_lines


@dataclass(frozen=True)
class LabelStore:
    """The labels by one recipe, which names all but the example that decides them, in a folder for all recipes."""

    root: str
    recipe: str

    @property
    def folder(self) -> str:
        return f"{self.root}/{self.recipe[:32]}"

    def files(self) -> list[str]:
        return sorted(tf.io.gfile.glob(f"{self.folder}/*.gz"))

    def put(self, labels: Sequence[dict[str, Any]]) -> None:
        """Adds JSON-ready labels, each with its `stamp`, as a file; the file system's errors come through."""
        if labels:
            name = hashlib.sha256("".join(label["stamp"] for label in labels).encode()).hexdigest()[:32]
            tf.io.gfile.makedirs(self.folder)
            write_atomic(f"{self.folder}/{name}.gz", gzip.compress(to_lines(labels), mtime=0))


def labels_in(path: str) -> list[dict[str, Any]]:
    """What `put` has put into a file."""
    try:
        return from_lines(gzip.decompress(read_bytes(path)))
    except Exception:  # not there any more, or damaged in one of many ways
        return []
