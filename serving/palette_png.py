"""8-bit palette PNG in the graph, with core TensorFlow ops only.

`tf.io.encode_png` writes 8-bit grey. Grey and palette images of 8 bits store their pixels alike, so three edits turn
one into the other (PNG specification, sections 5 and 11.2): the colour type, the header's CRC, and a PLTE chunk.
"""

import struct
import zlib

import numpy as np
import tensorflow as tf

from trainer.data.pictures import PNG_CHUNKS, png_chunk

_COLOUR_TYPE = 25  # offset of the colour type: signature 8, chunk length 4, "IHDR" 4, width 4, height 4, bit depth 1
_CRC = 29
_BYTES = [bytes([value]) for value in range(256)]


def _crc_change() -> np.ndarray:
    """uint8 [4]: by what the CRC changes (XOR) as colour type 0 becomes 3; constant, since CRC is affine."""
    change = bytearray(17)  # "IHDR" and its 13 bytes, which the CRC covers
    change[_COLOUR_TYPE - 12] = 3
    return np.frombuffer(struct.pack(">I", zlib.crc32(bytes(change)) ^ zlib.crc32(bytes(17))), np.uint8)


def _palette_chunk(palette: np.ndarray) -> bytes:
    return png_chunk(b"PLTE", np.ascontiguousarray(palette, np.uint8).tobytes())


def encode_palette_png(mask: tf.Tensor, palette: np.ndarray) -> tf.Tensor:
    """Encodes a mask as a PNG whose pixels are ids and whose palette is `palette`.

    Args:
      mask: uint8 [H, W], H, W >= 1.
      palette: uint8 [256, 3] RGB by id.

    Returns:
      string scalar, the PNG file's bytes.
    """
    grey = tf.io.encode_png(mask[..., tf.newaxis])
    crc = tf.io.decode_raw(tf.strings.substr(grey, _CRC, 4), tf.uint8)
    crc = tf.bitwise.bitwise_xor(crc, tf.constant(_crc_change()))
    crc_bytes = tf.strings.reduce_join(tf.gather(tf.constant(_BYTES), tf.cast(crc, tf.int32)))
    return tf.strings.join(
        [
            tf.strings.substr(grey, 0, _COLOUR_TYPE),
            b"\x03",
            tf.strings.substr(grey, _COLOUR_TYPE + 1, _CRC - _COLOUR_TYPE - 1),
            crc_bytes,
            _palette_chunk(palette),
            tf.strings.substr(grey, PNG_CHUNKS, -1),
        ]
    )
