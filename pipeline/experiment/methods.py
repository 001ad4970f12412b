"""The methods of Table 2: each trains the same segmentation network, and says which steps it took."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from components.image_example_gen.records import STRONG
from pipeline.experiment import erasing, transferring
from pipeline.experiment.steps import ExperimentSteps, all_strong
from trainer.baselines.wssl import wssl as by_adaptive_em
from trainer.categories import Categories
from trainer.errors import UserError
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


def adversarial_erasing(networks: ExperimentSteps, categories: Categories) -> Path:
    """Masks of strong images, weak ones labelled by adversarial erasing."""
    labels = erasing.labelled(networks, categories)
    return _segmentation(networks, categories, [networks.split(categories, STRONG), labels])


def erasing_with_saliency(networks: ExperimentSteps, categories: Categories) -> Path:
    """As `adversarial_erasing`, with the background of L-Net's map in place of AE's saliency network."""
    labels = erasing.labelled(networks, categories, saliency=True)
    return _segmentation(networks, categories, [networks.split(categories, STRONG), labels])


def transfernet(networks: ExperimentSteps, categories: Categories) -> Path:
    """Masks of strong images, weak ones labelled by TransferNet."""
    labels = transferring.labelled(networks, categories)
    return _segmentation(networks, categories, [networks.split(categories, STRONG), labels])


def l_net(networks: ExperimentSteps, categories: Categories) -> Path:
    """Masks of strong images, weak ones labelled by L-Net, CAM and self-diffusion."""
    return _segmentation(networks, categories, _with_labels(networks, categories))


def p_net(networks: ExperimentSteps, categories: Categories) -> Path:
    """The network of `l_net`, refined with a P-Net that was pre-trained on strong images."""
    return _refined(networks, categories, pretrain=True)


def p_net_direct(networks: ExperimentSteps, categories: Categories) -> Path:
    """As `p_net`, without pre-training."""
    return _refined(networks, categories, pretrain=False)


METHODS: dict[str, Method] = {
    "full": full,
    "strong-only": strong_only,
    "wssl": wssl,
    "ae": adversarial_erasing,
    "ae-saliency": erasing_with_saliency,
    "transfernet": transfernet,
    "l-net": l_net,
    "p-net": p_net,
    "p-net-direct": p_net_direct,
}


def _with_labels(networks: ExperimentSteps, categories: Categories) -> list[str]:
    return [networks.split(categories, STRONG), networks.labelled(categories)]


def _segmentation(networks: ExperimentSteps, categories: Categories, records: list[str]) -> Path:
    settings = networks.config.segmentation
    identity = (categories.foreground, settings, networks.within(records))
    return networks.supervised("segmentation", SEGMENTATION, records, categories, settings, *identity)


def _refined(networks: ExperimentSteps, categories: Categories, pretrain: bool) -> Path:
    config, records = networks.config, _with_labels(networks, categories)
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
