"""The PNGs of COCO's panoptic files."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from components.dataset_import.items import Drawn
from trainer.data.categories import BACKGROUND, VOID
from trainer.data.files import read_bytes
from trainer.data.masks import fit
from trainer.data.pictures import Header, read_header
from trainer.errors import ImageFault, one_line


@dataclass(frozen=True)
class PanopticMask:
    """A PNG whose colours are segment ids (R + 256 G + 65536 B), and what they show; 0 is void."""

    path: str
    segments: Mapping[int, int]  # segment id -> id of the category, 0 or 255
    problems: tuple[tuple[str, str], ...]  # (segment, why it is void)

    def __call__(self, picture: Header) -> Drawn:
        try:
            with Image.open(_bytes_io(self.path)) as image:
                pixels, mode = np.array(image).astype(np.int64), image.mode
        except ImageFault:
            raise
        except Exception as error:  # Pillow raises many kinds on damaged files
            raise ImageFault("mask", f"{self.path}: not a readable PNG: {one_line(error)}") from None
        if mode not in ("RGB", "RGBA"):
            raise ImageFault("mask", f"{self.path}: a {mode} image; panoptic PNGs are RGB")
        numbers = pixels[..., 0] + 256 * pixels[..., 1] + 65536 * pixels[..., 2]
        found, places = np.unique(numbers, return_inverse=True)
        meaning = {segment: self.segments.get(segment, VOID) for segment in found.tolist()}
        ids = np.array([meaning[segment] for segment in found.tolist()], np.uint8)[places].reshape(numbers.shape)
        unnamed, absent = meaning.keys() - {0, *self.segments}, self.segments.keys() - set(meaning)
        dropped = [*self.problems]
        dropped += [(f"segment {segment}", "is in the PNG, not in segments_info") for segment in sorted(unnamed)]
        dropped += [(f"segment {segment}", "is in segments_info, not in the PNG") for segment in sorted(absent)]
        shown = sorted(set(meaning.values()) - {BACKGROUND, VOID})
        if dropped and not shown:
            raise ImageFault("object", f"none of its {len(dropped)} segments can be used: {': '.join(dropped[0])}")
        return Drawn(fit(ids, picture), tuple(shown), tuple(dropped))


def _bytes_io(path: str) -> io.BytesIO:
    data = read_bytes(path)
    read_header(data)  # no bomb
    return io.BytesIO(data)
