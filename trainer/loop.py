"""The one supervised training loop: CAM classifier, L-Net and segmentation network all go through `fit`."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from trainer.config import StageConfig
from trainer.losses import Total
from trainer.optimizers import make_optimizer
from trainer.session import RunFolders, Session

LossFn = Callable[..., Total]  # the network's outputs and the batch -> the loss as (sum, count)
BatchesFn = Callable[[int], tf.data.Dataset]  # step -> batches beginning at that step


def fit(
    net: tf.keras.Model,
    loss_fn: LossFn,
    batches_from: BatchesFn,
    stage: StageConfig,
    num_steps: int,
    folders: RunFolders,
) -> None:
    """Trains `net` in place for `num_steps` updates, resuming from the newest checkpoint if there is one.

    Args:
      batches_from: see `input_pipeline.training_batches`; batches of `stage.batch_size` examples.

    Raises:
      UserError, Preempted: see `Session.end_step`.
    """
    optimizer = make_optimizer(net, stage, num_steps)
    train_step = make_train_step(net, loss_fn, optimizer, stage.accumulate)
    with Session(folders, num_steps, stage.checkpoint_every, net=net, optimizer=optimizer) as session:
        batches = iter(batches_from(session.step))
        while not session.done:
            batch = next(batches)
            loss, gradient_norm = train_step(batch)
            scalars = {"loss": loss, "gradient_norm": gradient_norm, "learning_rate": optimizer.learning_rate}
            session.end_step(scalars, batch["key"])


def make_train_step(
    net: tf.keras.Model, loss_fn: LossFn, optimizer: tf.keras.optimizers.Optimizer, accumulate: int = 1
) -> Callable[[dict[str, tf.Tensor]], tuple[tf.Tensor, tf.Tensor]]:
    """The compiled update: batch -> (mean loss, global gradient norm before clipping), float32 scalars.

    With `accumulate` > 1 the batch passes in that many parts and memory holds one part's activations at a time; sums
    and counts add up, so the update is that of the whole batch.
    """
    variables = net.trainable_variables

    def gradients_of(batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            total, count = loss_fn(net(batch["image"], training=True), batch)
        return total, count, tape.gradient(total, variables)

    @tf.function
    def train_step(batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        total, count, gradients = gradients_of(_part(batch, 0, accumulate))
        for index in range(1, accumulate):
            with tf.control_dependencies(gradients):  # one part after the other, or their activations pile up
                part = {name: tf.identity(value) for name, value in _part(batch, index, accumulate).items()}
            more_total, more_count, more = gradients_of(part)
            total, count = total + more_total, count + more_count
            gradients = [a + b for a, b in zip(gradients, more, strict=True)]
        count = tf.maximum(count, 1.0)  # a batch of void pixels only: gradient 0, not NaN
        gradients = [gradient / count for gradient in gradients]
        optimizer.apply_gradients(zip(gradients, variables, strict=True))  # clips by stage.clip_norm
        return total / count, tf.linalg.global_norm(gradients)

    return train_step


def _part(batch: dict[str, tf.Tensor], index: int, parts: int) -> dict[str, tf.Tensor]:
    return {name: value[index::parts] for name, value in batch.items()}
