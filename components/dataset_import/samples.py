"""What a reader of a foreign format hands over: images, their tags, and masks that are drawn when they are written."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import apache_beam as beam
import numpy as np
import tensorflow as tf

from trainer.errors import ImageFault

Mask = Callable[[], np.ndarray]  # picklable; -> uint8 [H, W]: 0, 1..len(names), 255; raises ImageFault


@dataclass(frozen=True)
class Sample:
    """An image of a foreign dataset.

    Attributes:
      key: unique name, becomes the file's stem.
      image: path on any file system that TensorFlow knows, or the encoded bytes.
      tags: names of categories; None: those in the mask.
      mask: draws the mask; None: the image has tags only.
    """

    key: str
    image: str | bytes
    tags: tuple[str, ...] | None
    mask: Mask | None = None


@dataclass(frozen=True)
class Contents:
    """A foreign dataset: category names by id (from 1), its samples (or a transform that gives them), dead letters."""

    names: tuple[str, ...]
    samples: Sequence[Sample] | beam.PTransform
    faults: list[dict[str, str]] = field(default_factory=list)


def join(folder: str, name: str) -> str:
    """A path in a folder; both may be URLs such as gs://bucket/images."""
    return f"{str(folder).rstrip('/')}/{name.lstrip('/')}"


def key_of(name: str) -> str:
    """Unique key of a file by its relative path: "a/b c.jpg" -> "a_b c"."""
    path = PurePosixPath(name)
    return re.sub(r"[/\\]", "_", str(path.with_suffix("")))


def read_bytes(path: str) -> bytes:
    """Any file's bytes.

    Raises:
      ImageFault: it cannot be read.
    """
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            return file.read()
    except tf.errors.NotFoundError:
        raise ImageFault("read", f"no such file: {path}") from None
    except (tf.errors.OpError, OSError) as error:
        raise ImageFault("read", f"{path}: {error}") from None


def read_png(path: str) -> tuple[np.ndarray, str]:
    """(pixels uint8 [H, W] or [H, W, channels], Pillow's mode) of a mask file; palettes are not applied.

    Raises:
      ImageFault: it cannot be read.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(read_bytes(path))) as image:
            return np.array(image), image.mode
    except ImageFault:
        raise
    except Exception as error:  # Pillow raises many kinds on damaged files
        raise ImageFault("decode", f"{path}: not a readable PNG: {error}") from None
