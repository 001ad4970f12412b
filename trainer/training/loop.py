"""The one supervised training loop: CAM classifier, L-Net and segmentation network all go through `fit`."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter

import tensorflow as tf

from trainer.config import StageConfig
from trainer.data import keys
from trainer.graphs import graph_function
from trainer.losses import Total
from trainer.models.backbones import freeze_backbone
from trainer.models.xla import building_for_xla
from trainer.training.optimizers import apply_gradients, make_optimizer, scaled_gradients
from trainer.training.panels import Panel
from trainer.training.replicas import Batch, add_up, check_batch_size, on_replicas, spread
from trainer.training.session import RunFolders, Session

LossFn = Callable[..., Total]  # the network's outputs and the batch -> the loss as (sum, count)
InputsFn = Callable[[Batch], object]
BatchesFn = Callable[[int], tf.data.Dataset]  # step -> batches beginning at that step


def fit(
    net: tf.keras.Model,
    loss_fn: LossFn,
    batches_from: BatchesFn,
    stage: StageConfig,
    num_steps: int,
    folders: RunFolders,
    panel: Panel | None = None,
    xla: bool = False,
    inputs: InputsFn = itemgetter(keys.IMAGE),
) -> None:
    """Trains `net` in place for `num_steps` updates, resuming from the newest checkpoint if there is one.

    Call it in the scope of the strategy that `net` was built in.

    Args:
      batches_from: see `input_pipeline.training_batches`; batches of `stage.batch_size` examples.
      panel: draws the network's prediction for TensorBoard, at every checkpoint.
      xla: compile the update with XLA.
      inputs: a batch -> what `net` takes; by default its images.

    Raises:
      UserError, Preempted: see `Session.end_step`; UserError also if the batch does not divide over the devices.
    """
    check_batch_size(stage.batch_size, stage.accumulate)
    if stage.freeze_backbone:
        freeze_backbone(net)
    optimizer = make_optimizer(net, stage, num_steps)
    train_step = make_train_step(net, loss_fn, optimizer, stage.accumulate, xla, inputs)
    with Session(folders, num_steps, stage.checkpoint_every, net=net, optimizer=optimizer) as session:
        batches = iter(spread(batches_from(session.step)))
        while not session.done:
            batch = next(batches)
            loss, gradient_norm = train_step(batch)
            rate = tf.identity(optimizer.learning_rate)  # the variable's value now
            scalars = {"loss": loss, "gradient_norm": gradient_norm, "learning_rate": rate}
            session.end_step(scalars, batch[keys.KEY])
            if panel is not None and session.saved:
                session.show(panel, net, batch)


def make_train_step(
    net: tf.keras.Model,
    loss_fn: LossFn,
    optimizer: tf.keras.optimizers.Optimizer,
    accumulate: int = 1,
    xla: bool = False,
    inputs: InputsFn = itemgetter(keys.IMAGE),
) -> Callable[[Batch], tuple[tf.Tensor, tf.Tensor]]:
    """The compiled update: batch -> (mean loss, global gradient norm before clipping), float32 scalars.

    With `accumulate` > 1 the batch passes in that many parts and memory holds one part's activations at a time; sums
    and counts add up, so the update is that of the whole batch.
    """
    variables = net.trainable_variables

    @graph_function(jit_compile=xla or None)
    def gradients_of(batch: Batch) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape, building_for_xla(xla):
            total, count = loss_fn(net(inputs(batch), training=True), batch)
            mean = total / tf.maximum(count, 1.0)  # gradients of a sum would overflow float16
        gradients = scaled_gradients(optimizer, tape, mean, variables)
        return total, count, [gradient * count for gradient in gradients]

    def train_step(batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        total, count, gradients = add_up(gradients_of, batch, accumulate)
        count = tf.maximum(count, 1.0)  # a batch of void pixels only: gradient 0, not NaN
        norm = apply_gradients(optimizer, [gradient / count for gradient in gradients], variables)
        return total / count, norm

    return on_replicas(train_step, xla=xla, parts=accumulate)
