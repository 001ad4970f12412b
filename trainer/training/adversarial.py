"""The one adversarial loop: P-Net alone on strong images, then P-Net and segmentation network together (Eq. 3-5)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import tensorflow as tf

from trainer.config import AdversarialConfig, StageConfig
from trainer.data import keys
from trainer.data.categories import VOID
from trainer.graphs import graph_function
from trainer.losses import generator_loss, grid_labels, p_net_loss, segmentation_loss
from trainer.models.backbones import grid_size
from trainer.models.p_net import encode_p_net_input
from trainer.models.xla import building_for_xla
from trainer.training.loop import BatchesFn
from trainer.training.optimizers import apply_gradients, make_optimizer, scaled_gradients
from trainer.training.panels import segmentation_panel
from trainer.training.replicas import Batch, add_up, check_batch_size, on_replicas, spread
from trainer.training.session import RunFolders, Session

COLLAPSE_WINDOW = 200  # steps (our choice)

Step = Callable[[Batch], tuple[tf.Tensor, tf.Tensor, tf.Tensor]]


def fit_adversarial(
    net: tf.keras.Model,
    p_net: tf.keras.Model,
    strong_batches_from: BatchesFn,
    all_batches_from: BatchesFn,
    settings: AdversarialConfig,
    num_pretrain: int,
    num_joint: int,
    folders: RunFolders,
    xla: bool = False,
) -> None:
    """Trains `net` and `p_net` in place, resuming from the newest checkpoint if there is one.

    Call it in the scope of the strategy that both were built in.

    Args:
      strong_batches_from: step -> batches of strong images, for the first `num_pretrain` P-Net-only updates.
      all_batches_from: step -> batches of all images (human masks and weak labels), for `num_joint` joint updates.
      xla: compile the updates with XLA.

    Raises:
      UserError, Preempted: see `Session.end_step`; UserError also if the batch does not divide over the devices.
    """
    check_batch_size(settings.batch_size, settings.accumulate)
    segmentation_optimizer = make_optimizer(net, _stage(settings, settings.segmentation_learning_rate), num_joint)
    p_net_optimizer = make_optimizer(p_net, _stage(settings, settings.p_net_learning_rate), num_joint)
    p_net_step = make_p_net_step(net, p_net, p_net_optimizer, settings, xla)
    segmentation_step = make_segmentation_step(net, p_net, segmentation_optimizer, settings, xla)
    accuracies: deque[float] = deque(maxlen=COLLAPSE_WINDOW)
    state = {"net": net, "p_net": p_net, "s_optimizer": segmentation_optimizer, "p_optimizer": p_net_optimizer}
    with Session(folders, num_pretrain + num_joint, settings.checkpoint_every, **state) as session:
        batches, pinned = None, None
        while not session.done:
            joint = session.step >= num_pretrain
            if batches is None or session.step == num_pretrain:
                position = session.step - num_pretrain if joint else session.step
                batches = iter(spread(all_batches_from(position) if joint else strong_batches_from(position)))
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
            for row in session.end_step(scalars, batch[keys.KEY]):
                accuracies.append(row["p_net_accuracy"])
                if pinned is None and (pinned := collapsed(accuracies)) is not None:
                    session.warn(
                        f"P-Net's accuracy stayed at {pinned:.1f} for {COLLAPSE_WINDOW} steps, at step {row['step']}: "
                        "it gives the segmentation network no signal; change p_net.weight or p_net.p_net_learning_rate"
                    )
            if session.saved:
                session.show(segmentation_panel, net, batch)


def make_p_net_step(
    net: tf.keras.Model,
    p_net: tf.keras.Model,
    optimizer: tf.keras.optimizers.Optimizer,
    settings: AdversarialConfig,
    xla: bool = False,
) -> Step:
    """One P-Net update (Eq. 5): batch -> (loss, accuracy of real-against-predicted in 0..1, gradient norm)."""
    variables = p_net.trainable_variables

    @graph_function(jit_compile=xla or None)
    def gradients_of(batch: Batch) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        with building_for_xla(xla):
            predicted = tf.nn.softmax(net(batch[keys.IMAGE], training=False))
        with tf.GradientTape() as tape, building_for_xla(xla):
            real = p_net(_truth_input(batch, predicted), training=True)
            fake = p_net(_predicted_input(batch, predicted), training=True)
            total, count = p_net_loss(real, fake, settings.label_smoothing)
            mean = total / count
        right = tf.cast(tf.concat([real > 0.0, fake <= 0.0], axis=0), tf.float32)
        gradients = scaled_gradients(optimizer, tape, mean, variables)
        return total, tf.reduce_sum(right), count, [gradient * count for gradient in gradients]

    def step(batch: Batch) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        total, right, count, gradients = add_up(gradients_of, batch, settings.accumulate)
        norm = apply_gradients(optimizer, [gradient / count for gradient in gradients], variables)
        return total / count, right / (2.0 * count), norm

    return on_replicas(step, _with_thumbnails, xla, settings.accumulate)


def make_segmentation_step(
    net: tf.keras.Model,
    p_net: tf.keras.Model,
    optimizer: tf.keras.optimizers.Optimizer,
    settings: AdversarialConfig,
    xla: bool = False,
) -> Step:
    """One update of the segmentation network (Eq. 4): batch -> (cross-entropy, adversarial loss, gradient norm)."""
    variables = net.trainable_variables

    @graph_function(jit_compile=xla or None)
    def gradients_of(batch: Batch, cells: tf.Tensor, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        """Of one part; `cells` and `images` count the whole batch, so that parts and replicas only need adding up."""
        with tf.GradientTape() as tape, building_for_xla(xla):
            logits = net(batch[keys.IMAGE], training=True)
            cross_entropy = segmentation_loss(logits, batch[keys.LABELS])[0] / cells
            fake = p_net(_predicted_input(batch, tf.nn.softmax(logits)), training=False)
            adversarial = generator_loss(fake)[0] / images
            loss = cross_entropy + settings.weight * adversarial
        return cross_entropy, adversarial, scaled_gradients(optimizer, tape, loss, variables)

    def step(batch: Batch) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        cells, images = add_up(_counts, batch, 1)
        cells = tf.maximum(cells, 1.0)  # a batch of void pixels only: gradient 0, not NaN
        sums = add_up(lambda part: gradients_of(part, cells, images), batch, settings.accumulate)
        cross_entropy, adversarial, gradients = sums
        return cross_entropy, adversarial, apply_gradients(optimizer, gradients, variables)

    return on_replicas(step, _with_thumbnails, xla, settings.accumulate)


def _with_thumbnails(batch: Batch) -> Batch:
    """The batch's numbers, with the images shrunk to the logits' size (XLA can neither shrink nor take strings)."""
    return {keys.IMAGE: batch[keys.IMAGE], keys.LABELS: batch[keys.LABELS], "thumbnail": shrunk(batch[keys.IMAGE])}


def shrunk(images: tf.Tensor) -> tf.Tensor:
    """float32 [B, S, S, 3] -> [B, g, g, 3], without aliasing; cell i lies on pixel i (S - 1) / (g - 1), as logits do.

    `tf.image.resize` would put it half a cell further in at the borders.
    """
    side = images.shape[1]
    grid = grid_size(side)
    scale = (grid - 1) / (side - 1)
    return tf.raw_ops.ScaleAndTranslate(
        images=images,
        size=[grid, grid],
        scale=[scale, scale],
        translation=[(1 - scale) / 2] * 2,  # middles of pixels are at i + .5
        kernel_type="triangle",
        antialias=True,
    )


def _counts(batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
    """(grid cells that are not void, images), float32."""
    valid = grid_labels(batch[keys.LABELS], grid_size(batch[keys.IMAGE].shape[1])) != VOID
    return tf.reduce_sum(tf.cast(valid, tf.float32)), tf.cast(tf.shape(valid)[0], tf.float32)


def _truth_input(batch: Batch, predicted: tf.Tensor) -> tf.Tensor:
    """P-Net's input for the ground truth: float32 [B, g, g, 3C], zero where void."""
    labels = grid_labels(batch[keys.LABELS], predicted.shape[1])
    return encode_p_net_input(batch["thumbnail"], tf.one_hot(labels, predicted.shape[-1]), labels != VOID)


def _predicted_input(batch: Batch, predicted: tf.Tensor) -> tf.Tensor:
    """P-Net's input for a prediction, softmax [B, g, g, C]: float32 [B, g, g, 3C], zero where the truth is void."""
    labels = grid_labels(batch[keys.LABELS], predicted.shape[1])
    return encode_p_net_input(batch["thumbnail"], predicted, labels != VOID)


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
