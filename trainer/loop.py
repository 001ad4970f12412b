"""The one supervised training loop: CAM classifier, L-Net and segmentation network all go through `fit`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from trainer.config import StageConfig
from trainer.curves import draw_curves
from trainer.errors import UserError
from trainer.optimizers import make_optimizer
from trainer.run_state import Checkpoints, History, Preempted, StopSignal

# Given the network's outputs and the batch: (sum of the loss, number of terms in it), both float32 scalars. Sums and
# counts add up over micro-batches and replicas; dividing once at the end makes all ways of splitting a batch equal.
LossFn = Callable[[tf.Tensor, dict[str, tf.Tensor]], tuple[tf.Tensor, tf.Tensor]]
BatchesFn = Callable[[int], tf.data.Dataset]

_LOG_EVERY = 10  # steps


@dataclass(frozen=True)
class RunFolders:
    """Where a training run writes.

    Attributes:
      name: what progress and curves are called.
      logs: history.csv, curves.png and TensorBoard events; kept with the model.
      checkpoints: state to resume from; the same run must find the same folder again.
    """

    name: str
    logs: str
    checkpoints: str


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
      batches_from: step -> batches beginning at that step (see `input_pipeline.training_batches`), each of
        `stage.batch_size` examples.

    Raises:
      UserError: the loss became NaN or infinite; names the step and the images of the batch.
      Preempted: SIGTERM or SIGINT; the state was saved.
    """
    optimizer = make_optimizer(net, stage, num_steps)
    step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
    checkpoints = Checkpoints(folders.checkpoints, net=net, optimizer=optimizer, step=step)
    checkpoints.restore()
    history = History(folders.logs, first_step=int(step))
    board = tf.summary.create_file_writer(folders.logs)
    train_step = make_train_step(net, loss_fn, optimizer, stage)

    batches = iter(batches_from(int(step)))
    bar = tqdm(total=num_steps, initial=int(step), desc=folders.name, unit="step", mininterval=1.0, dynamic_ncols=True)
    with StopSignal() as stop, bar:
        while int(step) < num_steps:
            batch = next(batches)
            loss, gradient_norm = train_step(batch)
            if not np.isfinite(float(loss)):
                raise UserError(nan_message(folders.name, int(step), batch["key"].numpy()))
            step.assign_add(1)
            done = int(step)
            bar.update()
            if done % _LOG_EVERY == 0 or done == num_steps:
                row = {
                    "step": done,
                    "loss": float(loss),
                    "gradient_norm": float(gradient_norm),
                    "learning_rate": float(optimizer.learning_rate),
                }
                history.append(row)
                bar.set_postfix(loss=f"{row['loss']:.3f}", refresh=False)
                with board.as_default(step=done):
                    for name in ("loss", "gradient_norm", "learning_rate"):
                        tf.summary.scalar(name, row[name])
            if done % stage.checkpoint_every == 0 or stop.raised:
                checkpoints.save(done)
            if stop.raised:
                raise Preempted(done)
    checkpoints.save(num_steps)
    draw_curves(history.path, folders.name)


def make_train_step(
    net: tf.keras.Model, loss_fn: LossFn, optimizer: tf.Module, stage: StageConfig
) -> Callable[[dict[str, tf.Tensor]], tuple[tf.Tensor, tf.Tensor]]:
    """The compiled update: batch -> (mean loss, global gradient norm before clipping), float32 scalars."""
    variables = net.trainable_variables

    def gradients_of(batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            total, count = loss_fn(net(batch["image"], training=True), batch)
        return total, count, tape.gradient(total, variables)

    @tf.function(jit_compile=False)
    def train_step(batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        total, count, gradients = gradients_of(micro_batch(batch, 0, stage.accumulate))
        for part in range(1, stage.accumulate):
            more_total, more_count, more = gradients_of(micro_batch(batch, part, stage.accumulate))
            total, count = total + more_total, count + more_count
            gradients = [a + b for a, b in zip(gradients, more, strict=True)]
        count = tf.maximum(count, 1.0)  # a batch of void pixels only: no update, not NaN
        gradients = [gradient / count for gradient in gradients]
        norm = tf.linalg.global_norm(gradients)
        if stage.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, stage.clip_norm, use_norm=norm)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return total / count, norm

    return train_step


def micro_batch(batch: dict[str, tf.Tensor], part: int, parts: int) -> dict[str, tf.Tensor]:
    """Every `parts`-th example from `part` on."""
    return batch if parts == 1 else {name: value[part::parts] for name, value in batch.items()}


def nan_message(name: str, step: int, keys: np.ndarray) -> str:
    """One line that names the step and the images of a batch whose loss is not a number."""
    images = ", ".join(key.decode() for key in keys)
    return (
        f"{name}: the loss became NaN or infinite at step {step} on images {images}; "
        "lower learning_rate or set clip_norm (the last checkpoint is kept)"
    )
