"""CAM classifier: learns the tags of all training images, so that its activation maps show where a category is."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from trainer.categories import Categories
from trainer.config import NetworkConfig, StageConfig
from trainer.loop import fit
from trainer.losses import Total, tag_loss
from trainer.models.cam import build_cam
from trainer.panels import activation_panel
from trainer.runtime import prepare
from trainer.session import RunFolders
from trainer.supervised import batches_of, num_steps


def train_cam(
    patterns: Sequence[str], categories: Categories, network: NetworkConfig, stage: StageConfig, folders: RunFolders
) -> tf.keras.Model:
    """Fine-tunes the classifier on the tags of every image behind the TFRecord patterns (method section 2)."""

    def loss(outputs: dict[str, tf.Tensor], batch: dict[str, tf.Tensor]) -> Total:
        return tag_loss(outputs["scores"], batch["tags"])

    with prepare(network).scope():
        net = build_cam(network.backbone, len(categories.foreground), network.weights, network.seed)
        batches, steps = batches_of(patterns, categories, network, stage), num_steps(patterns, stage)
        fit(net, loss, batches, stage, steps, folders, activation_panel, network.xla)
    return net
