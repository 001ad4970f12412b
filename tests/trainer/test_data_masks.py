"""Masks by kind of file: whatever people's tools write becomes the same ids, or is refused by name."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from trainer.data import orientation
from trainer.data.categories import palette
from trainer.data.masks import encode_grey, fit, ids_in, read_fitting, read_mask
from trainer.data.pictures import Header, stored_pixels, upright_pixels
from trainer.errors import ImageFault

IDS = np.zeros((20, 30), np.uint8)
IDS[2:9, 3:14] = 1
IDS[10:15, 5:28] = 3
IDS[17:] = 255
VISIBLE = np.where(IDS == 255, 0, IDS)  # for kinds that have no void
COLOURS = {(0, 0, 0): 0, (9, 9, 9): 1, (200, 10, 0): 3, (255, 255, 255): 255}


def file(image: Image.Image, kind="PNG", **how) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def palette_image(ids, colours):
    image = Image.fromarray(ids, "P")
    image.putpalette(np.asarray(colours, np.uint8).tobytes())
    return image


def coloured(ids, table):
    back = {value: key for key, value in table.items()}
    return Image.fromarray(np.array([[back[int(i)] for i in row] for row in ids], np.uint8))


def with_alpha(ids):
    """RGBA in VOC's colours, background erased: transparent white."""
    rgba = np.dstack([palette()[ids], np.full(ids.shape, 255, np.uint8)])
    rgba[ids == 0] = (255, 255, 255, 0)
    return Image.fromarray(rgba)


OWN = np.random.default_rng(0).integers(1, 250, (256, 3), np.uint8)  # another tool's palette: indices are ids
KINDS = {
    "grey": (file(Image.fromarray(IDS)), IDS),
    "grey, 16 bits": (file(Image.fromarray(IDS.astype(np.uint16))), IDS),
    "grey, 32 bits, TIFF": (file(Image.fromarray(IDS.astype(np.int32)), "TIFF"), IDS),
    "grey with alpha": (file(Image.fromarray(np.dstack([IDS, np.full_like(IDS, 255)]), "LA")), IDS),
    "grey as RGB": (file(Image.fromarray(np.dstack([VISIBLE] * 3))), VISIBLE),
    "one bit": (file(Image.fromarray(IDS == 1)), (IDS == 1).astype(np.uint8)),
    "VOC's palette": (file(palette_image(IDS, palette())), IDS),
    "VOC's palette, four bits": (file(palette_image(VISIBLE, palette()[:4]), bits=4), VISIBLE),
    "VOC's palette, sorted by an optimiser": (file(Image.fromarray(palette()[IDS]).quantize(8)), IDS),
    "greys' palette, sorted": (file(Image.fromarray(np.dstack([VISIBLE] * 3)).quantize(8)), VISIBLE),
    "another palette": (file(palette_image(IDS, OWN)), IDS),
    "VOC's colours": (file(Image.fromarray(palette()[IDS])), IDS),
    "VOC's colours, erased background": (file(with_alpha(IDS)), IDS),
    "BMP": (file(Image.fromarray(IDS), "BMP"), IDS),
    "GIF": (file(palette_image(IDS, palette()), "GIF"), IDS),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_same_ids(kind):
    data, expected = KINDS[kind]
    found = read_mask(data, 20)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("form", ["RGB", "P", "L"])
def test_a_table_of_colours_decides(form):
    colours = {(0, 0, 0): 3, (90, 90, 90): 0, (7, 7, 7): 1, (5, 5, 5): 255} if form == "L" else COLOURS
    image = coloured(IDS, colours)
    image = image.convert("L") if form == "L" else image.quantize(8) if form == "P" else image
    np.testing.assert_array_equal(read_mask(file(image), 3, colours), IDS)


NOISE = np.random.default_rng(1).integers(0, 255, (20, 30, 3), np.uint8)
REFUSED = {
    "nothing": (b"", "the file is empty"),
    "text": (b"no picture", "not a picture in any known format"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a pointer of Git LFS, not the picture"),
    "HEIC": (b"\0\0\0\x18ftypheic" + bytes(40), "a HEIC picture; make it a JPEG"),
    "frames": (file(Image.fromarray(IDS), "TIFF", save_all=True, append_images=[Image.fromarray(IDS)]), "2 frames"),
    "JPEG": (file(Image.fromarray(IDS), "JPEG"), "masks must be PNG: JPEG changes ids"),
    "WebP": (file(Image.fromarray(palette()[IDS]), "WEBP"), "masks must be PNG: WEBP changes ids"),
    "cut short": (file(Image.fromarray(NOISE))[:-300], "not readable"),
    "ids above": (file(Image.fromarray(np.full((9, 9), 4, np.uint8))), "has ids 4; there are 3 categories"),
    "ids above 255": (file(Image.fromarray(np.full((9, 9), 700, np.uint16))), "has ids 700"),
    "negative ids": (file(Image.fromarray(np.full((9, 9), -2, np.int32)), "TIFF"), "has ids -2"),
    "scaled greys": (file(Image.fromarray(np.eye(9, dtype=np.uint8) * 127)), "--colours (lines name:g,g,g)"),
    "unknown colours": (file(coloured(IDS, COLOURS)), "the colour (9, 9, 9), which stands for no category"),
    "fractions": (file(Image.fromarray(np.ones((9, 9), np.float32)), "TIFF"), "a F image"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_ids_is_refused_by_name(kind):
    data, words = REFUSED[kind]
    with pytest.raises(ImageFault) as caught:
        read_mask(data, 3)
    assert words in str(caught.value)


@pytest.mark.parametrize("number", range(1, 9))
def test_masks_are_turned_as_networks_turn_pictures(number):
    """tf's graph and numpy agree; what is drawn on the upright picture fits the stored pixels."""
    turned = orientation.upright(tf.constant(IDS[..., None]), tf.constant(number))[..., 0].numpy()
    np.testing.assert_array_equal(upright_pixels(IDS, number), turned)
    np.testing.assert_array_equal(stored_pixels(turned, number), IDS)
    picture = Header(20, 30, number, "JPEG")
    np.testing.assert_array_equal(fit(turned, picture, upright=True), IDS)
    np.testing.assert_array_equal(fit(IDS, picture), IDS)
    if number >= 5:  # the size tells
        np.testing.assert_array_equal(fit(turned, picture), IDS)
    exif = Image.Exif()
    exif[0x0112] = number  # the mask notes it too
    np.testing.assert_array_equal(read_fitting(file(Image.fromarray(IDS), exif=exif), 3, picture), IDS)


@pytest.mark.parametrize(
    ("size", "words"),
    [((30, 20), "swapped"), ((10, 15), "nearest"), ((20, 31), "its mask is 31x20 but the picture is 30x20")],
)
def test_a_mask_of_another_size_is_refused_with_both(size, words):
    with pytest.raises(ImageFault, match=words):
        fit(np.zeros(size, np.uint8), Header(20, 30, 1, "JPEG"))


def test_ids_and_grey_masks():
    assert ids_in(IDS) == (1, 3) and ids_in(np.full((2, 2), 255, np.uint8)) == ()
    np.testing.assert_array_equal(read_mask(encode_grey(IDS), 3), IDS)


def raw_grey(bits, ids):
    """A grey PNG of 2 or 4 bits, which Pillow cannot write."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", *ids.shape[::-1], bits, 0, 0, 0, 0)
    rows = (np.packbits(np.unpackbits(row[:, np.newaxis], axis=1)[:, -bits:].ravel()).tobytes() for row in ids)
    pixels = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


@pytest.mark.parametrize("bits", [2, 4])
def test_greys_of_few_bits_are_the_ids_they_say(bits):
    np.testing.assert_array_equal(read_mask(raw_grey(bits, VISIBLE), 20), VISIBLE)


@pytest.mark.parametrize("used", [(0, 1), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("second", [(255, 255, 255), (0, 128, 0)], ids=["white", "VOC's green"])
def test_a_palette_means_the_same_whichever_of_its_entries_a_mask_uses(used, second):
    ids = np.resize(np.array(used, np.uint8), (6, 8))
    mask = palette_image(ids, [(0, 0, 0), second, (255, 0, 0)])
    np.testing.assert_array_equal(read_mask(file(mask), 2), ids)


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_an_index_that_is_transparent_is_background(kind):
    ids = np.where(VISIBLE == 0, 2, VISIBLE)
    clear = file(palette_image(ids, OWN), kind, transparency=2, optimize=False)
    np.testing.assert_array_equal(read_mask(clear, 3), VISIBLE)


def test_other_transparent_values_are_background():
    ids = np.where(VISIBLE == 0, 2, VISIBLE)
    np.testing.assert_array_equal(read_mask(file(Image.fromarray(ids), transparency=2), 3), VISIBLE)
    alpha = bytes([255, 255, 0, 255])  # of each index
    np.testing.assert_array_equal(read_mask(file(palette_image(ids, OWN[:4]), transparency=alpha), 3), VISIBLE)
    colour = Image.fromarray(palette()[ids])
    np.testing.assert_array_equal(read_mask(file(colour, transparency=tuple(map(int, palette()[2]))), 3), VISIBLE)


def test_channels_of_16_bits_are_read_if_they_hold_8():
    wide = cv2.imencode(".png", palette()[VISIBLE][..., ::-1].astype(np.uint16) * 257)[1].tobytes()
    np.testing.assert_array_equal(read_mask(wide, 20), VISIBLE)
    ids = cv2.imencode(".png", np.dstack([VISIBLE.astype(np.uint16)] * 3))[1].tobytes()
    with pytest.raises(ImageFault, match="channels of 16 bits; save it as grey"):
        read_mask(ids, 20)


def test_equal_channels_hold_void_beside_ids_but_black_and_white_say_nothing():
    np.testing.assert_array_equal(read_mask(file(Image.fromarray(np.dstack([IDS] * 3))), 20), IDS)
    white = np.where(IDS == 1, 255, 0).astype(np.uint8)
    with pytest.raises(ImageFault, match=r"the colour \(255, 255, 255\)"):
        read_mask(file(Image.fromarray(np.dstack([white] * 3))), 20)
