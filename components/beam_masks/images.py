"""Images on their way to the networks: where they are, their bytes, the checks before and at decoding."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
import numpy as np
from PIL import Image

from components.beam_masks.faults import dead_letter
from components.beam_masks.masks import mask_path, read_note
from trainer.data.boxes import TagBox
from trainer.data.files import read_bytes
from trainer.data.names import key_of, stem_of, suffix_of
from trainer.data.pictures import decode, read_header, readable, to_png
from trainer.errors import ImageFault, UserError, few, shown

_SMALL = 4_000_000  # our choice: pixels of a picture made smaller for networks, which see fewer still
DEAD = "dead"  # tag of the output that holds dead letters


@dataclass(frozen=True)
class Source:
    """An image to read. `key` is the file's stem and the mask's name, `tags` are ascending category ids.

    `boxes` may reach out of the picture, whose size nobody knows yet.
    """

    key: str
    path: str
    tags: tuple[int, ...] = ()
    boxes: tuple[TagBox, ...] = ()


@dataclass(frozen=True)
class Sample:
    """An image that was read. `stamp` identifies its mask: the same bytes, tags, boxes and recipe give the same."""

    key: str
    image: bytes
    tags: tuple[int, ...] = ()
    stamp: str = ""
    boxes: tuple[TagBox, ...] = ()


def stamp_of(recipe: str, tags: tuple[int, ...], image: bytes, boxes: tuple[TagBox, ...] = ()) -> str:
    """32 hex digits that name the mask of these bytes, with these tags and boxes, by this recipe (models, settings)."""
    where = f"{[tuple(box) for box in boxes]} " if boxes else ""
    return hashlib.sha256(f"{recipe} {tags} {where}".encode() + image).hexdigest()[:32]


def list_images(folder: str | Path, output: str | Path | None = None) -> tuple[list[Path], list[str]]:
    """The picture files directly in a folder, by suffix, sorted by name; and what else is there, as text.

    Hidden files, and `output` if it lies there, are in neither.

    Raises:
      UserError: no such folder, or no picture in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{shown(str(folder))}: no such folder of images")
    pictures, others = [], []
    own = Path(output) if output and Path(output).is_dir() else None
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or (own and path.is_dir() and path.samefile(own)):
            continue
        if path.is_dir():
            others.append(f"{shown(path.name)}/")
        elif suffix_of(path.name):
            pictures.append(path)
        else:
            others.append(shown(path.name))
    if not pictures:
        inside = f", only {few(others, 3)}" if others else ""
        raise UserError(f"{shown(str(folder))}: holds no picture{inside}; give the folder that the pictures are in")
    return pictures, others


def mask_key(name: str) -> str:
    """What the mask of a picture file is called: the file's stem, made printable if it is not."""
    stem = stem_of(name)
    return stem if stem.isprintable() else key_of(name)


def claim(path: Path, claims: dict[str, str]) -> str:
    """The picture's key, which is given away once; `claims`: key -> name of the file that has it.

    Raises:
      ImageFault: another picture has it.
    """
    key = mask_key(path.name)
    if (first := claims.setdefault(key, path.name)) != path.name:
        names = f"{shown(path.name)}: its mask would overwrite that of {shown(first)}"
        raise ImageFault("write", f"{names}, which has the same stem; rename one of them")
    return key


class ReadImages(beam.DoFn):
    """Source -> Sample; nothing if `output` already holds the mask that would come out."""

    def __init__(self, output: str, recipe: str):
        """`recipe` names everything but the image that decides the mask: models, settings."""
        self.output, self.recipe = output, recipe
        self.kept = beam.metrics.Metrics.counter("transferseg", "kept")

    def process(self, source: Source) -> Iterable[Sample | beam.pvalue.TaggedOutput]:
        try:
            data = read_bytes(source.path)
        except ImageFault as fault:
            yield beam.pvalue.TaggedOutput(DEAD, dead_letter(source.key, fault))
            return
        stamp = stamp_of(self.recipe, source.tags, data, source.boxes)
        if read_note(mask_path(self.output, source.key)).get("stamp") == stamp:
            self.kept.inc()
        else:
            yield Sample(source.key, data, source.tags, stamp, source.boxes)


def unpack(image: bytes, max_pixels: int, limit: int) -> tuple[np.ndarray, bytes]:
    """An encoded picture of any format, once its header has been looked at.

    Args:
      max_pixels: larger pictures are refused.
      limit: pixels that the networks accept.

    Returns:
      (uint8 [H, W, 3] RGB, the stored pixels, which masks fit; the picture as exported networks take it: a JPEG or PNG,
      made smaller where it has more pixels than they accept).

    Raises:
      ImageFault: "read" (empty), "size" (more than `max_pixels`, which guards against decompression bombs) or "decode".
    """
    data = readable(image, max_pixels, "make it smaller, or raise --max-pixels")
    pixels = decode(data, max_pixels)
    count = pixels.shape[0] * pixels.shape[1]
    if count > limit:
        small = Image.fromarray(pixels).reduce(math.ceil(math.sqrt(count / min(_SMALL, limit))))
        data = to_png(small, read_header(data, max_pixels).orientation)
    return pixels, data
