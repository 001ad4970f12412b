"""Refuses what is no image, or too large an image, by its header alone: nothing is decoded before it passed."""

import tensorflow as tf

from trainer.data.pictures import MAX_PIXELS
from trainer.preprocessing import decode_image

_HEADER = 32  # bytes that hold the sizes of PNG (16..24), GIF (6..10) and BMP (18..26)
_FRAMES = 4  # open: all frames of a GIF, which the decoder unpacks for the first, may have so many times the pixels
_BLOCKS = 100_000  # open: blocks of a GIF that are looked at, 25 MB of them as most programs write them


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
    is_known, height, width, pixels = _header(image_bytes)
    length, rows, columns = (tf.strings.as_string(n) for n in (tf.strings.length(image_bytes), height, width))
    known = tf.debugging.Assert(
        is_known, [tf.strings.join([name, ": not a JPEG, PNG, GIF or BMP image (", length, " bytes)"])]
    )
    small = tf.debugging.Assert(
        (tf.maximum(height, width) <= max_pixels) & (height * width <= max_pixels),  # the product alone could overflow
        [tf.strings.join([name, ": ", rows, " x ", columns, f" pixels; the limit is {max_pixels}"])],
    )
    short = tf.debugging.Assert(
        pixels <= max_pixels * _FRAMES, [tf.strings.join([name, ": too many frames; send the first alone"])]
    )
    with tf.control_dependencies([known, small, short]):
        return decode_image(tf.identity(image_bytes))


def _header(image_bytes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """(bool: one of the four formats, int64 height, int64 width, int64 pixels of all frames); 0 for other formats."""
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
    frames = tf.cond(is_gif, lambda: _gif_frames(image_bytes), lambda: tf.zeros([3], tf.int64))
    size = tf.case(
        [
            (is_png, lambda: tf.stack([number(20, 24, big_endian=True), number(16, 20, big_endian=True)])),
            (is_gif, lambda: frames[:2]),
            (is_bmp, lambda: tf.stack([signed(number(22, 26)), signed(number(18, 22))])),
        ],
        default=lambda: jpeg_size,
    )
    return is_jpeg | is_png | is_gif | is_bmp, size[0], size[1], frames[2]


def _gif_frames(image_bytes: tf.Tensor) -> tf.Tensor:
    """int64 [3]: largest height and width of a GIF's screen and frames, the sum of the frames' pixels (GIF89a, 17-26).

    What the screen says is no limit: frames may be larger.
    """
    data = tf.io.decode_raw(image_bytes, tf.uint8)
    last = tf.size(data, tf.int64) - 1

    def byte(place: tf.Tensor | int) -> tf.Tensor:
        return tf.cast(data[tf.minimum(tf.cast(place, tf.int64), last)], tf.int64)

    def pair(place: tf.Tensor | int) -> tf.Tensor:
        return byte(place) + 256 * byte(place + 1)

    def colours(flags: tf.Tensor) -> tf.Tensor:
        """Bytes of the table of colours that follows."""
        return tf.where(flags >= 128, 3 * 2 ** (flags % 8 + 1), 0)

    def goes_on(place: tf.Tensor, inside: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
        return (place <= last) & (inside | (byte(place) == 0x21) | (byte(place) == 0x2C))

    def step(place: tf.Tensor, inside: tf.Tensor, found: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Over one block of data, or the head of an extension (0x21) or of a frame (0x2C) before such blocks."""
        is_frame = ~inside & (byte(place) == 0x2C)
        width, height = pair(place + 5), pair(place + 7)
        frame = tf.stack([tf.maximum(found[0], height), tf.maximum(found[1], width), found[2] + height * width])
        head = tf.where(is_frame, 11 + colours(byte(place + 9)), 2)
        skipped = tf.where(inside, 1 + byte(place), head)
        return place + skipped, ~inside | (byte(place) > 0), tf.where(is_frame, frame, found)

    start = (13 + colours(byte(10)), tf.constant(False), tf.stack([pair(8), pair(6), tf.constant(0, tf.int64)]))
    place, inside, found = tf.while_loop(goes_on, step, start, maximum_iterations=_BLOCKS)
    return found + tf.where(goes_on(place, inside, found), tf.constant([0, 0, 2**40], tf.int64), 0)
