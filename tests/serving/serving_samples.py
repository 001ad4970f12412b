"""A tiny random network; images of every kind people send."""

import io
import os
import struct

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from labelling_samples import encode, large_frame, png_bomb
from PIL import Image

from trainer.data.categories import Categories

SIZE = 65
CATEGORIES = Categories(("cat", "dog", "bird", "cow"), ("cat", "dog"))


def build_tiny_net(num_outputs: int = 5, seed: int = 0) -> tf.keras.Model:
    """float32 [B, 65, 65, 3] -> [B, 9, 9, num_outputs]; random but deterministic, so every class shows up somewhere."""
    tf.keras.utils.set_random_seed(seed)
    image = tf.keras.Input([SIZE, SIZE, 3])
    x = tf.keras.layers.Rescaling(1 / 127.5, -1)(image)
    x = tf.keras.layers.ZeroPadding2D(4)(x)
    x = tf.keras.layers.Conv2D(16, 9, strides=8, activation="relu")(x)
    x = tf.keras.layers.BatchNormalization()(x)
    return tf.keras.Model(image, tf.keras.layers.Conv2D(num_outputs, 3, padding="same")(x))


def draw(height: int, width: int, seed: int = 0) -> np.ndarray:
    """uint8 [H, W, 3] of large soft blobs."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def read_mask(data: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(data))
    assert image.mode == "P"
    return np.asarray(image)


def _odd_images() -> dict[str, tuple[bytes, tuple[int, int]]]:
    """Unusual but valid: name -> (bytes, (H, W))."""
    colour = Image.fromarray(draw(40, 60))
    frames = [Image.fromarray(draw(40, 60, seed)) for seed in range(3)]
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees; masks fit the stored pixels
    deep = Image.fromarray(draw(40, 60)[..., 0].astype(np.uint16) * 257)
    return {
        "jpeg": (encode(colour, "JPEG"), (40, 60)),
        "progressive jpeg": (encode(colour, "JPEG", progressive=True), (40, 60)),
        "grey jpeg": (encode(colour.convert("L"), "JPEG"), (40, 60)),
        "cmyk jpeg": (encode(colour.convert("CMYK"), "JPEG"), (40, 60)),
        "exif-rotated jpeg": (encode(colour, "JPEG", exif=exif), (40, 60)),
        "exif-rotated png": (encode(colour, exif=exif), (40, 60)),
        "grey png": (encode(colour.convert("L")), (40, 60)),
        "palette png": (encode(colour.convert("P")), (40, 60)),
        "alpha png": (encode(colour.convert("RGBA")), (40, 60)),
        "16-bit png": (encode(deep), (40, 60)),
        "1-bit png": (encode(colour.convert("1")), (40, 60)),
        "animated gif": (encode(frames[0], "GIF", save_all=True, append_images=frames[1:]), (40, 60)),
        "bmp": (encode(colour, "BMP"), (40, 60)),
        "1 x 1": (encode(draw(1, 1)), (1, 1)),
        "1 x 5000": (encode(draw(1, 5000)), (1, 5000)),
        "5000 x 1": (encode(draw(5000, 1), "JPEG"), (5000, 1)),
    }


def gif_bomb(side: int) -> bytes:
    """A GIF of a few hundred bytes whose frame claims side x side pixels."""
    data = bytearray(encode(Image.new("P", (10, 10)), "GIF"))
    place = data.index(b",", 13 + 3 * 2 ** (data[10] % 8 + 1))  # behind the table of colours
    data[place + 5 : place + 9] = struct.pack("<HH", side, side)
    return bytes(data)


def _bad_images() -> dict[str, bytes]:
    jpeg, png, gif, bmp = (encode(draw(40, 60), kind) for kind in ("JPEG", "PNG", "GIF", "BMP"))
    return {
        "nothing": b"",
        "text": b"this is not an image, only some text",
        "truncated jpeg": jpeg[: len(jpeg) // 2],
        "truncated png": png[: len(png) // 2],
        "truncated gif": gif[: len(gif) // 3],
        "jpeg magic only": jpeg[:3],
        "png magic only": png[:8],
        "zero bytes": b"\0" * 1000,
        "webp": encode(draw(40, 60), "WEBP"),
        "50 megapixels": png_bomb(10_000, 5_000),
        "gif of a large frame": large_frame(),
        "overflowing size": png_bomb(2**31 - 1, 2**31 - 1),
        "zero size": png_bomb(0, 0),
        "bmp that claims more than it holds": bmp[:18] + b"\x10\x27\0\0" * 2 + bmp[26:],
        "gif of one large frame in little": gif_bomb(12_000),
    }


ODD_IMAGES, BAD_IMAGES = _odd_images(), _bad_images()
