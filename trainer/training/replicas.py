"""One training step over several devices, and over several parts of a batch, in the current `tf.distribute` scope.

A step runs once on every replica with its share of the batch. Sums (of losses, counts, gradients) are added up over
the parts of a share and then over the replicas before anything is divided, so neither changes the update.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import tensorflow as tf

from trainer.errors import UserError
from trainer.graphs import graph_function, unconverted
from trainer.training.hosts import Hosts, hosts

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
    """This host's endless batches, split evenly over its replicas; on one device, `batches` itself (any iterable)."""
    strategy = tf.distribute.get_strategy()
    if strategy.num_replicas_in_sync == 1:
        return batches
    local = strategy.num_replicas_in_sync // input_share().number

    def per_replica(_: tf.distribute.InputContext) -> tf.data.Dataset:
        parts = unconverted(lambda batch: tf.nest.map_structure(partial(_in_parts, parts=local), batch))
        shares = batches.map(parts).unbatch()
        # Else hosts would ask each other before every batch whether one has come to an end.
        return shares.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))

    return strategy.distribute_datasets_from_function(per_replica)


def input_share() -> Hosts:
    """Which share of each batch this host reads: all of it, unless the current strategy spans several hosts."""
    spans = isinstance(tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy)
    return hosts() if spans else Hosts()


def numbers_of(batch: Batch) -> Batch:
    """The batch without its strings, which XLA does not know."""
    return {name: value for name, value in batch.items() if value.dtype != tf.string}


def on_replicas(
    step: Callable[[Batch], tuple[tf.Tensor, ...]],
    prepare: Callable[[Batch], Batch] = numbers_of,
    xla: bool = False,
    parts: int = 1,
) -> Callable[[Batch], tuple[tf.Tensor, ...]]:
    """Compiles `step`; a call runs it on every replica and returns the first one's results (all have the same).

    Args:
      prepare: a replica's share of the batch -> what `step` takes of it; never part of an XLA program.
      xla: compile `step` into one XLA program, the update of the variables included. Not with several replicas: what
        they send each other cannot be in it. Nor with several parts: XLA might hold the activations of all at once.
      parts: see `add_up`.
    """
    strategy = tf.distribute.get_strategy()
    if xla and parts == 1 and strategy.num_replicas_in_sync == 1:
        step = graph_function(step, jit_compile=True)

    @graph_function
    def run(batch: Batch) -> tuple[tf.Tensor, ...]:
        results = strategy.run(lambda share: step(prepare(share)), args=(batch,))
        return tuple(first_replica(result) for result in results)

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


def first_replica(value: Any) -> tf.Tensor:
    """The first replica's share of a distributed value."""
    return tf.distribute.get_strategy().experimental_local_results(value)[0]


def gather(value: Any) -> tf.Tensor:
    """All replicas' shares of a distributed value, joined along the batch axis."""
    return tf.concat(tf.distribute.get_strategy().experimental_local_results(value), axis=0)


def _in_parts(value: tf.Tensor, parts: int) -> tf.Tensor:
    """[B, ...] -> [parts, B / parts, ...]."""
    return tf.reshape(value, tf.concat([[parts, -1], tf.shape(value)[1:]], axis=0))


def _part(batch: Batch, index: int, parts: int) -> Batch:
    return {name: value[index::parts] for name, value in batch.items()}
