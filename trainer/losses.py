"""The losses, all from logits, in float32, as (sum, count).

Every loss returns two float32 scalars: the sum over what counts and how much counted. A loop may add both over
micro-batches and replicas and divide once, which gives the same update as one large batch even when the
parts hold different numbers of void pixels.

The 5e-8 trap. The paper's learning rate for L-Net, 5e-8, belongs to a loss *summed* over pixels. With the mean used
here the same update needs 5e-8 times the number of pixels that count: 8.4e-5 on a 41 x 41 grid (for each image of the
batch). A rate of 5e-8 with the mean trains nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from trainer.data.categories import VOID

Total = tuple[tf.Tensor, tf.Tensor]


def grid_labels(labels: tf.Tensor, grid_size: int) -> tf.Tensor:
    """The labels under the grid's cells: every ((S-1)/(g-1))-th pixel (DeepLab: every 8th), never interpolated.

    Args:
      labels: integer [B, S, S] with static S.
      grid_size: g, where g - 1 divides S - 1.

    Returns:
      int32 [B, g, g].

    Raises:
      ValueError: no whole number of pixels lies between grid cells.
    """
    stride, rest = divmod(labels.shape[1] - 1, grid_size - 1)
    if rest:
        raise ValueError(f"labels of side {labels.shape[1]} do not align with a grid of side {grid_size}")
    return tf.cast(labels[:, ::stride, ::stride], tf.int32)


def segmentation_loss(logits: tf.Tensor, labels: tf.Tensor) -> Total:
    """Softmax cross-entropy of the segmentation network (method section 2); void pixels count for nothing.

    Args:
      logits: float [B, g, g, C].
      labels: integer [B, S, S], 0..C-1 or 255 (void).

    Returns:
      (sum, number of grid cells that are not void).
    """
    labels = grid_labels(labels, logits.shape[1])
    valid = labels != VOID
    # By one-hot labels, not indices: the gradient of looking up an index is a scatter, which deterministic XLA makes a
    # loop over all cells (240 of 273 ms of an H200's work in VGG-16's update). A void cell's label is in no class.
    log_probabilities = tf.nn.log_softmax(tf.cast(logits, tf.float32))
    entropy = -tf.reduce_sum(tf.one_hot(labels, logits.shape[-1]) * log_probabilities, axis=-1)
    return _total(entropy, valid)


def foreground_loss(logits: tf.Tensor, labels: tf.Tensor) -> Total:
    """L-Net's element-wise binary cross-entropy on binarised masks (Eq. 1); void pixels count for nothing.

    Args:
      logits: float [B, g, g, 1].
      labels: integer [B, S, S], category ids or 255; every id above 0 is foreground.

    Returns:
      (sum, number of grid cells that are not void).
    """
    labels = grid_labels(labels, logits.shape[1])
    entropy = binary_cross_entropy(logits[..., 0], tf.cast(labels > 0, tf.float32))
    return _total(entropy, labels != VOID)


def tag_loss(logits: tf.Tensor, tags: tf.Tensor) -> Total:
    """Multi-label binary cross-entropy of the CAM classifier.

    Args:
      logits: float [B, K].
      tags: [B, K], 1 where the image has the category.

    Returns:
      (sum, B * K).
    """
    entropy = binary_cross_entropy(logits, tf.cast(tags, tf.float32))
    return _total(entropy, tf.ones_like(entropy))


def p_net_loss(real_logits: tf.Tensor, fake_logits: tf.Tensor, label_smoothing: float = 0.0) -> Total:
    """What P-Net minimises (Eq. 5): BCE(1, P-Net(truth)) + BCE(0, P-Net(prediction)).

    Args:
      real_logits, fake_logits: float [B, 1], of ground-truth and predicted masks.
      label_smoothing: the target of ground truth is 1 - label_smoothing (one-sided, Salimans et al. 2016; our choice).

    Returns:
      (sum of both terms, B).
    """
    real = binary_cross_entropy(real_logits, (1.0 - label_smoothing) * tf.ones_like(real_logits, tf.float32))
    fake = binary_cross_entropy(fake_logits, tf.zeros_like(fake_logits, tf.float32))
    return _total(real + fake, tf.ones_like(real))


def generator_loss(fake_logits: tf.Tensor) -> Total:
    """The adversarial term of the segmentation network (Eq. 4, second term, without lambda): BCE(1, P-Net(prediction)).

    Args:
      fake_logits: float [B, 1].

    Returns:
      (sum, B).
    """
    entropy = binary_cross_entropy(fake_logits, tf.ones_like(fake_logits, tf.float32))
    return _total(entropy, tf.ones_like(entropy))


def binary_cross_entropy(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Element by element, float32; its gradient by the logits is written out, there is none by the targets.

    TensorFlow's own gradient adds up three terms, in an order that depends on which memory is free at the moment: the
    same training would differ in the last bits from run to run.

    Args:
      logits: float, any shape.
      targets: float32 of the same shape, in 0..1.
    """

    @tf.custom_gradient
    def entropy(logits: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        value = tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=logits)
        return value, lambda upstream: upstream * (tf.sigmoid(logits) - targets)

    return entropy(tf.cast(logits, tf.float32))


def _total(values: tf.Tensor, valid: tf.Tensor) -> Total:
    weight = tf.cast(valid, tf.float32)
    return tf.reduce_sum(values * weight), tf.reduce_sum(weight)
