"""One palette PNG an image, written whole or not at all, with a note inside that says how it came about."""

from __future__ import annotations

import io
import json
import logging
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
import numpy as np
from PIL import Image, PngImagePlugin

from components.batch.faults import dead_letter
from trainer.categories import palette
from trainer.errors import ImageFault

_NOTE = "transferseg"  # keyword of the PNG's text chunk
_UNFINISHED = ".unfinished"
_LOG = logging.getLogger("transferseg")


@dataclass(frozen=True)
class Result:
    """A finished mask: uint8 [H, W] of ids and 255, and a JSON-ready note about it."""

    key: str
    mask: np.ndarray
    note: dict[str, Any] = field(default_factory=dict)


def mask_path(folder: str, key: str) -> str:
    return f"{folder}/{key}.png"


def encode(mask: np.ndarray, note: dict[str, Any]) -> bytes:
    """uint8 [H, W] -> palette PNG (VOC colours, pixels are ids)."""
    image = Image.fromarray(mask, "P")
    image.putpalette(palette().tobytes())
    info = PngImagePlugin.PngInfo()
    info.add_text(_NOTE, json.dumps(note, sort_keys=True))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def read_note(path: str) -> dict[str, Any]:
    """The note in a mask written by `encode`; {} if there is no such file or it is not ours. Pixels stay packed."""
    import tensorflow as tf

    try:
        with tf.io.gfile.GFile(path, "rb") as file, Image.open(file) as image:
            return json.loads(image.info.get(_NOTE, "{}"))
    except (tf.errors.OpError, OSError, ValueError, SyntaxError):
        return {}


def read_mask(path: str) -> np.ndarray:
    """uint8 [H, W] of ids from a palette or grey PNG."""
    import tensorflow as tf

    with tf.io.gfile.GFile(path, "rb") as file, Image.open(file) as image:
        return np.array(image, np.uint8)


def write_atomic(path: str, data: bytes) -> None:
    """Writes a file that is either not there or complete, also after a kill and beside others who write it.

    Raises:
      tf.errors.OpError: the file system refused.
    """
    import tensorflow as tf  # any file system, at the price of a heavy import; only workers that label come here

    folder, _, name = path.rpartition("/")
    unfinished = f"{folder}/.{name}.{uuid.uuid4().hex}{_UNFINISHED}"
    with tf.io.gfile.GFile(unfinished, "wb") as file:
        file.write(data)
    tf.io.gfile.rename(unfinished, path, overwrite=True)


def remove_unfinished(folder: str) -> None:
    """Clears away what a killed run, or a refusing file system, left half-written."""
    import tensorflow as tf

    for path in tf.io.gfile.glob(f"{folder}/.*{_UNFINISHED}"):
        tf.io.gfile.remove(path)


@dataclass(frozen=True)
class MaskStore:
    """Masks by their stamp, kept from run to run: an image that is labelled the same way again is a copy."""

    root: str

    def put(self, stamp: str, data: bytes) -> None:
        import tensorflow as tf

        tf.io.gfile.makedirs(self._path(stamp).rpartition("/")[0])
        write_atomic(self._path(stamp), data)

    def get(self, stamp: str) -> bytes | None:
        """The encoded mask, or None if there is none that can be read."""
        import tensorflow as tf

        try:
            with tf.io.gfile.GFile(self._path(stamp), "rb") as file:
                return file.read()
        except tf.errors.OpError:
            return None

    def _path(self, stamp: str) -> str:
        return f"{self.root}/{stamp[:2]}/{stamp}.png"


class WriteMasks(beam.DoFn):
    """Result -> <folder>/<key>.png, and into the store if there is one; yields a dead letter if that fails."""

    def __init__(self, folder: str, store: MaskStore | None = None):
        self.folder, self.store = folder, store
        self.written = beam.metrics.Metrics.counter("transferseg", "written")

    def process(self, result: Result) -> Iterable[dict[str, str]]:
        try:
            data = encode(result.mask, result.note)
            write_atomic(mask_path(self.folder, result.key), data)
            self.written.inc()
        except Exception as error:  # a full disk is this image's fault here and the share rule's later
            yield dead_letter(result.key, ImageFault("write", error))
            return
        if self.store:
            try:
                self.store.put(result.note["stamp"], data)
            except Exception as error:  # the next run makes the mask again
                _LOG.warning("label store: no copy of %s (%s)", result.key, error)
