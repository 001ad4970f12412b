"""P-Net stage: refines a trained segmentation network by adversarial training (Eq. 3-5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from trainer.config import AdversarialConfig, NetworkConfig
from trainer.data.categories import Categories
from trainer.data.input_pipeline import count_examples, record_files
from trainer.models.backbones import grid_size
from trainer.models.large_fov import build_segmentation
from trainer.models.p_net import build_p_net
from trainer.training.adversarial import fit_adversarial
from trainer.training.devices import prepare, resolve_xla
from trainer.training.session import RunFolders
from trainer.training.stages import batches_of


def refine_segmentation(
    strong_patterns: Sequence[str],
    all_patterns: Sequence[str],
    categories: Categories,
    network: NetworkConfig,
    settings: AdversarialConfig,
    folders: RunFolders,
    restore: Callable[[tf.keras.Model], None],
) -> tf.keras.Model:
    """Returns the refined segmentation network.

    Args:
      strong_patterns: TFRecords of strong images, for P-Net's pre-training.
      all_patterns: TFRecords of all images, with human masks or weak labels.
      restore: loads the trained segmentation network's weights into the network it is given.
    """
    with prepare(network).scope():
        net = build_segmentation(network.backbone, categories.num_classes, None, network.seed)
        restore(net)
        p_net = build_p_net(grid_size(network.image_size), categories.num_classes, network.seed)
        pretrain = settings.num_pretrain_steps(count_examples(record_files(strong_patterns)))
        joint = settings.num_steps(count_examples(record_files(all_patterns)))
        fit_adversarial(
            net,
            p_net,
            batches_of(strong_patterns, categories, network, settings),
            batches_of(all_patterns, categories, network, settings),
            settings,
            pretrain,
            joint,
            folders,
            resolve_xla(network, pretrain + joint),
        )
    return net
