"""A picture of any size through a network in overlapping tiles, in the graph.

Tiles of N x N pixels begin at every (N - M)th row and column, M being their overlap; the last ones run over the edge
and are filled up with the mean colour, as pictures are in training. N and M are 8k+1, so the grids of all tiles lie on
one grid, with a cell at every 8th pixel. Cell (i, j) of a tile counts there with weight w_i w_j, the triangle
w_i = min(i + 1, g - i), divided by the sum of the weights of all tiles at that cell: where one tile alone looks, its
prediction stays as it is, and where two overlap, one fades into the other.

Memory: one row of tiles is looked at after the other, and a strip of the blended grid is finished as soon as no later
row reaches it. So what is held grows with the picture's width, not its area, beside the picture and the prediction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from trainer.config import STRIDE
from trainer.data.preprocessing import pad
from trainer.inference.looks import Look

Network = Callable[[tf.Tensor], tf.Tensor]  # float32 [1, N, N, 3] -> [1, g, g, C]
Finish = Callable[[tf.Tensor, tf.Tensor], Any]  # see look_in_tiles


def number_of_tiles(length: tf.Tensor, look: Look) -> tf.Tensor:
    """int32: tiles along an axis of so many pixels."""
    step = look.size - look.overlap
    return tf.maximum(-(-(length - look.size) // step), 0) + 1


def blending_weights(number: tf.Tensor, look: Look) -> tf.Tensor:
    """float32 [n, g] weights of n tiles' cells along one axis; those at one place sum to 1."""
    cells, step = (look.size - 1) // STRIDE + 1, (look.size - look.overlap) // STRIDE
    triangle = tf.cast(tf.minimum(tf.range(cells) + 1, cells - tf.range(cells)), tf.float32)
    weights = tf.tile(triangle[tf.newaxis], [number, 1])
    total = tf.signal.overlap_and_add(weights, step)
    return weights / tf.gather(total, step * tf.range(number)[:, tf.newaxis] + tf.range(cells))


def look_in_tiles(picture: tf.Tensor, network: Network, channels: int, look: Look, finish: Finish, output: Any) -> Any:
    """Looks at a picture tile by tile, and hands out the blended grid strip by strip, from top to bottom.

    Strip s holds the b = (N - M) / 8 rows of cells s * b to s * b + b - 1, and before them the last one of the strip
    before (0 in the first), so that pixels between two strips can be interpolated.

    Args:
      picture: uint8 [H, W, 3].
      network: what looks at a tile.
      channels: C.
      finish: (float32 [b + 1, G, C], strip's number) -> what is kept of it. G cells are at least W pixels wide.
      output: TensorSpec of that, or a structure of them, as `finish` returns.

    Returns:
      What `finish` returned, stacked over the strips, which are at least H + 8 pixels high together.
    """
    cells, step = (look.size - 1) // STRIDE + 1, look.size - look.overlap
    band = step // STRIDE
    height, width = tf.shape(picture)[0], tf.shape(picture)[1]
    rows, columns = number_of_tiles(height, look), number_of_tiles(width, look)
    down, across = blending_weights(rows, look), blending_weights(columns, look)

    def row_of_tiles(row: tf.Tensor) -> tf.Tensor:
        """float32 [g, G, C]: the weighed predictions of all tiles of a row."""

        def tile(column: tf.Tensor) -> tf.Tensor:
            part = picture[row * step : row * step + look.size, column * step : column * step + look.size]
            prediction = network(pad(tf.cast(part, tf.float32), look.size)[tf.newaxis])[0]
            return tf.cast(prediction, tf.float32) * across[column][:, tf.newaxis]

        kind = tf.TensorSpec([cells, cells, channels], tf.float32)
        predictions = tf.map_fn(tile, tf.range(columns), parallel_iterations=1, fn_output_signature=kind)
        beside = tf.signal.overlap_and_add(tf.transpose(predictions, [1, 3, 0, 2]), band)
        return tf.transpose(beside, [0, 2, 1]) * down[row][:, tf.newaxis, tf.newaxis]

    def strip(number: tf.Tensor, open_rows: tf.Tensor, finished: list[tf.TensorArray]) -> tuple:
        """`open_rows`: float32 [g + 1, G, C], sums so far from the row of cells before this strip on."""
        added = tf.cond(number < rows, lambda: row_of_tiles(number), lambda: tf.zeros_like(open_rows[1:]))
        open_rows += tf.pad(tf.ensure_shape(added, [cells, None, channels]), [[1, 0], [0, 0], [0, 0]])
        values = tf.nest.flatten(finish(open_rows[: band + 1], number))
        finished = [array.write(number, value) for array, value in zip(finished, values, strict=True)]
        return number + 1, tf.pad(open_rows[band:], [[0, band], [0, 0], [0, 0]]), finished

    grid_width = (columns - 1) * band + cells
    strips = -(-(height + STRIDE) // step)
    arrays = [tf.TensorArray(spec.dtype, strips) for spec in tf.nest.flatten(output)]
    start = (0, tf.zeros([cells + 1, grid_width, channels]), arrays)
    _, _, finished = tf.while_loop(lambda number, *_: number < strips, strip, start, parallel_iterations=1)
    return tf.nest.pack_sequence_as(output, [array.stack() for array in finished])


def to_pixels(cells: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Two rows of cells, float32 [2, G, C] -> the 8 rows of pixels from the first on, [8, W, C], bilinear."""
    wide = tf.pad(cells, [[0, 0], [0, 1], [0, 0]])  # the last cell's own pixel is the last one
    shares = tf.range(STRIDE, dtype=tf.float32) / STRIDE
    aside = shares[:, tf.newaxis]
    between = wide[:, :-1, tf.newaxis] * (1 - aside) + wide[:, 1:, tf.newaxis] * aside
    pixels = tf.reshape(between, [2, -1, tf.shape(cells)[-1]])[:, :width]
    below = shares[:, tf.newaxis, tf.newaxis]
    return pixels[0] * (1 - below) + pixels[1] * below


def on_pixels(
    picture: tf.Tensor,
    network: Network,
    channels: int,
    look: Look,
    decide: Callable[[tf.Tensor], tf.Tensor],
    output: tf.TensorSpec,
) -> tf.Tensor:
    """Looks at a picture in tiles and decides something at every pixel.

    Args:
      picture, network, channels: as in `look_in_tiles`.
      decide: float32 [8, W, C], blended predictions at 8 rows of pixels -> [8, W, ...].
      output: of what `decide` returns for all rows: [None, None, ...].

    Returns:
      [H, W, ...] at the picture's own pixels.
    """
    height, width = tf.shape(picture)[0], tf.shape(picture)[1]

    def finish(cells: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
        return strip_on_pixels(cells, width, decide, output)

    return picture_of_strips(look_in_tiles(picture, network, channels, look, finish, output), height)


def strip_on_pixels(
    cells: tf.Tensor, width: tf.Tensor, decide: Callable[[tf.Tensor], tf.Tensor], output: tf.TensorSpec
) -> tf.Tensor:
    """A strip of `look_in_tiles`, float32 [b + 1, G, C] -> [8 b, W, ...]; `decide`, `output` as in `on_pixels`."""
    rows = tf.map_fn(
        lambda pair: decide(to_pixels(tf.stack(pair), width)),
        (cells[:-1], cells[1:]),
        parallel_iterations=1,
        fn_output_signature=output,
    )
    return _joined(rows)


def picture_of_strips(strips: tf.Tensor, height: tf.Tensor) -> tf.Tensor:
    """[s, 8 b, W, ...] of `strip_on_pixels` -> [H, W, ...]"""
    return _joined(strips)[STRIDE : STRIDE + height]


def _joined(strips: tf.Tensor) -> tf.Tensor:
    """[s, h, ...] -> [s * h, ...]"""
    return tf.reshape(strips, tf.concat([[-1], tf.shape(strips)[2:]], 0))
