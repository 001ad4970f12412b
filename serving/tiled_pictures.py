"""Pictures of any size through a network in tiles, in the graph, one picture after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from serving.image_guard import guarded_decode
from serving.whole_pictures import each, not_empty
from trainer.looks import CELL, Look
from trainer.orientation import exif_orientation, stored, upright
from trainer.preprocessing import resize_mask
from trainer.tiles import look_in_tiles, on_pixels
from trainer.views import segmentation_logits


@dataclass(frozen=True)
class TiledPictures:
    """A segmentation network that sees each picture in tiles; methods as those of WholePictures.

    Attributes:
      network: float32 [1, N, N, 3] RGB in 0..255 -> logits [1, g, g, C].
      num_classes: C.
      look: with tiles.
      max_pixels: images with more pixels are refused.
    """

    network: Callable[[tf.Tensor], tf.Tensor]
    num_classes: int
    look: Look
    max_pixels: int

    def each_mask(
        self,
        image_bytes: tf.Tensor,
        names: tf.Tensor,
        function: Callable[..., Any],
        more: tuple[tf.Tensor, ...],
        output: Any,
    ) -> Any:
        def one(row: tuple[tf.Tensor, ...]) -> Any:
            picture, orientation = self._picture(*row[:2])
            kind = tf.TensorSpec([None, None], tf.uint8)
            upright_ids = on_pixels(picture, self._logits, self.num_classes, self.look, _winners, kind)
            ids = stored(upright_ids[..., tf.newaxis], orientation)[..., 0]
            return function(lambda size: resize_mask(ids, size), tf.shape(ids), *row[2:])

        return each(one, (not_empty(image_bytes), names, *more), output, parallel=1)

    def scores(self, image_bytes: tf.Tensor, names: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        classes, one = tf.TensorSpec([self.num_classes], tf.float32), tf.TensorSpec([], tf.float32)

        def of_picture(row: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            picture, _ = self._picture(*row)
            shape = tf.shape(picture)

            def of_strip(cells: tf.Tensor, number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
                rows = tf.shape(cells)[0] - 1  # the first is the strip's before
                down = CELL * (number * rows + tf.range(rows)) < shape[0]
                across = CELL * tf.range(tf.shape(cells)[1]) < shape[1]
                inside = tf.cast(down[:, tf.newaxis] & across, tf.float32)[..., tf.newaxis]
                probabilities = tf.nn.softmax(cells[1:]) * inside
                winners = tf.reduce_sum(tf.reduce_max(probabilities, -1))
                totals = tf.reduce_max(probabilities, [0, 1]), tf.reduce_sum(probabilities, [0, 1])
                return *totals, winners, tf.reduce_sum(inside)

            kinds = (classes, classes, one, one)
            highest, total, winners, count = look_in_tiles(
                picture, self._logits, self.num_classes, self.look, of_strip, kinds
            )
            cells = tf.reduce_sum(count)
            return tf.reduce_max(highest, 0), tf.reduce_sum(total, 0) / cells, tf.reduce_sum(winners) / cells

        return each(of_picture, (not_empty(image_bytes), names), (classes, classes, one), parallel=1)

    def _picture(self, image_bytes: tf.Tensor, name: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """(uint8 [H, W, 3] upright, its EXIF orientation)."""
        orientation = exif_orientation(image_bytes)
        return upright(guarded_decode(image_bytes, name, self.max_pixels), orientation), orientation

    def _logits(self, tiles: tf.Tensor) -> tf.Tensor:
        return segmentation_logits(self.network, [tiles], self.look.mirror)


def _winners(logits: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.argmax(logits, -1, tf.int32), tf.uint8)
