"""EXIF orientation: networks see pictures upright; masks keep fitting the stored pixels.

Cameras store pixels as the sensor lies and note how to turn them (EXIF 2.32, tag 0x0112). To make a stored picture
upright, values 5..8 first swap rows and columns; then {2, 3, 6, 7} mirror left and right, {3, 4, 7, 8} top and bottom.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from trainer.data.pictures import FLIPPED_LEFT_RIGHT, FLIPPED_TOP_BOTTOM, ORIENTATION
from trainer.graphs import graph_function

_HEAD = 1 << 17  # bytes of a PNG's EXIF that are looked at
_SEGMENTS = 200  # our choice: segments and bytes of padding before EXIF that are skipped at most
_LONG = 4  # a field's type (TIFF 6.0)
_PNG, _CHUNK = b"\x89PNG\r\n\x1a\n", b"eXIf"  # PNG specification, third edition, 11.3.3.6


@graph_function(input_signature=[tf.TensorSpec([], tf.string)])  # built once for all graphs that call it
def exif_orientation(image_bytes: tf.Tensor) -> tf.Tensor:
    """The orientation an encoded image notes: string scalar -> int32 scalar 1..8; 1 for "upright" and for none.

    JPEGs and PNGs are looked at. Damaged notes count as none.
    """

    def starts_with(magic: bytes) -> tf.Tensor:
        return tf.equal(tf.strings.substr(image_bytes, 0, len(magic)), magic)

    return tf.case(
        [(starts_with(b"\xff\xd8"), lambda: _of_jpeg(image_bytes)), (starts_with(_PNG), lambda: _of_png(image_bytes))],
        default=lambda: 1,
    )


def _of_png(image_bytes: tf.Tensor) -> tf.Tensor:
    """The chunk eXIf may lie before or behind the pixels, whose chunks can be thousands: searched, not walked to."""
    pieces = tf.strings.split(image_bytes, _CHUNK, maxsplit=1)
    note = tf.strings.substr(tf.strings.reduce_join(pieces[1:]), 0, _HEAD)
    is_tiff = tf.reduce_any(tf.equal(tf.strings.substr(note, 0, 4), [b"II*\0", b"MM\0*"]))
    return tf.cond(is_tiff, lambda: _of_tiff(_values(note), tf.constant(0, tf.int64)), lambda: 1)


def _values(data: tf.Tensor) -> tf.Tensor:
    """uint8 [n] byte values."""
    return tf.io.decode_raw(data, tf.uint8)


def _reader(data: tf.Tensor) -> tuple[Callable, Callable]:
    """(byte at a place, number of some bytes at a place); places outside read the nearest byte."""
    last = tf.size(data, tf.int64) - 1

    def byte(place: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.gather(data, tf.clip_by_value(place, 0, last)), tf.int64)

    def number(place: tf.Tensor, size: int, little: tf.Tensor | bool) -> tf.Tensor:
        found = byte(place[..., tf.newaxis] + np.arange(size))
        weights = 256 ** np.arange(size)
        return tf.reduce_sum(found * tf.where(little, weights, weights[::-1]), -1)

    return byte, number


def _of_jpeg(image_bytes: tf.Tensor) -> tf.Tensor:
    data = _values(image_bytes)
    last = tf.size(data, tf.int64) - 1
    byte, number = _reader(data)

    def is_exif(place: tf.Tensor) -> tf.Tensor:
        return (number(place, 2, False) == 0xFFE1) & (number(place + 4, 4, False) == 0x45786966)  # "Exif"

    def is_other(place: tf.Tensor) -> tf.Tensor:
        """Another segment before the pixels, or padding (ITU T.81, B.1.1.2)."""
        kind = byte(place + 1)
        known = (kind >= 0xC0) & ((kind < 0xD0) | (kind > 0xDA))
        return (byte(place) == 0xFF) & known & ~is_exif(place) & (place < last)

    def behind(place: tf.Tensor) -> list[tf.Tensor]:
        return [place + tf.where(byte(place + 1) == 0xFF, tf.constant(1, tf.int64), 2 + number(place + 2, 2, False))]

    start = tf.constant(2, tf.int64)
    [start] = tf.while_loop(is_other, behind, [start], maximum_iterations=_SEGMENTS)
    return tf.cond(is_exif(start), lambda: _of_tiff(data, start + 10), lambda: 1)


def _of_tiff(data: tf.Tensor, tiff: tf.Tensor) -> tf.Tensor:
    """The tag in the first directory of a TIFF header at a place: uint8 [n] byte values -> int32 scalar."""
    byte, number = _reader(data)
    little = byte(tiff) == ord("I")
    directory = tiff + number(tiff + 4, 4, little)
    entries = directory + 2 + 12 * tf.range(number(directory, 2, little))
    is_long = number(entries + 2, 2, little) == _LONG
    values = tf.where(is_long, number(entries + 8, 4, little), number(entries + 8, 2, little))
    found = tf.boolean_mask(values, number(entries, 2, little) == ORIENTATION)
    value = tf.reduce_max(tf.concat([found[:1], [0]], 0))
    return tf.cast(tf.where((value >= 1) & (value <= 8), value, 1), tf.int32)


def upright(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Stored pixels [H, W, K] -> the picture as it is to be seen, [H, W, K] or [W, H, K]."""
    image = _turn_if(orientation >= 5, image, lambda x: tf.transpose(x, [1, 0, 2]))
    return _flips(image, orientation)


def stored(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """The reverse of `upright`."""
    image = _flips(image, orientation)
    return _turn_if(orientation >= 5, image, lambda x: tf.transpose(x, [1, 0, 2]))


def swapped_if_turned(size: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """int32 [2]: H x W of the stored pixels -> of the upright picture, and the reverse."""
    return tf.where(orientation >= 5, tf.reverse(size, [0]), size)


def _flips(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    image = _turn_if(tf.reduce_any(orientation == FLIPPED_LEFT_RIGHT), image, lambda x: tf.reverse(x, [1]))
    return _turn_if(tf.reduce_any(orientation == FLIPPED_TOP_BOTTOM), image, lambda x: tf.reverse(x, [0]))


def _turn_if(condition: tf.Tensor, image: tf.Tensor, turn) -> tf.Tensor:
    turned = tf.cond(condition, lambda: turn(image), lambda: tf.identity(image))
    return tf.ensure_shape(turned, [None, None, image.shape[-1]])
