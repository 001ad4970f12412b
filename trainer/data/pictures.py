"""Encoded pictures: their size and orientation from the header alone, decoding, and the form they are stored in."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from trainer.errors import ImageFault, one_line

MAX_PIXELS = 40_000_000  # open: decoding and resizing one image then stays below about 1 GB
_ORIENTATION = 0x0112  # EXIF 2.32
_DECODED = ("JPEG", "PNG", "BMP", "GIF", "MPO")  # Pillow's names of what the networks' decoder reads; MPO is a JPEG
_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Header:
    """What a picture's header says.

    Attributes:
      height, width: of the stored pixels.
      orientation: EXIF's, 1..8; 1 is upright.
      format: Pillow's name of it, e.g. "JPEG".
    """

    height: int
    width: int
    orientation: int
    format: str

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the stored pixels."""
        return self.height, self.width

    @property
    def upright_size(self) -> tuple[int, int]:
        """(height, width) of the picture as people see it."""
        return self.size if self.orientation < 5 else (self.width, self.height)


def read_header(data: bytes, max_pixels: int = MAX_PIXELS) -> Header:
    """Looks at an encoded picture without unpacking it.

    Raises:
      ImageFault: "read" (empty), "decode" (no picture), "size" (more than `max_pixels`; guards against bombs).
    """
    with _opened(data) as image:
        width, height, kind = *image.size, str(image.format)
        frame = image.info.get("extent") or getattr(image, "dispose_extent", None) or (0, 0, width, height)
        if max(width * height, frame[2] * frame[3]) > max_pixels:
            raise ImageFault("size", f"{width}x{height} pixels are too many; the limit is {max_pixels} (--max-pixels)")
        orientation = image.getexif().get(_ORIENTATION, 1)
    valid = isinstance(orientation, int) and 1 <= orientation <= 8
    return Header(height, width, orientation if valid else 1, kind)


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decodes a picture with the decoder that the networks use, after a look at its header.

    Returns:
      uint8 [H, W, 3] RGB, the stored pixels, which masks fit.

    Raises:
      ImageFault: see `read_header`; also "decode" if the pixels are damaged.
    """
    import tensorflow as tf  # workers import this module before they know whether they will decode

    from trainer.preprocessing import decode_image

    header = read_header(data, max_pixels)
    try:
        image = decode_image(tf.constant(data)).numpy()
    except (tf.errors.OpError, ValueError) as error:
        raise ImageFault("decode", f"not a readable JPEG, PNG, BMP or GIF: {one_line(error)}") from None
    if image.shape[:2] != header.size:
        raise ImageFault("decode", f"decodes to {image.shape[:2]} but its header says {header.size}")
    return image


def as_stored(data: bytes, max_pixels: int = MAX_PIXELS) -> tuple[str, bytes, Header]:
    """The form in which a dataset keeps a picture.

    JPEGs stay as they are, and so do PNGs that note no orientation; anything else Pillow reads becomes an upright PNG.

    Returns:
      (".jpg" or ".png", its bytes, the header of the picture that was given).

    Raises:
      ImageFault: see `read_header`; also "decode" if a picture that must be converted is damaged.
    """
    header = read_header(data, max_pixels)
    if data[:2] == _JPEG:
        return ".jpg", data, header
    if data[:8] == _PNG and header.orientation == 1:
        return ".png", data, header
    return ".png", _upright_png(data), header


def readable(data: bytes, max_pixels: int = MAX_PIXELS) -> bytes:
    """The picture in a format that the networks' decoder reads: itself, or a PNG of its stored pixels.

    Raises:
      ImageFault: see `as_stored`.
    """
    if read_header(data, max_pixels).format in _DECODED:
        return data
    return _upright_png(data, keep_orientation=True)


def _upright_png(data: bytes, keep_orientation: bool = False) -> bytes:
    with _opened(data) as image:
        exif = Image.Exif()
        if keep_orientation:
            exif[_ORIENTATION] = image.getexif().get(_ORIENTATION, 1)
        else:
            image = ImageOps.exif_transpose(image)
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, "PNG", exif=exif)
        return buffer.getvalue()


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    if not data:
        raise ImageFault("read", "the file is empty")
    try:
        with Image.open(io.BytesIO(data)) as image:
            yield image
    except ImageFault:
        raise
    except Image.DecompressionBombError as error:
        raise ImageFault("size", error) from None
    except Exception as error:  # Pillow's readers raise what they like on broken files
        known = not isinstance(error, UnidentifiedImageError)
        reason = f"damaged, {one_line(error)}" if known else "not a picture in any known format"
        raise ImageFault("decode", f"{reason} ({len(data)} bytes)") from None
