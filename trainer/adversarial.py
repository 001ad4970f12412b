"""The one adversarial loop: P-Net alone on strong images, then P-Net and segmentation network together (Eq. 3-5)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import tensorflow as tf

from trainer.categories import VOID
from trainer.config import AdversarialConfig, StageConfig
from trainer.loop import BatchesFn
from trainer.losses import generator_loss, grid_labels, mean, p_net_loss, segmentation_loss
from trainer.models.p_net import encode_p_net_input
from trainer.optimizers import make_optimizer
from trainer.session import RunFolders, Session

_COLLAPSE_WINDOW = 200  # steps (open)


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
      UserError, Preempted: see `Session.end_step`.
    """
    segmentation_optimizer = make_optimizer(net, _stage(settings, settings.segmentation_learning_rate), num_joint)
    p_net_optimizer = make_optimizer(p_net, _stage(settings, settings.p_net_learning_rate), num_joint)
    p_net_step = make_p_net_step(net, p_net, p_net_optimizer, settings)
    segmentation_step = make_segmentation_step(net, p_net, segmentation_optimizer, settings)
    accuracies: deque[float] = deque(maxlen=_COLLAPSE_WINDOW)
    state = {"net": net, "p_net": p_net, "s_optimizer": segmentation_optimizer, "p_optimizer": p_net_optimizer}
    with Session(folders, num_pretrain + num_joint, settings.checkpoint_every, **state) as session:
        batches = None
        while not session.done:
            joint = session.step >= num_pretrain
            if batches is None or session.step == num_pretrain:
                position = session.step - num_pretrain if joint else session.step
                batches = iter(all_batches_from(position) if joint else strong_batches_from(position))
            batch = next(batches)
            for _ in range(settings.p_net_steps):
                p_loss, accuracy, p_norm = p_net_step(batch)
            cross_entropy, adversarial, norm = segmentation_step(batch) if joint else (0.0, 0.0, 0.0)
            scalars = {
                "p_net_accuracy": accuracy,
                "p_net_loss": p_loss,
                "p_net_gradient_norm": p_norm,
                "segmentation_loss": cross_entropy,
                "adversarial_loss": adversarial,
                "gradient_norm": norm,
            }
            session.end_step(scalars, batch["key"])
            accuracies.append(float(accuracy))
    pinned = collapsed(accuracies)
    if pinned is not None:
        tf.get_logger().warning(
            "%s: P-Net's accuracy stayed at %.1f over the last %d steps: it gives the segmentation network no signal; "
            "change p_net.weight or p_net.p_net_learning_rate",
            folders.name,
            pinned,
            len(accuracies),
        )


def make_p_net_step(
    net: tf.keras.Model, p_net: tf.keras.Model, optimizer: tf.keras.optimizers.Optimizer, settings: AdversarialConfig
) -> Callable[[dict[str, tf.Tensor]], tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
    """One P-Net update (Eq. 5): batch -> (loss, accuracy of real-against-predicted in 0..1, gradient norm)."""

    @tf.function
    def step(batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        predicted = tf.nn.softmax(net(batch["image"], training=False))
        real_input, fake_input = _p_net_inputs(batch, predicted)
        with tf.GradientTape() as tape:
            real, fake = p_net(real_input, training=True), p_net(fake_input, training=True)
            loss = mean(p_net_loss(real, fake, settings.label_smoothing))
        gradients = tape.gradient(loss, p_net.trainable_variables)
        optimizer.apply_gradients(zip(gradients, p_net.trainable_variables, strict=True))
        right = tf.concat([real > 0.0, fake <= 0.0], axis=0)
        return loss, tf.reduce_mean(tf.cast(right, tf.float32)), tf.linalg.global_norm(gradients)

    return step


def make_segmentation_step(
    net: tf.keras.Model, p_net: tf.keras.Model, optimizer: tf.keras.optimizers.Optimizer, settings: AdversarialConfig
) -> Callable[[dict[str, tf.Tensor]], tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
    """One update of the segmentation network (Eq. 4): batch -> (cross-entropy, adversarial loss, gradient norm)."""

    @tf.function
    def step(batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            logits = net(batch["image"], training=True)
            cross_entropy = mean(segmentation_loss(logits, batch["labels"]))
            _, fake_input = _p_net_inputs(batch, tf.nn.softmax(logits))
            adversarial = mean(generator_loss(p_net(fake_input, training=False)))
            loss = cross_entropy + settings.weight * adversarial
        gradients = tape.gradient(loss, net.trainable_variables)
        optimizer.apply_gradients(zip(gradients, net.trainable_variables, strict=True))
        return cross_entropy, adversarial, tf.linalg.global_norm(gradients)

    return step


def _p_net_inputs(batch: dict[str, tf.Tensor], predicted: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """P-Net's input for the ground truth and for the prediction, both [B, g, g, 3C], zero where void."""
    grid = predicted.shape[1]
    labels = grid_labels(batch["labels"], grid)
    valid = labels != VOID
    image = tf.image.resize(batch["image"], [grid, grid], antialias=True)
    truth = tf.one_hot(labels, predicted.shape[-1])
    return encode_p_net_input(image, truth, valid), encode_p_net_input(image, predicted, valid)


def collapsed(accuracies: deque[float]) -> float | None:
    """The value (0, .5 or 1) at which a full window of P-Net accuracies is pinned; None while it moves."""
    if len(accuracies) < (accuracies.maxlen or 1):
        return None
    pinned = [value for value in (0.0, 0.5, 1.0) if max(abs(a - value) for a in accuracies) < 0.01]
    return pinned[0] if pinned else None


def _stage(settings: AdversarialConfig, learning_rate: float) -> StageConfig:
    return StageConfig(
        batch_size=settings.batch_size,
        learning_rate=learning_rate,
        schedule="constant",
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        head_multiplier=settings.head_multiplier,
        clip_norm=settings.clip_norm,
    )
