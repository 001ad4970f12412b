"""TransferNet as steps: the network, then the labels of the weak images."""

from __future__ import annotations

from pathlib import Path

from components.image_example_gen.records import WEAK
from pipeline.experiment.networks import Networks
from trainer.baselines.example_files import write_labels
from trainer.baselines.transfer_net import check_size, train_transfer_net, transfer_labels
from trainer.categories import Categories
from trainer.looks import Look
from trainer.models.transfer_net import build_transfer_net
from trainer.progress import progress


def labelled(networks: Networks, categories: Categories) -> str:
    """TFRecord pattern of the weak images with labels by a TransferNet, trained as long as the segmentation network."""
    config, records = networks.config, networks.records(categories)
    weak = networks.split(categories, WEAK)
    check_size(config.network.image_size)
    trained = networks.trained(
        "transfer_net",
        lambda folders: train_transfer_net(
            list(records.values()), categories, config.network, config.segmentation, folders
        ),
        *(categories, config.segmentation),
    )

    def make(partial: Path) -> None:
        number = len(categories.foreground)
        net = networks.load(
            lambda: build_transfer_net(config.network.backbone, number, None, config.network.seed), trained
        )
        look = Look(
            size=config.network.image_size, native=config.segmentation.scale == "native"
        )  # its attention has one size
        found = transfer_labels(net, [weak], number, look)
        labels = dict(progress(found, desc="      TransferNet labels", unit="image"))
        write_labels([weak], labels, partial)

    return f"{networks.step('transfer_labels', make, trained.name)}/*.gz"
