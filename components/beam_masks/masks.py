"""One palette PNG an image, written whole or not at all, with a note inside that says how it came about."""

from __future__ import annotations

import errno
import io
import json
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
from PIL import Image, PngImagePlugin

from components.beam_masks.faults import dead_letter
from trainer.data.categories import palette
from trainer.data.files import is_remote, read_bytes
from trainer.data.pictures import PNG_CHUNKS, png_chunk
from trainer.errors import ImageFault

_NOTE = "transferseg"  # keyword of the PNG's text chunk
_UNFINISHED = ".unfinished"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Result:
    """A finished mask, uint8 [H, W] of ids and 255 or a palette PNG of such, and a JSON-ready note about it."""

    key: str
    mask: np.ndarray | bytes
    note: dict[str, Any] = field(default_factory=dict)


def mask_path(folder: str, key: str) -> str:
    return f"{folder}/{key}.png"


def encode(mask: np.ndarray | bytes, note: dict[str, Any]) -> bytes:
    """uint8 [H, W] -> palette PNG (VOC colours, pixels are ids); one that is there gets the note, and stays packed."""
    if isinstance(mask, bytes):
        return mask[:PNG_CHUNKS] + png_chunk(b"tEXt", f"{_NOTE}\0{_text(note)}".encode()) + mask[PNG_CHUNKS:]
    image = Image.fromarray(mask, "P")
    image.putpalette(palette().tobytes())
    info = PngImagePlugin.PngInfo()
    info.add_text(_NOTE, _text(note))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def _text(note: dict[str, Any]) -> str:
    return json.dumps(note, sort_keys=True)


def read_note(path: str) -> dict[str, Any]:
    """The note in a mask written by `encode`; {} if there is no such file or it is not ours. Pixels stay packed."""
    try:
        with Image.open(io.BytesIO(read_bytes(path)), formats=["PNG"]) as image:
            note = json.loads(image.info.get(_NOTE, "{}"))
            return note if isinstance(note, dict) else {}
    except Exception:  # whatever lies there, and whatever Pillow says about it
        return {}


def made_by(path: str) -> str | None:
    """The batch job that made this mask, "label" or "predict"; None: imported ones, and those that people drew."""
    note = read_note(path)
    return None if "stamp" not in note else "label" if "tags" in note else "predict"


def read_mask(path: str) -> np.ndarray:
    """uint8 [H, W] of ids from a mask written by `encode`."""
    with Image.open(io.BytesIO(read_bytes(path))) as image:
        return np.array(image, np.uint8)


def write_atomic(path: str, data: bytes) -> None:
    """Writes a file that is either not there or complete, also after a kill and beside others who write it.

    Raises:
      OSError, or tf.errors.OpError for a remote path: the file system refused.
    """
    with atomic(path) as unfinished:
        if is_remote(path):
            import tensorflow as tf

            with tf.io.gfile.GFile(unfinished, "wb") as file:
                file.write(data)
        else:
            with open(unfinished, "wb") as file:
                file.write(data)


@contextmanager
def atomic(path: str, scratch: str | None = None) -> Iterator[str]:
    """A path to write to: that file becomes `path` at the end, whole and at once, or goes if something fails.

    Args:
      scratch: folder for the unfinished file, on the same file system; None: that of `path`.
    """
    # The name alone may fill what is allowed.
    unfinished = f"{scratch or path.rpartition('/')[0]}/.{uuid.uuid4().hex}{_UNFINISHED}"
    remote = is_remote(path)
    if remote:
        from tensorflow.io import gfile
    try:
        yield unfinished
        if remote:
            gfile.rename(unfinished, path, overwrite=True)
        else:
            os.replace(unfinished, path)
    except BaseException:
        with suppress(Exception):
            gfile.remove(unfinished) if remote else os.unlink(unfinished)
        raise


def remove_unfinished(folder: Path) -> None:
    """Clears away what a killed run left half-written."""
    for path in folder.iterdir():
        if path.name.startswith(".") and path.name.endswith(_UNFINISHED) and path.is_file():
            path.unlink()


class WriteMasks(beam.DoFn):
    """Result -> <folder>/<key>.png; yields a dead letter if that fails."""

    def __init__(self, folder: str):
        self.folder = folder
        self.written = beam.metrics.Metrics.counter("transferseg", "written")

    def process(self, result: Result) -> Iterable[dict[str, str]]:
        try:
            write_atomic(mask_path(self.folder, result.key), encode(result.mask, result.note))
            self.written.inc()
        except Exception as error:
            if getattr(error, "errno", None) in _NO_ROOM:  # no fault of the image: the job ends, see output.claimed
                raise
            yield dead_letter(result.key, ImageFault("write", error))
