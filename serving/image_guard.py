"""Refuses what is no image, or too large an image, by its header alone: nothing is decoded before it passed."""

import tensorflow as tf

from trainer.data.pictures import MAX_PIXELS
from trainer.data.preprocessing import decode_image
from trainer.graphs import graph_function

_HEADER = 66  # bytes that hold the sizes of PNG (16..24) and BMP (18..26), and how a BMP's pixels are packed
_BGR = b"\0\0\xff\0\0\xff\0\0\xff\0\0\0"  # masks of red, green and blue, as the decoder takes them to be
_BLOCKS = 100_000  # our choice: blocks of a GIF up to the end of its first frame; 25 MB as most programs write
_SCANS = 100  # our choice: of a JPEG; each goes over all pixels again. Programs write some 10 at most


@graph_function  # built once for all signatures that call it with the same limit
def guarded_decode(image_bytes: tf.Tensor, name: tf.Tensor, max_pixels: int = MAX_PIXELS) -> tf.Tensor:
    """Decodes one image after a look at its header.

    Args:
      image_bytes: string scalar.
      name: string scalar that tells the image from the others of its batch, used in messages.
      max_pixels: the largest H * W.

    Returns:
      uint8 [H, W, 3], as trainer.data.preprocessing.decode_image.

    Raises:
      tf.errors.InvalidArgumentError: empty, neither JPEG, PNG, GIF nor BMP, of a kind of these that is not read, too
        large, or damaged.
    """
    is_known, height, width, is_plain, picture = _header(image_bytes)
    length, rows, columns = (tf.strings.as_string(n) for n in (tf.strings.length(image_bytes), height, width))
    known = tf.debugging.Assert(
        is_known, [tf.strings.join([name, ": not a JPEG, PNG, GIF or BMP image (", length, " bytes)"])]
    )
    small = tf.debugging.Assert(
        (tf.maximum(height, width) <= max_pixels) & (height * width <= max_pixels),  # the product alone could overflow
        [tf.strings.join([name, ": ", rows, " x ", columns, f" pixels; the limit is {max_pixels}"])],
    )
    with tf.control_dependencies([known, small]):
        odd = ": too many blocks or scans, or a BMP or GIF of an uncommon kind; save it as PNG"
        plain = tf.debugging.Assert(is_plain, [tf.strings.join([name, odd])])
    with tf.control_dependencies([plain]):
        return decode_image(tf.identity(picture))


def _header(image_bytes: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """What the header says.

    Returns:
      (bool: one of the four formats, int64 height, int64 width, bool: made of no more parts than programs write, and of
      a kind that the decoder reads rightly, the bytes to decode); sizes are 0 for other formats.
    """
    head = tf.strings.substr(tf.strings.join([image_bytes, b"\0" * _HEADER]), 0, _HEADER)
    values = tf.cast(tf.io.decode_raw(head, tf.uint8), tf.int64)
    yes, zero = tf.constant(True), tf.constant(0, tf.int64)

    def has(text: bytes, position: int = 0) -> tf.Tensor:
        return tf.equal(tf.strings.substr(head, position, len(text)), text)

    def number(first: int, last: int, big_endian: bool = False) -> tf.Tensor:
        exponents = range(last - first)[::-1] if big_endian else range(last - first)
        return tf.reduce_sum(values[first:last] * tf.constant([256**e for e in exponents], tf.int64))

    def signed(value: tf.Tensor) -> tf.Tensor:  # BMP: a negative height means top row first
        return tf.minimum(value, 2**32 - value)

    def jpeg() -> tuple[tf.Tensor, ...]:
        shape, data = tf.image.extract_jpeg_shape(image_bytes, tf.int64), tf.io.decode_raw(image_bytes, tf.uint8)
        # "start of scan", the length of its head (ITU T.81, B.2.3: 6 + 2 for each component), up to 4 components; the
        # two bytes of the marker alone also stand in films that telephones append
        marker, long = (data[:-4] == 0xFF) & (data[1:-3] == 0xDA), (data[2:-2] == 0) & (data[3:-1] == 6 + 2 * data[4:])
        scans = tf.math.count_nonzero(marker & long & (data[4:] <= 4))
        return shape[0], shape[1], scans <= _SCANS, image_bytes

    def png() -> tuple[tf.Tensor, ...]:
        return number(20, 24, big_endian=True), number(16, 20, big_endian=True), yes, image_bytes

    def bmp() -> tuple[tf.Tensor, ...]:
        bits, packing, size = number(28, 30), number(30, 34), (signed(number(22, 26)), signed(number(18, 22)))
        grey = (bits == 8) & _is_grey(image_bytes, 14 + number(14, 18))
        read = (packing == 0) & ((bits == 24) | (bits == 32) | grey)
        return *size, read | ((packing == 3) & (bits == 32) & has(_BGR, 54)), image_bytes

    # libpng takes an IHDR that stands behind another chunk, whose bytes would be taken for the size here
    formats = [
        (has(b"\xff\xd8\xff"), jpeg),
        (has(b"\x89PNG\r\n\x1a\n") & has(b"IHDR", 12), png),
        (has(b"GIF8"), lambda: _first_frame(image_bytes)),
        (has(b"BM"), bmp),
    ]
    found = tf.case(formats, default=lambda: (zero, zero, yes, image_bytes))
    return tf.reduce_any([is_format for is_format, _ in formats]), *found


def _is_grey(image_bytes: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """Whether a BMP's table of 256 colours counts up the greys, for which the decoder takes every table."""
    greys = b"".join(bytes([i, i, i, 0]) for i in range(256))
    start = tf.minimum(start, tf.cast(tf.strings.length(image_bytes), tf.int64))
    return tf.equal(tf.strings.substr(image_bytes, start, tf.constant(len(greys), tf.int64)), greys)


def _first_frame(image_bytes: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """(height, width: the larger of screen and frame; whether its end was found and it fills the screen; a GIF of that
    frame alone).

    The decoder would unpack all frames for the first, and paint black what an extension calls transparent. GIF89a,
    sections 15-26.
    """
    data = tf.io.decode_raw(tf.strings.join([image_bytes, b"\0" * 2048]), tf.uint8)  # no position is beyond them

    def byte(position: tf.Tensor | int) -> tf.Tensor:
        return tf.cast(tf.gather(data, position), tf.int64)

    def pair(position: tf.Tensor | int) -> tf.Tensor:
        return byte(position) + 256 * byte(position + 1)

    def colours(flags: tf.Tensor) -> tf.Tensor:
        """Bytes of the table of colours that follows."""
        return tf.where(flags >= 128, 3 * 2 ** (flags % 8 + 1), 0)

    def skip_blocks(position: tf.Tensor, left: tf.Tensor) -> list[tf.Tensor]:
        """From the first of some blocks of data to behind the empty one that ends them; `left` blocks at most."""
        end, left = tf.while_loop(
            lambda position, left: (byte(position) > 0) & (left > 0),
            lambda position, left: (position + 1 + byte(position), left - 1),
            (position, left),
        )
        return [end + 1, left]

    extension, frame = 0x21, 0x2C
    head = 13 + colours(byte(10))
    position, left = tf.while_loop(
        lambda position, left: (byte(position) == extension) & (left > 0),
        lambda position, left: skip_blocks(position + 2, left - 1),
        (head, tf.constant(_BLOCKS, tf.int64)),
    )
    is_frame = byte(position) == frame
    left_edge, top, width, height = (tf.where(is_frame, pair(position + offset), 0) for offset in (1, 3, 5, 7))
    fills = ~is_frame | ((left_edge == 0) & (top == 0) & (width == pair(6)) & (height == pair(8)))
    end, left = skip_blocks(position + 11 + colours(byte(position + 9)), left)
    first = tf.minimum(position, tf.cast(tf.strings.length(image_bytes), tf.int64))
    parts = [(tf.zeros_like(head), head), (first, end - first)]
    alone = tf.strings.join([*(tf.strings.substr(image_bytes, *part) for part in parts), b";"])
    return tf.maximum(height, pair(8)), tf.maximum(width, pair(6)), (left > 0) & fills, alone
