"""Whole pictures through a network, in the graph: decoded and fitted one by one, looked at as one batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import tensorflow as tf

from serving.image_guard import guarded_decode
from trainer.data.orientation import exif_orientation, stored, swapped_if_turned, upright
from trainer.data.preprocessing import grid_to_image, resize_mask, to_network_input
from trainer.graphs import graph_function
from trainer.inference.looks import Look
from trainer.inference.views import segmentation_logits

# Our choice: logits are resampled up to this side, ids beyond it (C float channels of 40 MP take 3 GB).
MASK_SIDE = 1024
_PARALLEL = 4  # our choice: images of one batch decoded or encoded at the same time; bounds memory

STRINGS = tf.TensorSpec([None], tf.string)

IdsAt = Callable[[tf.Tensor], tf.Tensor]  # int32 [2] H x W -> uint8 [H, W] ids, as the pixels are stored
# Highest probability of each class float32 [B, C], mean probability [B, C], mean of the highest one [B]
Scores = tuple[tf.Tensor, tf.Tensor, tf.Tensor]


@dataclass(frozen=True)
class WholePictures:
    """A segmentation network that sees each picture whole.

    Attributes:
      network: float32 [B, S, S, 3] RGB in 0..255 -> logits [B, g, g, C].
      look: without tiles.
      max_pixels: images with more pixels are refused.
    """

    network: Callable[[tf.Tensor], tf.Tensor]
    look: Look
    max_pixels: int

    def each_picture(
        self,
        image_bytes: tf.Tensor,
        names: tf.Tensor,
        function: Callable[..., Any],
        more: tuple[tf.Tensor, ...],
        output: Any,
    ) -> tuple[Any, Scores]:
        """What is made of each image's mask, and its scores, of one look at it.

        Args:
          image_bytes, names: as for `network_inputs`.
          function: gets an IdsAt.
          more: tensors with B rows.
          output: TensorSpec or DType of what the function returns, or a structure of them.

        Returns:
          (function(ids_at, H x W of the stored pixels, *a row of `more`) as map_fn stacks it, what `scores` returns).
        """
        logits, valid, orientation, sizes = self._looked_at(image_bytes, names)

        def one(row: tuple[tf.Tensor, ...]) -> Any:
            grid, valid, orientation, size, *more = row
            return function(lambda size: self._ids(grid, valid, orientation, size), size, *more)

        return each(one, (logits, valid, orientation, sizes, *more), output), self._scores(logits, valid)

    def scores(self, image_bytes: tf.Tensor, names: tf.Tensor) -> Scores:
        logits, valid, *_ = self._looked_at(image_bytes, names)
        return self._scores(logits, valid)

    def _scores(self, logits: tf.Tensor, valid: tf.Tensor) -> Scores:
        probabilities = tf.nn.softmax(logits)
        inside = cells_inside(valid, tf.shape(probabilities)[1], self.look.sides[0])[..., tf.newaxis]
        count = tf.reduce_sum(inside, [1, 2])
        winners = tf.reduce_max(probabilities, -1, keepdims=True)
        return (
            tf.reduce_max(probabilities * inside, [1, 2]),
            tf.reduce_sum(probabilities * inside, [1, 2]) / count,
            (tf.reduce_sum(winners * inside, [1, 2]) / count)[:, 0],
        )

    @cached_property
    def _looked_at(self) -> Callable[..., Any]:
        """(image_bytes, names) -> logits [B, g, g, C], and what `network_inputs` returns behind the inputs.

        One graph that all signatures call, so that a model holds its network once.
        """

        @graph_function(input_signature=[STRINGS, STRINGS])
        def looked_at(image_bytes: tf.Tensor, names: tf.Tensor) -> tuple[tf.Tensor, ...]:
            inputs, *about = network_inputs(image_bytes, names, self.look, self.max_pixels)
            return segmentation_logits(self.network, inputs, self.look.mirror), *about

        return looked_at

    def _ids(self, grid: tf.Tensor, valid: tf.Tensor, orientation: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        """Logits [g, g, C] -> uint8 [H, W] at `size`, in stored pixels."""
        size = swapped_if_turned(size, orientation)
        factor = tf.minimum(1.0, MASK_SIDE / tf.cast(tf.reduce_max(size), tf.float32))
        drawn = tf.maximum(1, tf.cast(tf.round(tf.cast(size, tf.float32) * factor), tf.int32))
        logits = grid_to_image(grid, valid, self.look.sides[0], drawn[0], drawn[1])
        ids = resize_mask(tf.cast(tf.argmax(logits, -1, tf.int32), tf.uint8), size)
        return stored(ids[..., tf.newaxis], orientation)[..., 0]


def network_inputs(
    image_bytes: tf.Tensor, names: tf.Tensor, look: Look, max_pixels: int
) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor, tf.Tensor]:
    """Decodes a batch, turns it upright and fits it.

    Args:
      image_bytes: string [B].
      names: string [B], what to call the images in errors.
      look: without tiles.
      max_pixels: larger images are refused.

    Returns:
      (a float32 [B, S, S, 3] for each side of `look`, int32 [B, 2] valid h x w of the first, int32 [B] EXIF
      orientation, int32 [B, 2] H x W of the stored pixels).
    """

    def prepare(row: tuple[tf.Tensor, tf.Tensor]) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor, tf.Tensor]:
        image = guarded_decode(*row, max_pixels)
        orientation = exif_orientation(row[0])
        turned = upright(image, orientation)
        fitted = [to_network_input(turned, side, look.least_side) for side in look.sides]
        return [network_input for network_input, _ in fitted], fitted[0][1], orientation, tf.shape(image)[:2]

    one, pair = tf.TensorSpec([], tf.int32), tf.TensorSpec([2], tf.int32)
    inputs = [tf.TensorSpec([side, side, 3], tf.float32) for side in look.sides]
    return each(prepare, (not_empty(image_bytes), names), (inputs, pair, one, pair))


def not_empty(image_bytes: tf.Tensor) -> tf.Tensor:
    """The batch, unless there is nothing in it: then tf.errors.InvalidArgumentError."""
    check = tf.debugging.Assert(tf.size(image_bytes) > 0, ["the batch is empty: send at least one image"])
    with tf.control_dependencies([check]):
        return tf.identity(image_bytes)


def each(function: Callable, rows: tuple[tf.Tensor, ...], output: Any, parallel: int = _PARALLEL) -> Any:
    """function(row) of each, as tf.map_fn."""
    return tf.map_fn(function, rows, parallel_iterations=parallel, fn_output_signature=output)


def cells_inside(valid: tf.Tensor, grid: tf.Tensor, image_size: int) -> tf.Tensor:
    """float32 [B, g, g]: 1 where a grid cell lies on the image, 0 on padding."""
    step = (image_size - 1) / (tf.cast(grid, tf.float32) - 1)
    positions = tf.range(tf.cast(grid, tf.float32)) * step
    rows, columns = (positions < tf.cast(valid[:, axis, tf.newaxis], tf.float32) for axis in (0, 1))
    return tf.cast(rows[:, :, tf.newaxis] & columns[:, tf.newaxis], tf.float32)
