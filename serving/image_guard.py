"""Refuses what is no image, or too large an image, by its header alone: nothing is decoded before it passed."""

import tensorflow as tf

from trainer.data.pictures import MAX_PIXELS
from trainer.preprocessing import decode_image

_HEADER = 32  # bytes that hold the sizes of PNG (16..24), GIF (6..10) and BMP (18..26)


def guarded_decode(image_bytes: tf.Tensor, name: tf.Tensor, max_pixels: int = MAX_PIXELS) -> tf.Tensor:
    """Decodes one image after a look at its header.

    Args:
      image_bytes: string scalar.
      name: string scalar that tells the image from the others of its batch, used in messages.
      max_pixels: the largest H * W.

    Returns:
      uint8 [H, W, 3], as trainer.preprocessing.decode_image.

    Raises:
      tf.errors.InvalidArgumentError: empty, neither JPEG, PNG, GIF nor BMP, too large, or damaged.
    """
    is_known, height, width = _header(image_bytes)
    length, rows, columns = (tf.strings.as_string(n) for n in (tf.strings.length(image_bytes), height, width))
    known = tf.debugging.Assert(
        is_known, [tf.strings.join([name, ": not a JPEG, PNG, GIF or BMP image (", length, " bytes)"])]
    )
    small = tf.debugging.Assert(
        (tf.maximum(height, width) <= max_pixels) & (height * width <= max_pixels),  # the product alone could overflow
        [tf.strings.join([name, ": ", rows, " x ", columns, f" pixels; the limit is {max_pixels}"])],
    )
    with tf.control_dependencies([known, small]):
        return decode_image(tf.identity(image_bytes))


def _header(image_bytes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """(bool: one of the four formats, int64 height, int64 width); sizes are 0 when the format is unknown."""
    head = tf.strings.substr(tf.strings.join([image_bytes, b"\0" * _HEADER]), 0, _HEADER)
    values = tf.cast(tf.io.decode_raw(head, tf.uint8), tf.int64)

    def starts_with(magic: bytes) -> tf.Tensor:
        return tf.equal(tf.strings.substr(head, 0, len(magic)), magic)

    def number(first: int, last: int, big_endian: bool = False) -> tf.Tensor:
        exponents = range(last - first)[::-1] if big_endian else range(last - first)
        return tf.reduce_sum(values[first:last] * tf.constant([256**e for e in exponents], tf.int64))

    def signed(value: tf.Tensor) -> tf.Tensor:  # BMP: a negative height means top row first
        return tf.minimum(value, 2**32 - value)

    is_jpeg, is_png = starts_with(b"\xff\xd8\xff"), starts_with(b"\x89PNG\r\n\x1a\n")
    is_gif, is_bmp = starts_with(b"GIF8"), starts_with(b"BM")
    jpeg_size = tf.cond(
        is_jpeg,
        lambda: tf.image.extract_jpeg_shape(image_bytes, tf.int64)[:2],
        lambda: tf.zeros([2], tf.int64),
    )
    size = tf.case(
        [
            (is_png, lambda: tf.stack([number(20, 24, big_endian=True), number(16, 20, big_endian=True)])),
            (is_gif, lambda: tf.stack([number(8, 10), number(6, 8)])),
            (is_bmp, lambda: tf.stack([signed(number(22, 26)), signed(number(18, 22))])),
        ],
        default=lambda: jpeg_size,
    )
    return is_jpeg | is_png | is_gif | is_bmp, size[0], size[1]
