"""The supervised stages, and the one way to train them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter

import tensorflow as tf

from trainer.config import NetworkConfig, StageConfig, TrainingConfig
from trainer.data import keys
from trainer.data.categories import Categories
from trainer.data.input_pipeline import count_examples, record_files, training_batches
from trainer.losses import foreground_loss, segmentation_loss, tag_loss
from trainer.models.cam import build_cam
from trainer.models.large_fov import build_segmentation
from trainer.training.devices import prepare, resolve_xla
from trainer.training.loop import BatchesFn, InputsFn, LossFn, fit
from trainer.training.panels import Panel, activation_panel, foreground_panel, segmentation_panel
from trainer.training.replicas import input_share
from trainer.training.session import RunFolders


@dataclass(frozen=True)
class Stage:
    """What sets a supervised stage apart.

    Attributes:
      build: the network; called in the scope of the strategy.
      loss: the network's outputs and a batch -> (sum, count).
      panel: draws the network's predictions for TensorBoard.
      inputs: a batch -> what the network takes.
      excluded: categories -> ids; images tagged with one of them are passed over, whatever masks they have.
    """

    build: Callable[[NetworkConfig, Categories], tf.keras.Model]
    loss: LossFn
    panel: Panel | None = None
    inputs: InputsFn = itemgetter(keys.IMAGE)
    excluded: Callable[[Categories], Sequence[int]] = lambda _: ()


CAM = Stage(  # learns the tags of all images, so that its activation maps show where a category is (section 2)
    lambda network, categories: build_cam(network.backbone, len(categories.foreground), network.weights, network.seed),
    lambda outputs, batch: tag_loss(outputs[keys.SCORES], batch[keys.TAGS]),
    activation_panel,
)
L_NET = Stage(  # class-agnostic foreground, from the binarised masks of strong images; its logit's sigmoid is M (Eq. 1)
    lambda network, _: build_segmentation(network.backbone, 1, network.weights, network.seed),
    lambda logits, batch: foreground_loss(logits, batch[keys.LABELS]),
    foreground_panel,
    excluded=lambda categories: categories.weak_ids,
)
SEGMENTATION = Stage(  # learns from human masks and weak labels alike (section 2)
    lambda network, categories: build_segmentation(
        network.backbone, categories.num_classes, network.weights, network.seed
    ),
    lambda logits, batch: segmentation_loss(logits, batch[keys.LABELS]),
    segmentation_panel,
)


def train(
    stage: Stage,
    patterns: Sequence[str],
    categories: Categories,
    network: NetworkConfig,
    settings: StageConfig,
    folders: RunFolders,
    restore: Callable[[tf.keras.Model], None] | None = None,
) -> tf.keras.Model:
    """Trains the stage's network on the images behind the TFRecord patterns; a killed training continues.

    Args:
      patterns: of training examples, see trainer.data.features.
      categories: whose ids tags and masks hold.
      network: backbone, starting weights, image size, precision and seed.
      settings: length, batch and rates.
      folders: where logs and checkpoints are.
      restore: sets the weights to begin with, for a warm start; None: ImageNet's, and a random head.

    Returns:
      The network.

    Raises:
      UserError, Preempted: see `loop.fit`.
    """
    with prepare(network).scope():
        net = stage.build(network, categories)
        if restore:
            restore(net)
        excluded = stage.excluded(categories)
        steps = settings.steps or settings.num_steps(count_examples(record_files(patterns), excluded))
        batches = batches_of(patterns, categories, network, settings, excluded)
        xla = resolve_xla(network, steps)
        fit(net, stage.loss, batches, settings, steps, folders, stage.panel, xla, stage.inputs)
    return net


def batches_of(
    patterns: Sequence[str],
    categories: Categories,
    network: NetworkConfig,
    settings: TrainingConfig,
    excluded: Sequence[int] = (),
) -> BatchesFn:
    """A function from a step to the augmented batches that begin there; see `training_batches`."""
    files, share = record_files(patterns), input_share()
    return lambda start_step: training_batches(
        files,
        num_categories=len(categories.foreground),
        image_size=network.image_size,
        batch_size=settings.batch_size,
        seed=network.seed,
        scale=settings.scale,
        mirror=settings.mirror,
        colour_jitter=settings.colour_jitter,
        start_step=start_step,
        without=excluded,
        share=(share.number, share.index),
    )
