"""TransferNet as steps: the network, then the labels of the weak images."""

from __future__ import annotations

from pathlib import Path

from components.image_example_gen.records import WEAK
from pipeline.experiment.steps import ExperimentSteps
from trainer.baselines.example_files import write_labels
from trainer.baselines.transfer_training import transfer_labels, transfer_net
from trainer.categories import Categories
from trainer.inference.looks import Look
from trainer.progress import progress


def labelled(networks: ExperimentSteps, categories: Categories) -> str:
    """TFRecord pattern of the weak images with labels by a TransferNet, trained as long as the segmentation network."""
    config, records = networks.config, networks.records(categories)
    weak = networks.split(categories, WEAK)
    stage, settings = transfer_net(config.network), config.segmentation
    trained = networks.supervised(
        "transfer_net", stage, list(records.values()), categories, settings, *(categories, settings)
    )

    def make(partial: Path) -> None:
        net = networks.load(stage, categories, trained)
        look = Look(size=config.network.image_size, native=settings.scale == "native")  # its attention has one size
        found = transfer_labels(net, [weak], len(categories.foreground), look)
        labels = dict(progress(found, desc="      TransferNet labels", unit="image"))
        write_labels([weak], labels, partial)

    return f"{networks.step('transfer_labels', make, trained.name)}/*.gz"
