"""Several views of the same pictures, at other scales and mirrored, and the mean of what a network says about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from trainer.data import keys

Outputs = dict[str, tf.Tensor]  # "maps" is [B, g, g, K]; other tensors do not depend on left and right
_LEAST = 1e-30  # probability; the logarithm of 0 would spread as NaN


def all_views(network: Callable[[tf.Tensor], Outputs], inputs: Sequence[tf.Tensor], mirror: bool) -> list[Outputs]:
    """What the network says of float32 [B, S_i, S_i, 3] at each scale, and mirrored, with the maps turned back."""
    seen = []
    for batch in inputs:
        seen.append(network(batch))
        if mirror:
            mirrored = network(tf.reverse(batch, [2]))  # TensorFlow's layout pass fails at a slice of stride -1
            seen.append({**mirrored, keys.MAPS: tf.reverse(mirrored[keys.MAPS], [2])})
    return seen


def mean_map(maps: Sequence[tf.Tensor]) -> tf.Tensor:
    """float32 [B, g_i, g_i, K] of the same pictures -> their mean on the finest grid; corners stay corners."""
    finest = tf.reduce_max([tf.shape(m)[1:3] for m in maps], 0)
    resampled = [m if len(maps) == 1 else tf.compat.v1.image.resize(m, finest, align_corners=True) for m in maps]
    return tf.add_n(resampled) / len(maps)


def segmentation_logits(
    network: Callable[[tf.Tensor], tf.Tensor], inputs: Sequence[tf.Tensor], mirror: bool
) -> tf.Tensor:
    """What a segmentation network says after all views: float32 [B, g, g, C] on the finest grid.

    One view: its logits. Several: the logarithm of the mean of their probabilities, which are logits again.

    Args:
      network: float32 [B, S, S, 3] -> logits [B, g, g, C].
      inputs: the pictures at each scale.
    """
    if len(inputs) == 1 and not mirror:
        return tf.cast(network(inputs[0]), tf.float32)
    seen = all_views(lambda batch: {keys.MAPS: tf.nn.softmax(tf.cast(network(batch), tf.float32))}, inputs, mirror)
    return tf.math.log(tf.maximum(mean_map([outputs[keys.MAPS] for outputs in seen]), _LEAST))
