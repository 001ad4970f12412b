"""Images on their way to the networks: where they are, their bytes, the checks before and at decoding."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
import numpy as np
from PIL import Image

from components.batch.faults import dead_letter
from components.batch.masks import mask_path, read_note
from trainer.errors import ImageFault

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif")  # what the networks' decoder reads
DEAD = "dead"  # tag of the output that holds dead letters


@dataclass(frozen=True)
class Source:
    """An image to read. `key` is the file's stem and the mask's name, `tags` are ascending category ids."""

    key: str
    path: str
    tags: tuple[int, ...] = ()


@dataclass(frozen=True)
class Sample:
    """An image that was read. `stamp` identifies its mask: the same bytes, tags and recipe give the same mask."""

    key: str
    image: bytes
    tags: tuple[int, ...] = ()
    stamp: str = ""


def stamp_of(recipe: str, tags: tuple[int, ...], image: bytes) -> str:
    """32 hex digits that name the mask of these bytes, with these tags, made by this recipe (models and settings)."""
    return hashlib.sha256(f"{recipe} {tags} ".encode() + image).hexdigest()[:32]


def list_images(folder: str | Path) -> list[Path]:
    """Image files directly in `folder`, by suffix, hidden ones left out; sorted by name."""
    return sorted(
        path for path in Path(folder).iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )


class ReadImages(beam.DoFn):
    """Source -> Sample; nothing if `output` already holds the mask that would come out."""

    def __init__(self, output: str, recipe: str):
        """`recipe` names everything but the image that decides the mask: models, settings."""
        self.output, self.recipe = output, recipe
        self.kept = beam.metrics.Metrics.counter("transferseg", "kept")

    def process(self, source: Source) -> Iterable[Sample | beam.pvalue.TaggedOutput]:
        try:
            data = Path(source.path).read_bytes()
        except OSError as error:
            yield beam.pvalue.TaggedOutput(DEAD, dead_letter(source.key, ImageFault("read", error.strerror or error)))
            return
        stamp = stamp_of(self.recipe, source.tags, data)
        if read_note(mask_path(self.output, source.key)).get("stamp") == stamp:
            self.kept.inc()
        else:
            yield Sample(source.key, data, source.tags, stamp)


def decode(data: bytes, max_pixels: int) -> np.ndarray:
    """Decodes an image with the decoder that the networks use, after a look at its header.

    Returns:
      uint8 [H, W, 3] RGB, the stored pixels, which masks fit.

    Raises:
      ImageFault: "read" (empty), "size" (more than `max_pixels`, which guards against decompression bombs) or "decode".
    """
    import tensorflow as tf  # workers import this module before they know whether they will decode

    from trainer.preprocessing import decode_image

    if not data:
        raise ImageFault("read", "the file is empty")
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
    except Image.DecompressionBombError as error:
        raise ImageFault("size", error) from None
    except Exception:  # Pillow's readers raise what they like on broken headers
        raise ImageFault("decode", f"not an image file ({len(data)} bytes)") from None
    if width * height > max_pixels:
        raise ImageFault("size", f"{width}x{height} is {width * height} pixels; the limit is {max_pixels}")
    try:
        return decode_image(tf.constant(data)).numpy()
    except (tf.errors.OpError, ValueError) as error:
        raise ImageFault("decode", f"not a readable JPEG, PNG, BMP or GIF: {error}") from None
