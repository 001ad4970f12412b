"""L-Net: class-agnostic foreground, learned from the binarised masks of the strong images (Eq. 1)."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from trainer.categories import Categories
from trainer.config import NetworkConfig, StageConfig
from trainer.loop import fit
from trainer.losses import Total, foreground_loss
from trainer.models.large_fov import build_segmentation
from trainer.panels import foreground_panel
from trainer.runtime import prepare
from trainer.session import RunFolders
from trainer.supervised import batches_of, num_steps


def train_l_net(
    patterns: Sequence[str], categories: Categories, network: NetworkConfig, stage: StageConfig, folders: RunFolders
) -> tf.keras.Model:
    """Trains L-Net on the strong images behind the TFRecord patterns; its one logit's sigmoid is the map M.

    Images tagged with a category that is weak in `categories` are passed over, whatever masks they have.
    """

    def loss(logits: tf.Tensor, batch: dict[str, tf.Tensor]) -> Total:
        return foreground_loss(logits, batch["labels"])

    with prepare(network).scope():
        net = build_segmentation(network.backbone, 1, network.weights, network.seed)
        weak = categories.weak_ids
        batches, steps = batches_of(patterns, categories, network, stage, weak), num_steps(patterns, stage, weak)
        fit(net, loss, batches, stage, steps, folders, foreground_panel, network.xla)
    return net
