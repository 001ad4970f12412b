"""Training batches from TFRecords of tf.Examples: deterministic given the seed, resumable at any step.

Example i of the run (counted over epochs) always meets the same augmentation, because every random number comes from
(seed, i), and so does the order. So a resumed run begins where the other ended, with identical batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf

from trainer.config import Scale
from trainer.data import features, keys
from trainer.data.categories import VOID
from trainer.data.colour import jitter
from trainer.data.orientation import exif_orientation, upright
from trainer.data.preprocessing import decode_image, decode_mask, fitted_size, pad, resize_image, resize_mask
from trainer.data.record_order import in_random_order, index_records
from trainer.errors import UserError
from trainer.graphs import unconverted
from trainer.threads import cores


def record_files(patterns: Sequence[str]) -> list[str]:
    """TFRecord files behind glob patterns, sorted.

    Raises:
      UserError: no file matches.
    """
    files = sorted(file for pattern in patterns for file in tf.io.gfile.glob(pattern))
    if not files:
        raise UserError(f"no training records match {', '.join(patterns)}; was the example step run?")
    return files


def count_examples(files: Sequence[str], without: Sequence[int] = ()) -> int:
    """Number of records in the files; those tagged with a category of `without` are left out."""
    return index_records(files, without).count


def training_batches(
    files: Sequence[str],
    *,
    num_categories: int,
    image_size: int,
    batch_size: int,
    seed: int,
    scale: Scale = (1.0, 1.0),
    mirror: bool = True,
    colour_jitter: float = 0.0,
    start_step: int = 0,
    without: Sequence[int] = (),
    share: tuple[int, int] = (1, 0),
) -> tf.data.Dataset:
    """Endless augmented batches, beginning at `start_step`; with several hosts, one's share of each.

    Args:
      files: GZIP TFRecord files.
      batch_size: B, over all hosts together.
      num_categories: K, foreground categories.
      image_size: S.
      scale: range of the random rescaling; 1 means the longer side is S, larger values are cropped to S. "native": no
        rescaling, crops of the image at its own pixels.
      colour_jitter: see `colour.jitter`.
      start_step: batches to skip.
      without: category ids; images tagged with one are left out.
      share: number of hosts, and which of them this is.

    Returns:
      Dataset of dicts: `image` float32 [B, S, S, 3] in 0..255, `labels` uint8 [B, S, S] ids with 255 void (padding and
      images without a mask are void), `tags` float32 [B, K] multi-hot, `key` string [B].
    """
    hosts, index = share
    options = tf.data.Options()
    options.autotune.enabled = False  # its thread, asleep for up to a minute, would hold up the end of a training
    prepare = PrepareExample(num_categories, image_size, seed, scale, mirror, colour_jitter)
    return (
        in_random_order(index_records(files, without), seed, start_step * batch_size)
        .shard(hosts, index)
        .map(unconverted(prepare), num_parallel_calls=cores(), deterministic=True)
        .batch(batch_size // hosts, drop_remainder=True)
        .prefetch(2)
        .with_options(options)
    )


@dataclass(frozen=True)
class PrepareExample:
    """(number, record) -> an example as it is in a batch; arguments are those of `training_batches`."""

    num_categories: int
    image_size: int
    seed: int
    scale: Scale
    mirror: bool
    colour_jitter: float

    def __call__(self, number: tf.Tensor, record: tf.Tensor) -> dict[str, tf.Tensor]:
        example = tf.io.parse_single_example(record, features.PARSE_SPEC)
        image = decode_image(example[features.IMAGE])
        shape = tf.shape(image)[:2]
        has_mask = tf.strings.length(example[features.MASK]) > 0
        labels = tf.cond(
            has_mask, lambda: decode_mask(example[features.MASK]), lambda: tf.fill(shape, tf.constant(VOID, tf.uint8))
        )
        orientation = exif_orientation(example[features.IMAGE])
        image, labels = upright(image, orientation), upright(labels[..., tf.newaxis], orientation)[..., 0]
        image, labels = self.augment(image, labels, number)
        ids = tf.sparse.to_dense(example[features.TAGS])
        tags = tf.reduce_max(tf.one_hot(ids - 1, self.num_categories), axis=0, keepdims=True)
        tags = tf.where(tf.size(ids) > 0, tags, tf.zeros([1, self.num_categories]))[0]
        return {keys.IMAGE: image, keys.LABELS: labels, keys.TAGS: tags, keys.KEY: example[features.KEY]}

    def augment(self, image: tf.Tensor, labels: tf.Tensor, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Random scale, crop, mirror and colour, all from (seed, index).

        uint8 [H, W, 3], uint8 [H, W], int64 scalar -> float32 [S, S, 3], uint8 [S, S].
        """
        size = self.image_size
        draws = tf.random.stateless_uniform([7], tf.stack([tf.constant(self.seed, tf.int64), index]))
        shape = tf.shape(image)
        if self.scale == "native":
            fitted = shape[:2]
        else:
            factor = self.scale[0] + (self.scale[1] - self.scale[0]) * draws[0]
            fitted = fitted_size(shape[0], shape[1], size, factor)
            image, labels = resize_image(image, fitted), resize_mask(labels, fitted)

        slack = tf.cast(tf.maximum(fitted - size, 0), tf.float32)
        begin = tf.cast(tf.floor(draws[1:3] * (slack + 1.0)), tf.int32)
        extent = tf.minimum(fitted, size)
        image = tf.cast(tf.slice(image, [begin[0], begin[1], 0], [extent[0], extent[1], 3]), tf.float32)
        labels = tf.slice(labels, begin, extent)

        if self.mirror:
            flip = draws[3] < 0.5
            image = tf.cond(flip, lambda: image[:, ::-1], lambda: image)
            labels = tf.cond(flip, lambda: labels[:, ::-1], lambda: labels)
        if self.colour_jitter:
            image = jitter(image, draws[4:7], self.colour_jitter)

        missing = [[0, size - extent[0]], [0, size - extent[1]]]
        labels = tf.pad(labels, missing, constant_values=VOID)
        return pad(image, size), tf.ensure_shape(labels, [size, size])
