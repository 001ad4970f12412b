"""Scenes whose truth is known, networks that see it by colour, and images of every bad kind."""

import io
import os
import zlib
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from PIL import Image

from serving.export import export_maps, export_segmentation
from trainer.data.categories import Categories

SIZE = 65
CATEGORIES = Categories(("ant", "bee", "cow"), ("ant",))  # red, green, blue
COLOURFUL = np.array([[1, -0.5, -0.5], [-0.5, 1, -0.5], [-0.5, -0.5, 1]], np.float32).T


def colour_net(head: np.ndarray, bias: np.ndarray) -> tf.keras.Model:
    """[B, 65, 65, 3] -> [B, 9, 9, K]: how red, green and blue each cell is (0 for greys), then a linear head."""
    image = tf.keras.Input([None, None, 3])
    x = tf.keras.layers.ZeroPadding2D(4)(image)
    x = tf.keras.layers.AveragePooling2D(9, 8)(x)
    x = tf.keras.layers.Conv2D(3, 1, activation="relu", name="colour")(x)
    x = tf.keras.layers.Conv2D(len(bias), 1, name="head")(x)
    net = tf.keras.Model(image, x)
    net.get_layer("colour").set_weights([COLOURFUL[None, None], np.full(3, -20, np.float32)])
    net.get_layer("head").set_weights([head[None, None].astype(np.float32), bias.astype(np.float32)])
    return net


def colour_cam(head: np.ndarray) -> tf.keras.Model:
    net = colour_net(head, np.zeros(head.shape[1]))
    scores = tf.keras.layers.GlobalAveragePooling2D()(net.output)
    return tf.keras.Model(net.input, {"scores": scores, "maps": net.output})


def export_cam(folder: Path) -> Path:
    export_maps(colour_cam(np.eye(3)), folder, kind="cam", image_size=SIZE, categories=CATEGORIES, metadata={})
    return folder


def export_l_net(folder: Path, bias: float = -4.0) -> Path:
    net = colour_net(np.full((3, 1), 0.1), np.array([bias]))
    export_maps(net, folder, kind="l_net", image_size=SIZE, categories=CATEGORIES, metadata={})
    return folder


def export_masks(folder: Path, **options) -> Path:
    net = colour_net(np.concatenate([np.zeros((3, 1)), np.eye(3)], 1), np.array([30.0, 0, 0, 0]))
    export_segmentation(net, folder, categories=CATEGORIES, image_size=SIZE, metadata={}, **options)
    return folder


def scene(tag: int, seed: int = 0, height: int = 72, width: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """One coloured rectangle on noisy grey: (uint8 [H, W, 3], truth uint8 [H, W])."""
    rng = np.random.default_rng(seed)
    image = np.repeat(rng.integers(30, 50, (height, width, 1)), 3, 2).astype(np.uint8)
    truth = np.zeros((height, width), np.uint8)
    top, left = int(rng.integers(8, height // 3)), int(rng.integers(8, width // 3))
    place = np.s_[top : top + height // 2, left : left + width // 2]
    image[place] = 40
    image[place][..., tag - 1] = 220
    truth[place] = tag
    return image, truth


def encode(image: np.ndarray | Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def write_scenes(folder: Path, count: int) -> dict[str, tuple[int, np.ndarray]]:
    """<folder>/images/s000.png ... and <folder>/tags.csv; key -> (tag, truth)."""
    (folder / "images").mkdir(parents=True)
    truths, lines = {}, ["image,tags"]
    for i in range(count):
        tag = i % 3 + 1
        image, truth = scene(tag, i)
        (folder / "images" / f"s{i:03d}.png").write_bytes(encode(image))
        truths[f"s{i:03d}"] = (tag, truth)
        lines.append(f"s{i:03d}.png,{CATEGORIES.names[tag]}")
    (folder / "tags.csv").write_text("\n".join(lines) + "\n")
    return truths


def png_bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims width x height pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\x00\x00\x00"
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def large_frame() -> bytes:
    """A GIF whose screen is 10 x 10 and whose frame is 7000 x 7000."""
    data = bytearray(encode(Image.new("P", (7000, 7000)), "GIF"))
    data[6:10] = b"\x0a\0\x0a\0"
    return bytes(data)


def _odd_images() -> dict[str, tuple[bytes, tuple[int, int]]]:
    """File name -> (bytes, (H, W)) of unusual images that must be labelled."""
    image = Image.fromarray(scene(1)[0])
    size = (72, 96)
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray(scene(1)[0][..., 0].astype(np.uint16) * 257)
    frames = [Image.fromarray(scene(tag)[0]) for tag in (1, 2, 3)]
    return {
        "cmyk.jpg": (encode(image.convert("CMYK"), "JPEG"), size),
        "deep.png": (encode(deep), size),
        "grey.jpg": (encode(image.convert("L"), "JPEG"), size),
        "palette.png": (encode(image.convert("P")), size),
        "alpha.png": (encode(image.convert("RGBA")), size),
        "turned.jpg": (encode(image, "JPEG", exif=exif), size),
        "moving.gif": (encode(frames[0], "GIF", save_all=True, append_images=frames[1:]), size),
        "dot.png": (encode(scene(1)[0][:1, :1]), (1, 1)),
        "line.png": (encode(np.full((1, 5000, 3), 90, np.uint8)), (1, 5000)),
        "jpeg_named.png": (encode(image, "JPEG"), size),
        "webp_named.jpg": (encode(image, "WEBP"), size),
        "UPPER.WEBP": (encode(image, "WEBP", exif=exif), size),
        "tagged.TIF": (encode(image, "TIFF", exif=exif), size),
        "deep_grey.tiff": (encode(deep, "TIFF"), size),
        "modern.avif": (encode(image, "AVIF"), size),
        "colours.bmp": (encode(image.convert("P"), "BMP"), size),
        "alpha4.bmp": (encode(image.convert("RGBA"), "BMP"), size),
    }


def _bad_images() -> dict[str, tuple[bytes, str, str]]:
    """File name -> (bytes, stage, a part of the reason) of images that must become dead letters."""
    jpeg, png = encode(scene(1)[0], "JPEG"), encode(scene(1)[0])
    return {
        "cut.jpg": (jpeg[: len(jpeg) // 2], "decode", "not a readable"),
        "cut.png": (png[: len(png) // 2], "decode", "not a readable"),
        "zero.jpg": (b"", "read", "empty"),
        "zeros.png": (b"\0" * 500, "decode", "not a picture"),
        "text.jpg": (b"hello, I am a text\n" * 20, "decode", "not a picture"),
        "heic.heic": (b"\0\0\0\x18ftypheic" + b"\0" * 200, "decode", "a HEIC picture"),
        "program.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "decode", "not a picture"),
        "half.webp": (encode(scene(1)[0], "WEBP")[:200], "decode", "damaged"),
        "float.tif": (encode(Image.fromarray(np.ones((9, 9), np.float32)), "TIFF"), "decode", "32 bits"),
        "bomb.png": (png_bomb(10_000, 5_000), "size", "10000x5000 pixels are too many; the limit is 40000000"),
        "frame.gif": (large_frame(), "size", "7000x7000 pixels are too many"),
        "big_bomb.png": (png_bomb(100_000, 100_000), "size", "decompression bomb"),
    }


ODD_IMAGES, BAD_IMAGES = _odd_images(), _bad_images()
