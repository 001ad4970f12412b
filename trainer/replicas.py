"""One training step over several devices, and over several parts of a batch, in the current `tf.distribute` scope.

A step runs once on every replica with its share of the batch. Sums (of losses, counts, gradients) are added up over
the parts of a share and then over the replicas before anything is divided, so neither changes the update.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from trainer.errors import UserError

Batch = dict[str, tf.Tensor]


def check_batch_size(batch_size: int, accumulate: int) -> None:
    """Raises UserError unless every part on every replica gets the same number of images."""
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if batch_size % (accumulate * replicas):
        raise UserError(
            f"batch_size {batch_size} does not divide into {replicas} devices times accumulate {accumulate}; "
            f"nearest: {accumulate * replicas * max(1, round(batch_size / (accumulate * replicas)))}"
        )


def spread(batches: tf.data.Dataset) -> Any:
    """The same batches, each split evenly over the replicas; on one device, `batches` itself (any iterable)."""
    strategy = tf.distribute.get_strategy()
    if strategy.num_replicas_in_sync == 1:
        return batches
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return strategy.experimental_distribute_dataset(batches.with_options(options))


def on_replicas(step: Callable[[Batch], tuple[tf.Tensor, ...]]) -> Callable[[Batch], tuple[tf.Tensor, ...]]:
    """Compiles `step`; a call runs it on every replica and returns the first one's results (all have the same)."""
    strategy = tf.distribute.get_strategy()

    @tf.function
    def run(batch: Batch) -> tuple[tf.Tensor, ...]:
        return tuple(first(result) for result in strategy.run(step, args=(batch,)))

    return run


def add_up(function: Callable[[Batch], Any], batch: Batch, parts: int) -> Any:
    """What `function` returns (a nest of tensors), added up over `parts` parts of the batch and over all replicas.

    Parts go one after the other: memory holds one part's activations at a time.
    """
    result = function(_part(batch, 0, parts))
    for index in range(1, parts):
        with tf.control_dependencies(tf.nest.flatten(result)):
            part = {name: tf.identity(value) for name, value in _part(batch, index, parts).items()}
        result = tf.nest.map_structure(tf.add, result, function(part))
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync > 1:
        sums = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.nest.flatten(result))
        result = tf.nest.pack_sequence_as(result, sums)
    return result


def first(value: Any) -> tf.Tensor:
    """The first replica's share of a distributed value."""
    return tf.distribute.get_strategy().experimental_local_results(value)[0]


def whole(value: Any) -> tf.Tensor:
    """All replicas' shares of a distributed value, joined along the batch axis."""
    return tf.concat(tf.distribute.get_strategy().experimental_local_results(value), axis=0)


def _part(batch: Batch, index: int, parts: int) -> Batch:
    return {name: value[index::parts] for name, value in batch.items()}
