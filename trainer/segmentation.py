"""Segmentation network: learns from human masks and weak labels alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from trainer.categories import Categories
from trainer.config import NetworkConfig, StageConfig
from trainer.loop import fit
from trainer.losses import Total, segmentation_loss
from trainer.models.large_fov import build_segmentation
from trainer.panels import segmentation_panel
from trainer.runtime import prepare
from trainer.session import RunFolders
from trainer.supervised import batches_of, num_steps


def train_segmentation(
    patterns: Sequence[str],
    categories: Categories,
    network: NetworkConfig,
    stage: StageConfig,
    folders: RunFolders,
    restore: Callable[[tf.keras.Model], None] | None = None,
) -> tf.keras.Model:
    """Trains the segmentation network on the masks of the images behind the TFRecord patterns (method section 2).

    `restore` sets the weights to begin with, for a warm start; None: ImageNet's, and a random head.
    """

    def loss(logits: tf.Tensor, batch: dict[str, tf.Tensor]) -> Total:
        return segmentation_loss(logits, batch["labels"])

    with prepare(network).scope():
        net = build_segmentation(network.backbone, categories.num_classes, network.weights, network.seed)
        if restore:
            restore(net)
        batches, steps = batches_of(patterns, categories, network, stage), num_steps(patterns, stage)
        fit(net, loss, batches, stage, steps, folders, segmentation_panel, network.xla)
    return net
