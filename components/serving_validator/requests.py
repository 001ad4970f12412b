"""Images that people send: a few real ones, odd but valid ones, and hostile ones."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence

from PIL import Image

from trainer.data.pictures import png_chunk


def odd_images(real: bytes) -> dict[str, bytes]:
    """Valid images of unusual kinds, made from a real one; each must get a mask of its own size."""
    with Image.open(io.BytesIO(real)) as image:
        colour = image.convert("RGB")
    return {
        "odd-grey": _encode(colour.convert("L"), "JPEG"),
        "odd-cmyk": _encode(colour.convert("CMYK"), "JPEG"),
        "odd-alpha": _encode(colour.convert("RGBA"), "PNG"),
        "odd-palette": _encode(colour.convert("P"), "PNG"),
        "odd-1x1": _encode(colour.resize((1, 1)), "PNG"),
        "odd-2000x1": _encode(colour.resize((2000, 1)), "JPEG"),
    }


def hostile_images(real: bytes) -> dict[str, bytes]:
    """Bytes that must be refused with INVALID_ARGUMENT."""
    with Image.open(io.BytesIO(real)) as image:
        whole = _encode(image.convert("RGB"), "JPEG")  # the file itself may go on behind its picture, as phones' do
    return {
        "hostile-empty": b"",
        "hostile-text": b"this is no image",
        "hostile-cut": whole[: len(whole) // 3],
        "hostile-bomb": png_claiming(100_000, 100_000),
        "hostile-zeros": bytes(4096),
    }


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of some hundred bytes whose header claims width x height pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*one) for one in chunks)


def size_of(image: bytes) -> tuple[int, int]:
    """(H, W) of an encoded image's stored pixels."""
    with Image.open(io.BytesIO(image)) as opened:
        return opened.size[::-1]


def named(images: Sequence[bytes], prefix: str) -> dict[str, bytes]:
    return {f"{prefix}-{i:03}": image for i, image in enumerate(images)}


def _encode(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()
