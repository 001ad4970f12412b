"""Masks that are files: palette, grey or coloured PNGs, and SBD's .mat files."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from components.dataset_import.samples import read_bytes, read_png
from trainer.categories import VOID, palette
from trainer.errors import ImageFault, one_line

Colour = tuple[int, int, int]


def voc_colours(num_categories: int) -> dict[Colour, int]:
    """RGB -> id of VOC's colour map: background, 1..num_categories and void."""
    colours = palette()
    return {tuple(map(int, colours[i])): i for i in [*range(num_categories + 1), VOID]}


@dataclass(frozen=True)
class PngMask:
    """A PNG of ids, or of colours.

    Attributes:
      path: of the PNG.
      num_categories: ids above, other than 255, are a fault.
      colours: what the colours of an RGB mask mean.
    """

    path: str
    num_categories: int
    colours: Mapping[Colour, int] = field(default_factory=dict)

    def __call__(self) -> np.ndarray:
        pixels, mode = read_png(self.path)
        if mode in ("RGB", "RGBA"):
            return ids_of_colours(pixels[..., :3], self.colours, self.path)
        if mode not in ("P", "L", "1"):
            raise ImageFault("decode", f"{self.path}: a {mode} image; masks are palette, 8-bit grey or RGB PNGs")
        odd = [int(i) for i in np.unique(pixels) if i > self.num_categories and i != VOID]
        if odd:
            raise ImageFault("decode", f"{self.path}: has ids {odd[:5]}; there are {self.num_categories} categories")
        return pixels.astype(np.uint8)


def ids_of_colours(pixels: np.ndarray, colours: Mapping[Colour, int], path: str) -> np.ndarray:
    """uint8 [H, W, 3] -> uint8 [H, W] of ids.

    Raises:
      ImageFault: a colour without a meaning.
    """
    codes = (pixels.astype(np.int32) * (1 << 16, 1 << 8, 1)).sum(-1)
    found, places = np.unique(codes, return_inverse=True)
    known = {(r << 16) + (g << 8) + b: i for (r, g, b), i in colours.items()}
    odd = [(int(code) >> 16, int(code) >> 8 & 255, int(code) & 255) for code in found if int(code) not in known]
    if odd:
        raise ImageFault("decode", f"{path}: colour {odd[0]} stands for no category ({len(odd)} such colours)")
    return np.array([known[int(code)] for code in found], np.uint8)[places].reshape(codes.shape)


@dataclass(frozen=True)
class SbdMask:
    """A .mat file of the Semantic Boundaries Dataset (cls/): GTcls.Segmentation holds VOC's ids."""

    path: str

    def __call__(self) -> np.ndarray:
        from scipy.io import loadmat

        data = read_bytes(self.path)
        try:
            mask = loadmat(io.BytesIO(data), struct_as_record=False, squeeze_me=True)["GTcls"].Segmentation
        except Exception as error:  # scipy raises many kinds on damaged files
            raise ImageFault("decode", f"{self.path}: no GTcls.Segmentation inside: {one_line(error)}") from None
        return np.atleast_2d(mask).astype(np.uint8)
