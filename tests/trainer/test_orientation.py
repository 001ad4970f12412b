"""EXIF orientation against Pillow, which turns pictures by its own code."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from components.weak_labels.core import geometry
from trainer.data.orientation import exif_orientation, stored, swapped_if_turned, upright
from trainer.data.pictures import decode, read_header, readable

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 8, 3)).astype(np.uint8)
read = tf.function(exif_orientation, input_signature=[tf.TensorSpec([], tf.string)])


def picture(kind: str, orientation: int | None = None, **options) -> bytes:
    exif = Image.Exif()
    exif[0x010E] = "a description, to have another entry"
    if orientation is not None:
        exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, kind, exif=exif, **options)
    return buffer.getvalue()


def jpeg(orientation: int | None = None) -> bytes:
    return picture("JPEG", orientation)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_read_and_turned_as_pillow_does(orientation):
    assert read(tf.constant(jpeg(orientation))) == orientation
    assert read(tf.constant(picture("PNG", orientation))) == orientation
    lossless = Image.fromarray(PIXELS)
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless.info["exif"] = exif.tobytes()
    turned = np.asarray(ImageOps.exif_transpose(lossless))
    ours = upright(tf.constant(PIXELS), tf.constant(orientation))
    np.testing.assert_array_equal(ours, turned)
    np.testing.assert_array_equal(stored(ours, tf.constant(orientation)), PIXELS)
    np.testing.assert_array_equal(geometry.stored_pixels(turned, orientation), PIXELS)
    np.testing.assert_array_equal(swapped_if_turned(tf.constant([5, 8]), tf.constant(orientation)), turned.shape[:2])


def test_pictures_without_a_note_are_upright():
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "PNG")
    for data in (jpeg(), buffer.getvalue(), b"", b"\xff", b"\xff\xd8", b"\xff\xd8\xff\xe1", b"text"):
        assert read(tf.constant(data)) == 1


def test_values_outside_1_to_8_count_as_none():
    assert read(tf.constant(jpeg(9))) == 1 and read(tf.constant(jpeg(0))) == 1


def test_both_byte_orders_and_segments_before_exif():
    for order, mark in (("<", b"II"), (">", b"MM")):
        tiff = mark + struct.pack(f"{order}HIHHHIHH", 42, 8, 1, 0x0112, 3, 1, 6, 0)
        segment = b"Exif\0\0" + tiff
        exif = b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment
        comment = b"\xff\xfe" + struct.pack(">H", 7) + b"hello"
        other = b"\xff\xe1" + struct.pack(">H", 31) + b"http://ns.adobe.com/xap/1.0/\0"
        plain = jpeg()
        assert read(tf.constant(plain[:2] + comment + other + exif + plain[2:])) == 6


def chunks(png: bytes) -> list[bytes]:
    """The chunks of a PNG, without its signature."""
    found, place = [], 8
    while place < len(png):
        length = 12 + int.from_bytes(png[place : place + 4], "big")
        found.append(png[place : place + length])
        place += length
    return found


def test_a_note_behind_the_pixels_of_a_png_counts_and_its_name_in_a_text_does_not():
    png = picture("PNG", 8)
    [note] = [chunk for chunk in chunks(png) if chunk[4:8] == b"eXIf"]
    others = [chunk for chunk in chunks(png) if chunk[4:8] != b"eXIf"]
    late = png[:8] + b"".join([*others[:-1], note, others[-1]])
    assert read(tf.constant(late)) == 8 == read_header(late).orientation
    assert read(tf.constant(png[:8] + b"".join(others))) == 1
    text = b"tEXtabout the eXIf chunk"
    text = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    assert read(tf.constant(png[:8] + b"".join([others[0], text, *others[1:]]))) == 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["WEBP", "TIFF", "AVIF", "PNG"])
def test_pictures_of_other_formats_reach_the_networks_as_stored_with_their_note(kind, orientation):
    options = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100, "subsampling": "4:4:4"}}.get(kind, {})
    data = picture(kind, orientation, **options)
    assert read_header(data).size == PIXELS.shape[:2]
    assert read_header(data).orientation == orientation
    assert read(tf.constant(readable(data))) == orientation
    np.testing.assert_allclose(decode(data).astype(int), PIXELS, atol=2)


@given(st.data(), st.sampled_from(["JPEG", "PNG"]))
def test_damaged_notes_never_fail(data, kind):
    damaged = bytearray(picture(kind, 6)[:200])
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(2, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(damaged)))
    assert 1 <= read(tf.constant(bytes(damaged[:cut]))) <= 8


def _segment(kind: int, body: bytes) -> bytes:
    return bytes([0xFF, kind]) + struct.pack(">H", len(body) + 2) + body


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("size", ["H", "I"])
@pytest.mark.parametrize(
    "before",
    [b"", b"\xff" * 3, _segment(0xDB, bytes(65)), b"".join(_segment(0xE2, bytes(60_000)) for _ in range(5))],
    ids=["first", "padding", "tables", "a large profile"],
)
def test_headers_and_networks_read_the_same_note(before, size, order):
    """EXIF behind other segments; as a number of two bytes or of four."""
    value = struct.pack(f"{order}HHI{size}", 0x0112, {"H": 3, "I": 4}[size], 1, 6).ljust(12, b"\0")
    mark = {"<": b"II", ">": b"MM"}[order]
    exif = b"Exif\0\0" + mark + struct.pack(f"{order}HIH", 42, 8, 1) + value + bytes(4)
    plain = jpeg()
    body = plain[2 + 2 + struct.unpack(">H", plain[4:6])[0] :]  # behind JFIF's segment
    data = plain[:2] + before + _segment(0xE1, exif) + body
    assert (read_header(data).orientation, int(read(tf.constant(data)))) == (6, 6)


def test_xmp_is_no_note():
    """Pillow would take it for one, and the networks' graph does not read it."""
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "WEBP", xmp=packet, lossless=True)
    plain = jpeg()
    jpeg_of_it = plain[:2] + _segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet) + plain[2:]
    for data in (buffer.getvalue(), jpeg_of_it):
        assert read_header(data).orientation == 1 and read(tf.constant(data)) == 1
