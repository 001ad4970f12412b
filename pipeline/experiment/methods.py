"""The methods of Table 2: each trains the same segmentation network, and says which steps it took."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from components.image_example_gen.records import STRONG, WEAK
from pipeline.experiment import erasing
from pipeline.experiment.steps import ExperimentSteps, all_strong
from trainer.baselines.example_files import write_labels
from trainer.baselines.transfer_training import transfer_labels, transfer_net
from trainer.baselines.wssl import wssl as by_adaptive_em
from trainer.data.categories import Categories
from trainer.errors import UserError
from trainer.inference.looks import Look
from trainer.progress import progress
from trainer.training.refinement import refine_segmentation
from trainer.training.stages import SEGMENTATION

Method = Callable[[ExperimentSteps, Categories], Path]  # -> the folder of the trained segmentation network


def full(networks: ExperimentSteps, categories: Categories) -> Path:
    """Masks of all categories, which every training image must have: the upper bound, one network for all splits."""
    everything = all_strong(categories)
    try:
        records = networks.split(everything, STRONG)
    except UserError as error:
        raise UserError(f"--methods full needs a mask of every training image: {error}") from None
    return _segmentation(networks, everything, [records])


def strong_only(networks: ExperimentSteps, categories: Categories) -> Path:
    """The strong images alone; the weak categories are never seen."""
    return _segmentation(networks, categories, [networks.split(categories, STRONG)])


def wssl(networks: ExperimentSteps, categories: Categories) -> Path:
    """Masks of strong images, tags of weak ones by adaptive EM."""
    records, config = list(networks.records(categories).values()), networks.config
    stage = by_adaptive_em(categories, config.network.seed)
    return networks.supervised(
        "wssl", stage, records, categories, config.segmentation, *(categories, config.segmentation)
    )


def labelled_by(label: Callable[[ExperimentSteps, Categories], str]) -> Method:
    """Masks of strong images, weak ones as `label` labels them: the TFRecord pattern of these."""
    return lambda networks, categories: _segmentation(
        networks, categories, [networks.split(categories, STRONG), label(networks, categories)]
    )


def _segmentation(networks: ExperimentSteps, categories: Categories, records: list[str]) -> Path:
    settings = networks.config.segmentation
    identity = (categories.foreground, settings, networks.within(records))
    return networks.supervised("segmentation", SEGMENTATION, records, categories, settings, *identity)


def _refined(networks: ExperimentSteps, categories: Categories, pretrain: bool) -> Path:
    config = networks.config
    records = [networks.split(categories, STRONG), networks.labelled(categories)]
    settings = config.p_net.model_copy(update={"pretrain": pretrain})
    start = _segmentation(networks, categories, records)
    return networks.trained(
        "p_net",
        lambda folders: refine_segmentation(
            records[:1],
            records,
            categories,
            config.network,
            settings,
            folders,
            restore=lambda net: net.load_weights(str(start / "net.weights.h5")),
        ),
        *(start.name, settings),
    )


def _by_transfer_net(networks: ExperimentSteps, categories: Categories) -> str:
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


METHODS: dict[str, Method] = {
    "full": full,
    "strong-only": strong_only,
    "wssl": wssl,
    "ae": labelled_by(erasing.labelled),
    "ae-saliency": labelled_by(partial(erasing.labelled, saliency=True)),  # background by L-Net's map, not AE's own
    "transfernet": labelled_by(_by_transfer_net),
    "l-net": labelled_by(ExperimentSteps.labelled),
    "p-net": partial(_refined, pretrain=True),
    "p-net-direct": partial(_refined, pretrain=False),
}
