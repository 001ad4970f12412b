"""Pictures of more than 8 bits a channel: what networks see of them, or why they are refused."""

import io
import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from serving.overlay import overlay_png
from trainer.data.pictures import as_stored, decode, readable
from trainer.errors import ImageFault

GREY = np.arange(48, dtype=np.uint16).reshape(6, 8) * 5


def tiff(body: bytes, size: tuple[int, int], bits: list[int], photometric: int, planar: int = 1) -> bytes:
    """Little-endian, uncompressed, one strip (TIFF 6.0)."""
    height, width = size
    fields = [(256, 4, [width]), (257, 4, [height]), (258, 3, bits), (259, 3, [1]), (262, 3, [photometric])]
    fields += [(273, 4, [0]), (277, 3, [len(bits)]), (278, 4, [height]), (279, 4, [len(body)]), (284, 3, [planar])]
    end = 8 + 2 + 12 * len(fields) + 4
    more, entries = b"", b""
    for tag, kind, values in fields:
        if tag == 273:
            values = [end + 2 * len(bits)]
        text = struct.pack(f"<{len(values)}{'H' if kind == 3 else 'I'}", *values)
        if len(text) > 4:
            more, text = text, struct.pack("<I", end)
        entries += struct.pack("<HHI", tag, kind, len(values)) + text.ljust(4, b"\0")
    directory = struct.pack("<H", len(fields)) + entries + bytes(4)
    return b"II" + struct.pack("<HI", 42, 8) + directory + more.ljust(2 * len(bits), b"\0") + body


def packed(values: np.ndarray) -> bytes:
    """Numbers of 12 bits, two in three bytes."""
    pairs = values.reshape(-1, 2).astype(int)
    return b"".join(bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in pairs)


@pytest.mark.parametrize(
    "data",
    [
        tiff(packed(GREY * 16), GREY.shape, [12], 1),
        tiff((GREY * 256).astype("<u2").tobytes(), GREY.shape, [16], 1),
        tiff((65535 - GREY * 256).astype("<u2").tobytes(), GREY.shape, [16], 0),
    ],
    ids=["12 bits", "16 bits", "16 bits that count down"],
)
def test_greys_are_seen_by_their_upper_eight_bits(data):
    seen = np.repeat(GREY[..., np.newaxis], 3, -1)
    np.testing.assert_array_equal(decode(data), seen)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(readable(data)))), seen)


def test_separate_planes_of_16_bits_which_the_reader_mixes_up_are_refused():
    planes = np.random.default_rng(0).integers(0, 1 << 16, (3, 6, 8)).astype("<u2")
    with pytest.raises(ImageFault, match="in separate planes, which is not read; save it interleaved"):
        decode(tiff(planes.tobytes(), (6, 8), [16] * 3, 2, planar=2))
    mixed = tiff(planes.transpose(1, 2, 0).tobytes(), (6, 8), [16] * 3, 2)
    np.testing.assert_array_equal(decode(mixed), planes.transpose(1, 2, 0) >> 8)


def test_a_mask_over_a_deep_picture_leaves_it_as_it_is():
    picture = cv2.imencode(".png", GREY * 256)[1].tobytes()
    mask = io.BytesIO()
    Image.new("P", GREY.shape[::-1]).save(mask, "PNG")
    over = np.asarray(Image.open(io.BytesIO(overlay_png(picture, mask.getvalue()))))
    np.testing.assert_array_equal(over, np.repeat(GREY[..., np.newaxis], 3, -1))


@pytest.mark.parametrize(("suffix", "channels"), [(".png", 1), (".png", 3), (".png", 4), (".tif", 1), (".tif", 3)])
def test_pictures_of_16_bits_that_would_be_almost_black_are_refused(suffix, channels, tmp_path):
    """12 bits in 16, as of many cameras; the alpha channel is full."""
    pixels = np.random.default_rng(0).integers(0, 1 << 12, (10, 12, channels)).astype(np.uint16)
    bright, black = pixels * 16, pixels * 0
    for name, picture in (("dark", pixels), ("bright", bright), ("black", black)):
        picture[..., 3:] = 65535
        (tmp_path / f"{name}{suffix}").write_bytes(cv2.imencode(suffix, picture)[1].tobytes())
    data = (tmp_path / f"dark{suffix}").read_bytes()
    for read in (as_stored, readable, decode):
        with pytest.raises(ImageFault, match=rf"up to {pixels[..., :3].max()} of 65535, almost black"):
            read(data)
    seen = decode((tmp_path / f"bright{suffix}").read_bytes())
    np.testing.assert_array_equal(seen, np.broadcast_to(bright[..., 2::-1] >> 8, seen.shape))
    assert not decode((tmp_path / f"black{suffix}").read_bytes()).any()
