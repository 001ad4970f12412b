"""Pictures whose header says one thing and whose data another, or that take a decoder much longer than they look."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from labelling_samples import encode, png_bomb
from PIL import Image

from serving.image_guard import guarded_decode
from trainer.data.pictures import decode
from trainer.data.preprocessing import decode_image

LIMIT = 1000
guarded = tf.function(
    lambda data: guarded_decode(data, tf.constant("x"), LIMIT), input_signature=[tf.TensorSpec([], tf.string)]
)


def gif(frames: int, size: tuple[int, int] = (30, 20), screen: tuple[int, int] | None = None) -> bytes:
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), np.uint8)) for _ in range(frames)]
    buffer = io.BytesIO()
    pictures[0].save(buffer, "GIF", save_all=True, append_images=pictures[1:], comment=b"eXIf , ! ;" * 60)
    data = bytearray(buffer.getvalue())
    data[6:10] = struct.pack("<HH", *(screen or size))
    return bytes(data)


def test_the_first_frame_of_a_moving_picture_is_decoded_alone():
    for data in (gif(1), gif(6), gif(60)):
        np.testing.assert_array_equal(guarded(tf.constant(data)), decode_image(data))


def test_a_transparent_colour_of_a_gif_is_a_colour_as_in_python():
    """The decoder alone would paint it black."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)).convert("P")
    data = encode(picture, "GIF", transparency=int(np.asarray(picture)[10, 10]))
    assert (decode_image(data).numpy() != decode(data)).any(), "this GIF shows nothing"
    np.testing.assert_array_equal(guarded(tf.constant(data)), decode(data))


def test_later_frames_cost_nothing():
    frame = gif(1)[13 + 768 : -1]  # behind the screen and its colours
    huge = bytearray(frame)
    place = huge.index(b",")
    huge[place + 5 : place + 9] = struct.pack("<HH", 60_000, 60_000)
    data = gif(1)[:-1] + bytes(huge) * 60 + b";"
    np.testing.assert_array_equal(guarded(tf.constant(data)), decode_image(gif(1)))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (gif(1, (40, 30), screen=(10, 10)), "30 x 40 pixels; the limit is 1000"),
        (gif(1, (10, 10), screen=(40, 30)), "30 x 40 pixels; the limit is 1000"),
        (gif(1)[:13], "Invalid GIF"),
        (gif(2, screen=(31, 32)), "of an uncommon kind"),
        (gif(1)[: 13 + 768] + b"!\xfe" + b"\x01a" * 150_000 + b"\0" + gif(1)[13 + 768 :], "too many blocks"),
        (gif(1)[: 13 + 768] + b"!\xfe\0" * 150_000 + gif(1)[13 + 768 :], "too many blocks"),
    ],
    ids=["large frame", "large screen", "head alone", "frame in a screen", "many blocks", "many extensions"],
)
def test_gifs_that_take_much_are_refused(data, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        guarded(tf.constant(data))


def test_a_png_whose_size_stands_behind_another_chunk_is_refused():
    body = struct.pack(">II", 10, 10)  # where the size of a PNG stands
    decoy = struct.pack(">I", 8) + b"hiDe" + body + struct.pack(">I", zlib.crc32(b"hiDe" + body))
    picture = png_bomb(20_000, 20_000)
    with pytest.raises(tf.errors.InvalidArgumentError, match="not a JPEG, PNG"):
        guarded(tf.constant(picture[:8] + decoy + picture[8:]))


def test_a_jpeg_that_is_drawn_over_and_over_is_refused():
    data = encode(Image.new("L", (16, 16)), "JPEG", progressive=True)
    guarded(tf.constant(data + b"\xff\xda" * 1000))  # a film behind the picture may hold the like
    last = data.rindex(b"\xff\xda")
    with pytest.raises(tf.errors.InvalidArgumentError, match="too many blocks or scans"):
        guarded(tf.constant(data[:last] + data[last:-2] * 200 + data[-2:]))


@pytest.mark.parametrize(
    ("place", "value"),
    [(10, -(2**30)), (10, 2**31 - 1), (18, 2**31 - 1), (22, -(2**31)), (22, 0), (18, -16), (28, 0x7FFF0001)],
)
def test_bmps_with_impossible_numbers_are_refused(place, value):
    data = bytearray(encode(Image.new("RGB", (16, 16)), "BMP"))
    data[place : place + 4] = struct.pack("<i", value)
    with pytest.raises(tf.errors.InvalidArgumentError):
        guarded(tf.constant(bytes(data)))


def _bmp(bits: int, packing: int = 0, masks: bytes = b"", table: bytes = b"") -> bytes:
    """16 x 16 pixels, all 0x20."""
    body = b"\x20" * (16 * 16 * bits // 8)
    head = struct.pack("<IiiHHIIiiII", 40, 16, 16, 1, bits, packing, len(body), 0, 0, 0, 0) + masks + table
    return b"BM" + struct.pack("<IHHI", 14 + len(head) + len(body), 0, 0, 14 + len(head)) + head + body


def test_bmps_are_read_rightly_or_refused():
    """The decoder takes every table for greys, knows no 16 bits, no run lengths and one order of colours."""
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    for picture in (Image.fromarray(pixels), Image.fromarray(pixels[..., 0]), Image.fromarray(pixels).convert("RGBA")):
        found = guarded(tf.constant(encode(picture, "BMP")))
        np.testing.assert_array_equal(found, np.asarray(picture.convert("RGB")))
    masks = [struct.pack("<III", 255 << 16, 255 << 8, 255), struct.pack("<III", 255, 255 << 8, 255 << 16)]
    assert (guarded(tf.constant(_bmp(32, 3, masks[0]))).numpy() == 0x20).all()
    colours = bytes(range(256)) * 4
    odd = [_bmp(32, 3, masks[1]), _bmp(16), _bmp(8, 1, table=colours), _bmp(8, table=colours), _bmp(8)]
    for data in [*odd, encode(Image.fromarray(pixels).convert("1"), "BMP"), encode(picture.convert("P"), "BMP")]:
        with pytest.raises(tf.errors.InvalidArgumentError, match="of an uncommon kind; save it as PNG"):
            guarded(tf.constant(data))
