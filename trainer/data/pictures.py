"""Encoded pictures: their size and orientation from the header alone, decoding, and the form they are stored in."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from trainer.errors import ImageFault, one_line

MAX_PIXELS = 40_000_000  # our choice: decoding and resizing one image then stays below about 1 GB
MOST_PIXELS = 178_000_000  # decoders refuse more, whatever the limit
TURNED_BY_PILLOW = ("TIFF",)  # formats whose pixels it turns upright as it unpacks them
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "AVIF")  # others run programs (EPS) or show no picture
_OPTIONAL = ("HEIF",)  # if a plug-in for it is installed
# Pillow's names of what the networks' decoder reads as it should: it takes palettes of BMP for greys, and unpacks all
# frames of a GIF for the first. MPO is a JPEG.
DECODED = ("JPEG", "PNG", "MPO")
ORIENTATION = 0x0112  # EXIF 2.32
_BITS, _COMPRESSION, _PHOTOMETRIC, _PLANAR = 258, 259, 262, 284  # tags of TIFF 6.0
_DARK = 16  # our choice: of 256 levels; cameras and scanners of 12 bits fill no more of 16
PNG_CHUNKS = 33  # bytes of a PNG before the chunks that follow IHDR
FLIPPED_LEFT_RIGHT, FLIPPED_TOP_BOTTOM = (2, 3, 6, 7), (3, 4, 7, 8)  # orientations, see trainer.data.orientation
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


def read_header(data: bytes, max_pixels: int = MAX_PIXELS, remedy: str = "make it smaller") -> Header:
    """Looks at an encoded picture without unpacking it. `remedy` is for one that is too large.

    Raises:
      ImageFault: "read" (empty), "decode" (no picture), "size" (more than `max_pixels`; guards against bombs).
    """
    with _opened(data) as image:
        width, height, kind = *image.size, str(image.format)
        if width * height > max_pixels:  # of a GIF's first frame, where that is larger than its screen
            raise ImageFault("size", f"{width}x{height} pixels are too many; the limit is {max_pixels}; {remedy}")
        orientation = _orientation(image, data)
    if kind in TURNED_BY_PILLOW and orientation >= 5:
        width, height = height, width
    return Header(height, width, orientation, kind)


def holds_more(data: bytes, max_pixels: int) -> bool:
    """Whether a picture, one of a dataset, has more than so many pixels."""
    header = read_header(data)
    return header.width * header.height > max_pixels


def _orientation(image: Image.Image, data: bytes) -> int:
    """EXIF's, 1..8, from the header; of a PNG without unpacking it, which Pillow does to look behind its pixels."""
    try:
        exif = Image.Exif()
        if image.format in TURNED_BY_PILLOW:
            exif = image.getexif()
        elif data[:8] != _PNG:
            exif.load(image.info.get("exif", b""))  # image.getexif() would take XMP for it, which networks do not see
        elif b"eXIf" in data:
            exif.load(data.partition(b"eXIf")[2])
        orientation = exif.get(ORIENTATION, 1)
    except Exception:  # Pillow raises what it likes on damaged notes, which count as none, as in the networks
        return 1
    return orientation if orientation in range(1, 9) else 1


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decodes a picture with the decoder that the networks use, after a look at its header.

    Returns:
      uint8 [H, W, 3] RGB, the stored pixels, which masks fit.

    Raises:
      ImageFault: see `read_header`; also "decode" if the pixels are damaged.
    """
    import tensorflow as tf  # workers import this module before they know whether they will decode

    from trainer.data.preprocessing import decode_image

    header = read_header(data, max_pixels)
    try:
        image = decode_image(tf.constant(_readable(data, header))).numpy()
    except (tf.errors.OpError, ValueError) as error:
        raise ImageFault("decode", f"not a readable {header.format}: {one_line(error)}") from None
    if image.shape[:2] != header.size:
        raise ImageFault("decode", f"decodes to {image.shape[:2]} but its header says {header.size}")
    return image


def as_stored(data: bytes) -> tuple[str, bytes, Header]:
    """The form in which a dataset keeps a picture.

    JPEGs stay as they are, and so do PNGs that note no orientation; anything else Pillow reads becomes an upright PNG.

    Returns:
      (".jpg" or ".png", its bytes, the header of the picture that was given).

    Raises:
      ImageFault: see `read_header`; also "decode" if it is damaged, a TIFF of pages, or of 16 bits that would be almost
        black.
    """
    header = read_header(data)
    _refuse_dark(data, header)
    if header.format == "TIFF" and (pages := _pages(data)) > 1:
        raise ImageFault("decode", f"has {pages} pages; save each as a picture of its own, or keep one")
    is_jpeg = data[:2] == _JPEG
    if not is_jpeg and (data[:8] != _PNG or header.orientation != 1):
        return ".png", _png(data, keep_orientation=False), header
    with _opened(data) as image:
        image.draft("RGB", (1, 1))  # a JPEG's pixels at an eighth of its size: all bytes are read, few are computed
        image.load()
    return ".jpg" if is_jpeg else ".png", data, header


def _pages(data: bytes) -> int:
    """Pages of a TIFF; smaller copies of the first one and masks (by NewSubfileType) are none."""
    with _opened(data) as image:
        size, pages = image.size, 1
        for number in range(1, getattr(image, "n_frames", 1)):
            image.seek(number)
            pages += image.size == size and not _tags(image).get(254, 0) & 5
        return pages


def readable(data: bytes, max_pixels: int = MAX_PIXELS, remedy: str = "make it smaller") -> bytes:
    """The picture in a format that the networks' decoder reads: itself, or a PNG of its stored pixels with its note of
    how to turn them; of a moving one the first frame.

    Raises:
      ImageFault: see `as_stored`; of one that is too large with `remedy`.
    """
    return _readable(data, read_header(data, max_pixels, remedy))


def _readable(data: bytes, header: Header) -> bytes:
    _refuse_dark(data, header)
    return data if header.format in DECODED else _png(data, keep_orientation=True)


def _refuse_dark(data: bytes, header: Header) -> None:
    """Networks see the upper 8 of 16 bits, of which pictures of 12 bits and fewer fill next to nothing."""
    if not _is_deep(data, header):
        return
    import cv2  # takes a while, and few pictures need it

    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        return
    brightest = int(np.atleast_3d(pixels)[..., :3].max())  # the fourth is alpha, or no colour
    if 0 < brightest < _DARK << 8:
        reason = f"its 16 bits hold values up to {brightest} of 65535, almost black; scale them to 8 bits a channel"
        raise ImageFault("decode", reason)


def _is_deep(data: bytes, header: Header) -> bool:
    """Whether its channels have 16 bits."""
    if header.format == "PNG":
        return data[24] == 16  # of IHDR
    if header.format != "TIFF":
        return False
    with _opened(data) as image:
        return 16 in _tags(image).get(_BITS, ())


def _png(data: bytes, keep_orientation: bool) -> bytes:
    """A PNG of the stored pixels that notes how to turn them, or of the upright ones."""
    with _opened(data) as image:
        orientation = _orientation(image, data)
        is_upright = image.format in TURNED_BY_PILLOW
        rgb = _rgb(image)
        if orientation != 1 and is_upright == keep_orientation:
            turn = stored_pixels if keep_orientation else upright_pixels
            rgb = Image.fromarray(turn(np.asarray(rgb), orientation))
        return to_png(rgb, orientation if keep_orientation else 1)


def upright_pixels(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Stored pixels [H, W] or [H, W, K] -> upright, as trainer.data.orientation.upright."""
    pixels = pixels.swapaxes(0, 1) if orientation >= 5 else pixels
    return np.ascontiguousarray(_flipped(pixels, orientation))


def stored_pixels(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The reverse of `upright_pixels`."""
    pixels = _flipped(pixels, orientation)
    return np.ascontiguousarray(pixels.swapaxes(0, 1) if orientation >= 5 else pixels)


def _flipped(pixels: np.ndarray, orientation: int) -> np.ndarray:
    pixels = pixels[:, ::-1] if orientation in FLIPPED_LEFT_RIGHT else pixels
    return pixels[::-1] if orientation in FLIPPED_TOP_BOTTOM else pixels


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG file, e.g. tEXt (PNG specification, section 5.3)."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def to_png(image: Image.Image, orientation: int = 1) -> bytes:
    """A PNG that notes how to turn it."""
    exif = Image.Exif()
    if orientation != 1:
        exif[ORIENTATION] = orientation
    buffer = io.BytesIO()
    image.save(buffer, "PNG", exif=exif)
    return buffer.getvalue()


def rgb(data: bytes) -> Image.Image:
    """The stored pixels of a picture in a format that `readable` gives.

    Raises:
      ImageFault: it is none, or damaged.
    """
    with _opened(data) as image:
        return _rgb(image)


def _rgb(image: Image.Image) -> Image.Image:
    tags = _tags(image)
    if image.mode in ("I", "F"):
        raise ImageFault("decode", "its pixels have 32 bits or a sign; save it with 8 or 16 bits a channel")
    if tags.get(_PLANAR) == 2 and tags.get(_COMPRESSION) == 1 and 16 in tags.get(_BITS, ()):
        raise ImageFault("decode", "is a TIFF of 16 bits in separate planes, which is not read; save it interleaved")
    if image.mode.startswith("I;16"):  # Pillow would cut at 255: white; and it does not turn greys that count down
        grey = (np.asarray(image) >> (tags.get(_BITS, (16,))[0] - 8)).astype(np.uint8)
        return Image.fromarray(255 - grey if tags.get(_PHOTOMETRIC) == 0 else grey).convert("RGB")
    return image.convert("RGB")


def _tags(image: Image.Image) -> Mapping[int, Any]:
    """A TIFF's; none of others."""
    return getattr(image, "tag_v2", {})


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    if not data:
        raise ImageFault("read", "the file is empty")
    try:
        formats = [*_FORMATS, *(name for name in _OPTIONAL if name in Image.OPEN)]
        with Image.open(io.BytesIO(data), formats=formats) as image:
            yield image
    except ImageFault:
        raise
    except UnidentifiedImageError:
        raise ImageFault("decode", f"{_unknown(data)} ({len(data)} bytes)") from None
    except Image.DecompressionBombError as error:
        raise ImageFault("size", error) from None
    except Exception as error:  # Pillow's readers raise what they like on broken files
        raise ImageFault("decode", f"damaged, {one_line(error)} ({len(data)} bytes)") from None


def _unknown(data: bytes) -> str:
    """What a file is that no reader takes."""
    if data.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS, not the picture; fetch it with git lfs pull"
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"mif1", b"msf1"):
        return "a HEIC picture; make it a JPEG"
    return "not a picture in any known format"
