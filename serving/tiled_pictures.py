"""Pictures of any size through a network in tiles, in the graph, one picture after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import tensorflow as tf

from serving.image_guard import guarded_decode
from serving.whole_pictures import IdsAt, Scores, each, not_empty
from trainer.config import STRIDE
from trainer.data.orientation import exif_orientation, stored, upright
from trainer.data.preprocessing import resize_mask
from trainer.graphs import graph_function
from trainer.inference.looks import Look
from trainer.inference.tiles import Finish, look_in_tiles, picture_of_strips, strip_on_pixels
from trainer.inference.views import segmentation_logits

_IDS = tf.TensorSpec([None, None], tf.uint8)


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

    def each_picture(
        self,
        image_bytes: tf.Tensor,
        names: tf.Tensor,
        function: Callable[..., Any],
        more: tuple[tf.Tensor, ...],
        output: Any,
    ) -> tuple[Any, Scores]:
        def one(row: tuple[tf.Tensor, ...]) -> tuple[Any, Scores]:
            upright_ids, orientation, totals = self._looked_at(*row[:2])
            return function(*_stored(upright_ids, orientation), *row[2:]), _scores(*totals)

        return each(one, (not_empty(image_bytes), names, *more), (output, self._totals_kinds()[:3]), parallel=1)

    def scores(self, image_bytes: tf.Tensor, names: tf.Tensor) -> Scores:
        def one(row: tuple[tf.Tensor, tf.Tensor]) -> Scores:
            picture, _ = self._picture(*row)
            shape = tf.shape(picture)
            totals = self._look(picture, lambda cells, number: _totals(cells, number, shape), self._totals_kinds())
            return _scores(*totals)

        return each(one, (not_empty(image_bytes), names), self._totals_kinds()[:3], parallel=1)

    @cached_property
    def _looked_at(self) -> Callable[..., Any]:
        """(image_bytes, name) of one picture -> uint8 [H, W] upright ids, EXIF orientation, `_totals` of its strips.

        One graph that all signatures of masks call.
        """

        @graph_function(input_signature=[tf.TensorSpec([], tf.string)] * 2)
        def looked_at(image_bytes: tf.Tensor, name: tf.Tensor) -> tuple[Any, ...]:
            picture, orientation = self._picture(image_bytes, name)
            shape = tf.shape(picture)

            def of_strip(cells: tf.Tensor, number: tf.Tensor) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
                return strip_on_pixels(cells, shape[1], _winners, _IDS), _totals(cells, number, shape)

            strips, totals = self._look(picture, of_strip, (_IDS, self._totals_kinds()))
            return picture_of_strips(strips, shape[0]), orientation, totals

        return looked_at

    def _look(self, picture: tf.Tensor, of_strip: Finish, kinds: Any) -> Any:
        return look_in_tiles(picture, self._logits, self.num_classes, self.look, of_strip, kinds)

    def _totals_kinds(self) -> tuple[tf.TensorSpec, ...]:
        """Of what `_totals` returns; the first three also of `_scores`."""
        classes, one = tf.TensorSpec([self.num_classes], tf.float32), tf.TensorSpec([], tf.float32)
        return classes, classes, one, one

    def _picture(self, image_bytes: tf.Tensor, name: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """(uint8 [H, W, 3] upright, its EXIF orientation)."""
        orientation = exif_orientation(image_bytes)
        return upright(guarded_decode(image_bytes, name, self.max_pixels), orientation), orientation

    def _logits(self, tiles: tf.Tensor) -> tf.Tensor:
        return segmentation_logits(self.network, [tiles], self.look.mirror)


def _totals(cells: tf.Tensor, number: tf.Tensor, shape: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Of a strip's cells on the picture: highest and summed probabilities [C], summed highest ones [], number []."""
    rows = tf.shape(cells)[0] - 1  # the first is the strip's before
    down = STRIDE * (number * rows + tf.range(rows)) < shape[0]
    across = STRIDE * tf.range(tf.shape(cells)[1]) < shape[1]
    inside = tf.cast(down[:, tf.newaxis] & across, tf.float32)[..., tf.newaxis]
    probabilities = tf.nn.softmax(cells[1:]) * inside
    winners = tf.reduce_sum(tf.reduce_max(probabilities, -1))
    return (
        tf.reduce_max(probabilities, [0, 1]),
        tf.reduce_sum(probabilities, [0, 1]),
        winners,
        tf.reduce_sum(inside),
    )


def _scores(highest: tf.Tensor, total: tf.Tensor, winners: tf.Tensor, count: tf.Tensor) -> Scores:
    """`_totals` of all strips -> the picture's scores."""
    cells = tf.reduce_sum(count)
    return tf.reduce_max(highest, 0), tf.reduce_sum(total, 0) / cells, tf.reduce_sum(winners) / cells


def _stored(upright_ids: tf.Tensor, orientation: tf.Tensor) -> tuple[IdsAt, tf.Tensor]:
    """(what gives the ids at any size, H x W), both as the pixels are stored."""
    ids = stored(upright_ids[..., tf.newaxis], orientation)[..., 0]
    return lambda size: resize_mask(ids, size), tf.shape(ids)


def _winners(logits: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.argmax(logits, -1, tf.int32), tf.uint8)
