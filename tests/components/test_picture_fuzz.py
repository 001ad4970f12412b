"""Masks and pictures of every mode and format, mutated: ids that count and pixels that fit, or an ImageFault."""

import io
import random

import mutations
import numpy as np
import pytest
from fuzzing import check_each, check_words
from PIL import Image

from trainer.data.categories import palette
from trainer.data.masks import read_fitting, read_mask
from trainer.data.pictures import Header, as_stored, decode, read_header, readable
from trainer.errors import ImageFault

_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "I", "I;16", "F")
_FORMATS = ("PNG", "TIFF", "GIF", "BMP", "JPEG", "WEBP", "AVIF", "PPM", "TGA", "ICO", "JPEG2000")
CATEGORIES = 5


def drawn(rng):
    """A picture of any mode in any format, sometimes turned, in several frames, transparent or packed; not mutated."""
    width, height = rng.choice([(1, 1), (7, 3), (16, 24), (40, 33)])
    ids = np.random.default_rng(rng.randrange(2**32)).integers(0, rng.choice([2, 6, 256]), (height, width))
    image = Image.fromarray(ids.astype(np.uint8))
    mode = rng.choice(_MODES)
    if mode == "P":
        image = Image.fromarray(ids.astype(np.uint8), "P")
        image.putpalette(palette().tobytes()[: rng.choice([3, 30, 768])])
    elif mode == "I;16":
        image = Image.fromarray((ids * rng.choice([1, 257])).astype(np.uint16))
    else:
        image = (
            image.convert("L")
            .convert("RGB")
            .convert("RGBA")
            .convert("LA" if mode == "PA" else "L" if mode in ("I", "F", "1") else "RGB")
            .convert(mode)
        )
    exif = Image.Exif()
    exif[0x0112] = rng.choice([1, 3, 6, 8, 9, 0])
    options = [{}, {"exif": exif}, {"bits": rng.choice([1, 2, 4])}, {"transparency": 0}, {"interlace": True}]
    options += [
        {
            "compression": rng.choice(
                ["tiff_lzw", "tiff_deflate", "packbits", "jpeg" if mode in ("L", "RGB") else "raw"]
            )
        },
        {"progressive": True},
    ]
    options += [{"save_all": True, "append_images": [image.copy()]}, {"tiffinfo": {274: 6}}]
    buffer = io.BytesIO()
    image.save(buffer, rng.choice(_FORMATS), **rng.choice(options))
    return buffer.getvalue()


def check(number):
    rng = random.Random(number)
    try:
        data = drawn(rng)
    except Exception:  # not every format holds every mode
        return
    if rng.random() < 0.8:
        data = mutations.of_bytes(data, rng)
    for work in (_mask, _fitting, _header, _stored, _decoded, _readable):
        try:
            work(data)
        except ImageFault as fault:
            check_words(str(fault))


def _mask(data):
    mask = read_mask(data, CATEGORIES)
    assert mask.dtype == np.uint8 and mask.ndim == 2 and set(np.unique(mask)) <= {*range(CATEGORIES + 1), 255}
    assert mask.shape == read_header(data).upright_size


def _fitting(data):
    picture = Header(24, 16, 6, "JPEG")
    assert read_fitting(data, CATEGORIES, picture, {(0, 0, 0): 0, (255, 255, 255): 1}).shape == picture.size


def _header(data):
    header = read_header(data)
    assert header.height > 0 and header.width > 0 and header.orientation in range(1, 9)


def _stored(data):
    suffix, kept, header = as_stored(data)
    there = read_header(kept)
    assert suffix in (".jpg", ".png") and there.upright_size == header.upright_size
    assert kept is data or (there.format, there.orientation) == ("PNG", 1)


def _decoded(data):
    pixels = decode(data)
    assert pixels.dtype == np.uint8 and pixels.shape == (*read_header(data).size, 3)


def _readable(data):
    assert read_header(readable(data)).size == read_header(data).size


def test_mutated_pictures_and_masks_are_read_or_refused():
    check_each(range(200), check)


@pytest.mark.soak
def test_many_mutated_pictures_and_masks_are_read_or_refused():
    check_each(range(200, 5000), check)
