"""The one adversarial loop: P-Net pre-training on strong images, then P-Net and segmentation network together (Eq. 3-5)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from trainer.config import AdversarialConfig, StageConfig
from trainer.curves import draw_curves
from trainer.errors import UserError
from trainer.loop import BatchesFn, RunFolders, nan_message
from trainer.losses import generator_loss, grid_labels, p_net_loss, segmentation_loss
from trainer.models.p_net import encode_p_net_input
from trainer.optimizers import make_optimizer
from trainer.run_state import Checkpoints, History, Preempted, StopSignal

_LOG_EVERY = 10  # steps
_COLLAPSE_WINDOW = 20  # logged rows (open)


def fit_adversarial(
    net: tf.keras.Model,
    p_net: tf.keras.Model,
    strong_batches_from: BatchesFn,
    all_batches_from: BatchesFn,
    settings: AdversarialConfig,
    num_pretrain: int,
    num_joint: int,
    folders: RunFolders,
) -> None:
    """Trains `net` and `p_net` in place, resuming from the newest checkpoint if there is one.

    Args:
      strong_batches_from: step -> batches of strong images, for the first `num_pretrain` P-Net-only updates.
      all_batches_from: step -> batches of all images (human masks and weak labels), for `num_joint` joint updates.

    Raises:
      UserError: a loss became NaN or infinite; names the step and the images.
      Preempted: SIGTERM or SIGINT; the state was saved.
    """
    segmentation_optimizer = make_optimizer(net, _stage(settings, settings.segmentation_learning_rate), num_joint)
    p_net_optimizer = make_optimizer(p_net, _stage(settings, settings.p_net_learning_rate, head_multiplier=1.0), num_joint)
    step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
    checkpoints = Checkpoints(
        folders.checkpoints,
        net=net,
        p_net=p_net,
        segmentation_optimizer=segmentation_optimizer,
        p_net_optimizer=p_net_optimizer,
        step=step,
    )
    checkpoints.restore()
    history = History(folders.logs, first_step=int(step))
    board = tf.summary.create_file_writer(folders.logs)
    p_net_step = make_p_net_step(net, p_net, p_net_optimizer, settings)
    segmentation_step = make_segmentation_step(net, p_net, segmentation_optimizer, settings)

    total = num_pretrain + num_joint
    batches = None
    accuracies: deque[float] = deque(maxlen=_COLLAPSE_WINDOW)
    bar = tqdm(total=total, initial=int(step), desc=folders.name, unit="step", mininterval=1.0, dynamic_ncols=True)
    with StopSignal() as stop, bar:
        while int(step) < total:
            position = int(step)
            joint = position >= num_pretrain
            if batches is None or position == num_pretrain:
                source = all_batches_from(position - num_pretrain) if joint else strong_batches_from(position)
                batches = iter(source)
            batch = next(batches)
            for _ in range(settings.p_net_steps):
                p_loss, accuracy, p_norm = p_net_step(batch)
            row = {"step": position + 1, "p_net_loss": p_loss, "p_net_accuracy": accuracy, "p_net_gradient_norm": p_norm}
            names = ("segmentation_loss", "adversarial_loss", "gradient_norm")
            row.update(zip(names, segmentation_step(batch) if joint else (0.0, 0.0, 0.0), strict=True))
            row = {name: float(value) for name, value in row.items()}
            if not np.isfinite([row["p_net_loss"], row["segmentation_loss"]]).all():
                raise UserError(nan_message(folders.name, position, batch["key"].numpy()))
            step.assign_add(1)
            done = position + 1
            bar.update()
            if done % _LOG_EVERY == 0 or done == total:
                history.append(row)
                accuracies.append(row["p_net_accuracy"])
                bar.set_postfix(p_net_accuracy=f"{row['p_net_accuracy']:.2f}", refresh=False)
                with board.as_default(step=done):
                    for name, value in row.items():
                        tf.summary.scalar(name, value)
            if done % settings.checkpoint_every == 0 or stop.raised:
                checkpoints.save(done)
            if stop.raised:
                raise Preempted(done)
    collapse = collapsed(accuracies)
    if collapse is not None:
        tf.get_logger().warning(
            "%s: P-Net's accuracy stayed at %.1f over the last %d log lines: it gives the segmentation network no "
            "signal; change p_net.weight or p_net.p_net_learning_rate",
            folders.name,
            collapse,
            len(accuracies),
        )
    checkpoints.save(total)
    draw_curves(history.path, folders.name)


def make_p_net_step(
    net: tf.keras.Model, p_net: tf.keras.Model, optimizer: tf.Module, settings: AdversarialConfig
) -> Callable[[dict[str, tf.Tensor]], tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
    """One P-Net update (Eq. 5): batch -> (loss, accuracy of real-against-predicted in 0..1, gradient norm)."""

    @tf.function
    def step(batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        predicted = tf.nn.softmax(net(batch["image"], training=False))
        real_input, fake_input = _p_net_inputs(batch, predicted)
        with tf.GradientTape() as tape:
            real, fake = p_net(real_input, training=True), p_net(fake_input, training=True)
            loss = p_net_loss(real, fake, settings.label_smoothing)
        gradients = tape.gradient(loss, p_net.trainable_variables)
        optimizer.apply_gradients(zip(gradients, p_net.trainable_variables, strict=True))
        right = tf.concat([real > 0.0, fake <= 0.0], axis=0)
        return loss, tf.reduce_mean(tf.cast(right, tf.float32)), tf.linalg.global_norm(gradients)

    return step


def make_segmentation_step(
    net: tf.keras.Model, p_net: tf.keras.Model, optimizer: tf.Module, settings: AdversarialConfig
) -> Callable[[dict[str, tf.Tensor]], tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
    """One update of the segmentation network (Eq. 4): batch -> (cross-entropy, adversarial loss, gradient norm)."""

    @tf.function
    def step(batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            logits = net(batch["image"], training=True)
            total, count = segmentation_loss(logits, batch["labels"])
            cross_entropy = total / tf.maximum(count, 1.0)
            _, fake_input = _p_net_inputs(batch, tf.nn.softmax(logits))
            adversarial = generator_loss(p_net(fake_input, training=False))
            loss = cross_entropy + settings.weight * adversarial
        gradients = tape.gradient(loss, net.trainable_variables)
        norm = tf.linalg.global_norm(gradients)
        if settings.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, settings.clip_norm, use_norm=norm)
        optimizer.apply_gradients(zip(gradients, net.trainable_variables, strict=True))
        return cross_entropy, adversarial, norm

    return step


def _p_net_inputs(batch: dict[str, tf.Tensor], predicted: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """P-Net's input for the ground truth and for the prediction, both [B, g, g, 3C], zero where void."""
    grid = predicted.shape[1]
    labels = grid_labels(batch["labels"], grid)
    valid = tf.cast(labels != 255, tf.float32)
    image = tf.image.resize(batch["image"], [grid, grid], antialias=True)
    truth = tf.one_hot(tf.cast(labels, tf.int32), predicted.shape[-1])
    return encode_p_net_input(image, truth, valid), encode_p_net_input(image, predicted, valid)


def collapsed(accuracies: deque[float]) -> float | None:
    """The value (0, .5 or 1) at which a full window of P-Net accuracies is pinned; None while it moves."""
    if len(accuracies) < (accuracies.maxlen or 1):
        return None
    pinned = [value for value in (0.0, 0.5, 1.0) if max(abs(a - value) for a in accuracies) < 0.01]
    return pinned[0] if pinned else None


def _stage(settings: AdversarialConfig, learning_rate: float, head_multiplier: float | None = None) -> StageConfig:
    return StageConfig(
        batch_size=settings.batch_size,
        learning_rate=learning_rate,
        schedule="constant",
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        head_multiplier=settings.head_multiplier if head_multiplier is None else head_multiplier,
    )
