"""Mask files -> category ids, by kind of file; and masks turned to the pixels of their picture.

Kinds: grey of 1 to 16 bits, of 8 bits with or without alpha, and RGB of equal channels hold ids. A palette's indices
are ids, unless all its colours, used or not, are VOC's, or all are greys that are ids (an optimiser sorted them), or a
table of colours is given; one of black and white, in this order, holds 0 and 1. Other RGB masks need the table; VOC's
colour map is the default. Transparent pixels are background.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from trainer.data.categories import BACKGROUND, VOID, palette
from trainer.data.files import read_bytes
from trainer.data.pictures import TURNED_BY_PILLOW, Header, read_header, stored_pixels, upright_pixels
from trainer.errors import ImageFault, few, one_line

Colour = tuple[int, int, int]

_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)
_LOSSLESS = ("PNG", "TIFF", "BMP", "GIF")
_GREY_STEPS = {"L;2": 85, "L;4": 17}  # Pillow spreads greys of 2 and 4 bits over 0..255


def voc_colours(num_categories: int) -> dict[Colour, int]:
    """RGB -> id of VOC's colour map: background, 1..num_categories and void."""
    colours = palette()
    return {tuple(map(int, colours[i])): i for i in [*range(num_categories + 1), VOID]}


def read_mask(data: bytes, num_categories: int, colours: Mapping[Colour, int] | None = None) -> np.ndarray:
    """Decodes a mask file.

    Args:
      data: PNG, TIFF, BMP or GIF.
      num_categories: ids above, other than 255, are a fault.
      colours: what the mask's colours mean; None: see the module.

    Returns:
      uint8 [H, W] of ids and 255, upright if the file notes an orientation.

    Raises:
      ImageFault: "mask": unreadable, lossy, too large, or with colours or ids that stand for nothing.
    """
    return decode(data, num_categories, colours).ids


def read_fitting(
    data: bytes, num_categories: int, picture: Header, colours: Mapping[Colour, int] | None = None
) -> np.ndarray:
    """A mask file of a picture -> uint8 [H, W] on the picture's stored pixels; see `read_mask` and `fit`."""
    mask = decode(data, num_categories, colours)
    return fit(mask.ids, picture, mask.upright)


@dataclass(frozen=True)
class DecodedMask:
    """What a mask file holds.

    Attributes:
      ids: uint8 [H, W] of ids and 255.
      upright: the file notes an orientation, so `ids` surely lie on the picture as people see it.
      recoloured: a palette's colours stand for other ids than its indices; the colours were taken.
    """

    ids: np.ndarray
    upright: bool
    recoloured: bool


def decode(data: bytes, num_categories: int, colours: Mapping[Colour, int] | None = None) -> DecodedMask:
    """Decodes a mask file, see `read_mask`."""
    try:
        header = read_header(data)
    except ImageFault as fault:
        raise ImageFault("mask", f"its mask: {fault}") from None
    if header.format not in _LOSSLESS:
        raise ImageFault("mask", f"its mask is a {header.format}; masks must be PNG: {header.format} changes ids")
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.verify()  # checksums and the end, which decoding alone does not look at
        with Image.open(io.BytesIO(data)) as image:
            if (frames := getattr(image, "n_frames", 1)) > 1:
                raise ImageFault("mask", f"its mask has {frames} frames; keep one")
            stored = str(image.tile[0].args if isinstance(image.tile[0].args, str) else image.tile[0].args[0])
            image.load()
            if ";16" in stored and image.mode in ("RGB", "RGBA", "LA"):
                _refuse_cut_values(data)
            ids = _ids(image, num_categories, colours, _GREY_STEPS.get(stored[:3], 1))
            recoloured = image.mode == "P" and colours is None and bool((ids != np.array(image)).any())
    except ImageFault:
        raise
    except Exception as error:  # Pillow raises many kinds on damaged files
        raise ImageFault("mask", f"its mask is not readable: {one_line(error)}") from None
    values = _used(ids) if ids.dtype == np.uint8 else np.unique(ids)
    odd = [int(i) for i in values if not 0 <= i <= num_categories and i != VOID]
    if odd:
        raise ImageFault("mask", f"its mask has ids {few([*map(str, odd)])}{_remedy(odd, num_categories)}")
    ids = ids.astype(np.uint8)
    upright = ids if header.format in TURNED_BY_PILLOW else upright_pixels(ids, header.orientation)
    return DecodedMask(upright, header.orientation != 1, recoloured)


def are_binary(paths: Iterable[str | Path]) -> bool:
    """Whether the masks of an only category are black and white: some pixel is 255, none is of any other id.

    Files that cannot be read are passed over.
    """
    white = False
    for path in paths:
        try:
            ids = read_mask(read_bytes(path), VOID)
        except ImageFault:
            continue
        if ids_in(ids):
            return False
        white |= bool((ids == VOID).any())
    return white


def fit(mask: np.ndarray, picture: Header, upright: bool = False) -> np.ndarray:
    """A mask drawn on the stored pixels, or on the picture as people see it -> uint8 on the stored pixels.

    Args:
      mask: uint8 [H, W].
      picture: the picture's header.
      upright: the mask is surely drawn on the upright picture, so also where the sizes do not tell (half turns).

    Raises:
      ImageFault: "size": it fits neither; both sizes are named.
    """
    if is_upright(mask.shape, picture, upright):
        return stored_pixels(mask, picture.orientation)
    return mask


def may_be_turned(picture: Header) -> bool:
    """Whether a mask's size does not tell if it lies on the stored pixels or on the picture as people see it."""
    return picture.orientation != 1 and picture.size == picture.upright_size


def is_upright(size: Sequence[int], picture: Header, surely: bool = False) -> bool:
    """Whether what was drawn for a (height, width) lies on the upright picture, not on the stored pixels; see `fit`.

    Raises:
      ImageFault: "size": it fits neither.
    """
    if tuple(size) in (picture.size, picture.upright_size):
        return surely or tuple(size) != picture.size
    kind = ""
    if tuple(size) == picture.size[::-1]:
        kind = "; width and height are swapped"
    elif size[0] * picture.width == size[1] * picture.height:
        kind = "; make it the picture's size (nearest neighbour, never interpolated)"
    raise ImageFault(
        "size", f"its mask is {size[1]}x{size[0]} but the picture is {picture.width}x{picture.height}{kind}"
    )


def ids_in(mask: np.ndarray) -> tuple[int, ...]:
    """Ascending category ids of a mask, background and void left out."""
    return tuple(int(i) for i in _used(mask) if i not in (BACKGROUND, VOID))


def _used(mask: np.ndarray) -> np.ndarray:
    """Ascending values of a uint8 array; much faster than np.unique."""
    return np.flatnonzero(np.bincount(mask.ravel(), minlength=256))


def encode_grey(mask: np.ndarray) -> bytes:
    """uint8 [H, W] -> 8-bit grey PNG, as masks are stored in examples."""
    buffer = io.BytesIO()
    Image.fromarray(mask, "L").save(buffer, "PNG")
    return buffer.getvalue()


def _refuse_cut_values(data: bytes) -> None:
    """Raises ImageFault if channels of 16 bits, of which Pillow keeps the upper 8, say something in the lower."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or (pixels % 257).any():  # 8 bits are widened by this factor
        raise ImageFault("mask", "its mask has channels of 16 bits; save it as grey, or with 8 bits a channel")


def _ids(image: Image.Image, num_categories: int, colours: Mapping[Colour, int] | None, grey_step: int) -> np.ndarray:
    """Any number type [H, W]. `grey_step`: between two of the file's greys as Pillow has them."""
    alpha = _alpha(image, grey_step)
    if image.mode == "P":
        ids = _of_palette(image, num_categories, colours)
    elif image.mode == "1" and colours is None:
        ids = np.array(image).astype(np.uint8)
    elif image.mode in ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L"):
        pixels = np.array(image.convert("L") if image.mode == "1" else image)
        grey = pixels[..., 0] if pixels.ndim == 3 else pixels
        ids = grey // grey_step if colours is None else _of_colours(np.stack([grey] * 3, -1), colours, alpha)
    elif image.mode in ("RGB", "RGBA"):
        ids = _of_rgb(np.array(image)[..., :3], num_categories, colours, alpha)
    else:
        raise ImageFault("mask", f"its mask is a {image.mode} image; masks are palette, grey or RGB PNGs")
    return ids if alpha is None else np.where(alpha, ids, BACKGROUND)


def _alpha(image: Image.Image, grey_step: int) -> np.ndarray | None:
    """bool [H, W], False where the mask is transparent; None where nothing says that anything is."""
    if image.mode in ("LA", "RGBA"):
        return np.array(image.getchannel("A")) > 0
    clear = image.info.get("transparency")  # the index, grey or colour that is transparent; or the alpha of each index
    if clear is None:
        return None
    pixels = np.array(image)
    if isinstance(clear, bytes):
        return np.frombuffer(clear.ljust(256, b"\xff"), np.uint8)[pixels] > 0
    return (pixels != clear).any(-1) if pixels.ndim == 3 else pixels // grey_step != clear


def _of_palette(image: Image.Image, num_categories: int, colours: Mapping[Colour, int] | None) -> np.ndarray:
    indices = np.array(image)
    entries = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    used = _used(indices)
    if used.size and used[-1] >= len(entries):
        raise ImageFault("mask", f"its mask uses palette entry {used[-1]} of {len(entries)}")
    if colours is None:
        shown = {tuple(map(int, entry)) for entry in entries}  # of used ones alone, two masks might be read in two ways
        if shown == {_BLACK, _WHITE} and tuple(entries[0]) == _BLACK:
            return indices  # as one of 1 bit
        grey = {(i, i, i): i for i in [*range(num_categories + 1), VOID]}
        tables = (voc_colours(num_categories), grey)
        colours = next((table for table in tables if len(shown) > 1 and shown <= set(table)), None)
        if colours is None:
            return indices
    meaning = np.zeros(256, np.uint8)
    meaning[used] = _of_colours(entries[used][np.newaxis], colours, None)[0]
    return meaning[indices]


def _of_rgb(
    pixels: np.ndarray, num_categories: int, colours: Mapping[Colour, int] | None, alpha: np.ndarray | None
) -> np.ndarray:
    grey = pixels[..., 0]
    opaque = pixels if alpha is None else pixels[alpha]
    if colours is None and bool((opaque == opaque[..., :1]).all()):
        used = _used(opaque)
        highest = max((i for i in used if i != VOID), default=BACKGROUND)
        if num_categories == 0 or (highest <= num_categories and (highest != BACKGROUND or VOID not in used)):
            return grey  # black and white alone say not whether white is void
    return _of_colours(pixels, voc_colours(num_categories) if colours is None else colours, alpha)


def _of_colours(pixels: np.ndarray, colours: Mapping[Colour, int], alpha: np.ndarray | None) -> np.ndarray:
    """uint8 [H, W, 3] -> uint8 [H, W]; transparent pixels may have any colour."""
    codes = (pixels.astype(np.int32) * (1 << 16, 1 << 8, 1)).sum(-1)
    known = {(r << 16) + (g << 8) + b: i for (r, g, b), i in colours.items()}
    found, places = np.unique(codes, return_inverse=True)
    visible = found if alpha is None else np.unique(codes[alpha])
    odd = [(code >> 16, code >> 8 & 255, code & 255) for code in map(int, visible) if code not in known]
    if odd:
        raise ImageFault(
            "mask",
            f"its mask has the colour {odd[0]}, which stands for no category ({len(odd)} such); transferseg "
            "import folder takes a table of their colours with --colours (lines name:red,green,blue)",
        )
    return np.array([known.get(int(code), 0) for code in found], np.uint8)[places].reshape(codes.shape)


def _remedy(odd: Sequence[int], num_categories: int) -> str:
    text = f"; there are {num_categories} categories"
    if max(odd) > 2 * num_categories:
        text += "; if its greys stand for categories (0, 127, 254), give them to transferseg import folder "
        text += "with --colours (lines name:g,g,g)"
    return text
