"""WSSL with adaptive EM (Papandreou et al. 2015): weak images are labelled by the network itself, at every step.

E-step: biases raise the scores of background and of an image's tags until each wins at least its share of the image;
categories that are not tagged cannot win. M-step: one update on these labels, and on the masks of strong images.
"""

from __future__ import annotations

from dataclasses import replace

import tensorflow as tf

from trainer.data import keys
from trainer.data.categories import VOID, Categories
from trainer.data.preprocessing import MEAN_COLOUR
from trainer.losses import Total, grid_labels, segmentation_loss
from trainer.training.stages import SEGMENTATION, Stage

FOREGROUND_SHARE, BACKGROUND_SHARE = 0.2, 0.4  # of an image's cells that a tag, and background, win at least
_MARGIN = 1e-3  # logits; a tie would be decided by the order of the classes


def wssl(categories: Categories, seed: int) -> Stage:
    """The segmentation network's stage with another loss: on masks where there are some, else on tags by adaptive EM.

    It takes all images; those without a mask have tags alone, and so have void pixels of weak ones.
    """
    weak_columns = [category - 1 for category in categories.weak_ids]

    def loss(logits: tf.Tensor, batch: dict[str, tf.Tensor]) -> Total:
        grid = logits.shape[1]
        labels, inside = grid_labels(batch[keys.LABELS], grid), _inside(batch[keys.IMAGE], grid)
        order = _order(batch[keys.IMAGE], logits.shape[-1], seed)
        estimated = expected_labels(tf.stop_gradient(logits), batch[keys.TAGS], inside, order)
        weak = tf.reduce_any(tf.gather(batch[keys.TAGS], weak_columns, axis=1) > 0, axis=1)
        return segmentation_loss(logits, targets(labels, estimated, weak))

    return replace(SEGMENTATION, loss=loss)


def targets(labels: tf.Tensor, estimated: tf.Tensor, weak: tf.Tensor) -> tf.Tensor:
    """int32 [B, g, g]: the mask's labels, the estimated ones in images without a mask and in the void of weak images.

    A weak image's mask may show its strong objects alone; the void of a strong image stays void.

    Args:
      labels, estimated: int32 [B, g, g].
      weak: bool [B].
    """
    has_mask = tf.reduce_any(labels != VOID, axis=[1, 2], keepdims=True)
    drawn = tf.where(weak[:, tf.newaxis, tf.newaxis], labels != VOID, has_mask)
    return tf.where(drawn, labels, estimated)


def expected_labels(logits: tf.Tensor, tags: tf.Tensor, inside: tf.Tensor, order: tf.Tensor) -> tf.Tensor:
    """The E-step.

    Each class that must show, in random order, gets the smallest bias >= 0 with which it beats all others, as they
    stand then, in its share of the image's cells.

    Args:
      logits: float [B, g, g, C].
      tags: float [B, C - 1], 1 where the image has the category.
      inside: bool [B, g, g], False on padding.
      order: float [B, C]; classes are treated by ascending value.

    Returns:
      int32 [B, g, g]: the winning ids, 255 on padding.
    """
    shape = tf.shape(logits)
    batch, cells, classes = shape[0], shape[1] * shape[2], logits.shape[-1]
    scores = tf.cast(tf.reshape(logits, [batch, cells, classes]), tf.float32)
    present = tf.concat([tf.ones([batch, 1]), tf.cast(tags, tf.float32)], 1) > 0
    scores = tf.where(present[:, tf.newaxis], scores, scores.dtype.min / 4)
    inside = tf.reshape(inside, [batch, cells])
    shares = tf.constant([BACKGROUND_SHARE] + [FOREGROUND_SHARE] * (classes - 1))
    wanted = tf.maximum(1.0, tf.math.floor(shares * tf.reduce_sum(tf.cast(inside, tf.float32), 1, keepdims=True)))
    sequence = tf.argsort(order, axis=1)
    for position in range(classes):
        own = tf.one_hot(sequence[:, position], classes)  # [B, C]
        mine = tf.reduce_sum(scores * own[:, tf.newaxis], -1)
        others = tf.reduce_max(tf.where(own[:, tf.newaxis] > 0, scores.dtype.min, scores), -1)
        lead = tf.where(inside, mine - others, scores.dtype.min)
        rank = tf.cast(tf.reduce_sum(wanted * own, 1), tf.int32) - 1
        least = tf.gather(tf.sort(lead, 1, "DESCENDING"), rank, batch_dims=1)
        must_show = tf.reduce_any(present & (own > 0), 1)
        bias = tf.where(must_show, tf.maximum(0.0, _MARGIN - least), 0.0)
        scores += bias[:, tf.newaxis, tf.newaxis] * own[:, tf.newaxis]
    winners = tf.argmax(scores, -1, tf.int32)
    return tf.reshape(tf.where(inside, winners, VOID), shape[:3])


def _order(images: tf.Tensor, classes: int, seed: int) -> tf.Tensor:
    """float [B, classes] at random, but the same for the same batch: a resumed run goes on as it would have."""
    content = tf.bitcast(tf.reduce_mean(tf.cast(images, tf.float32)), tf.int32)
    return tf.random.stateless_uniform([tf.shape(images)[0], classes], tf.stack([seed, content]))


def _inside(images: tf.Tensor, grid: int) -> tf.Tensor:
    """bool [B, g, g]: cells on the image; padding has exactly the mean colour, in unbroken rows or columns."""
    stride = (images.shape[1] - 1) // (grid - 1)
    padded = tf.reduce_all(images == tf.constant(MEAN_COLOUR, images.dtype), -1)
    columns, rows = (tf.reduce_all(padded, axis) for axis in (1, 2))
    outside = rows[:, :, tf.newaxis] | columns[:, tf.newaxis]
    return ~outside[:, ::stride, ::stride]
