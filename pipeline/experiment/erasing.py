"""Adversarial erasing as steps: a classifier a round, regions, painted-over images, at last the labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from components.image_example_gen.records import STRONG, WEAK
from pipeline.experiment.steps import ExperimentSteps
from trainer.baselines.adversarial_erasing import (
    ROUNDS,
    Activated,
    activations_of,
    best_cut,
    read_regions,
    united,
    with_saliency,
    write_erased,
    write_regions,
)
from trainer.baselines.example_files import read_examples, write_labels
from trainer.data.categories import Categories
from trainer.data.features import image_of, key_of
from trainer.graphs import graph_function
from trainer.inference.looks import Look
from trainer.inference.one_image import predict_on_pixels
from trainer.threads import in_threads
from trainer.training.stages import CAM, L_NET


def labelled(networks: ExperimentSteps, categories: Categories, saliency: bool = False) -> str:
    """TFRecord pattern of the weak images with labels by adversarial erasing.

    The cut of the activation maps is the one with the highest mIoU on strong images, whose masks are known.

    Args:
      saliency: take the background from L-Net's map M, as AE's authors take it from a saliency network, which was
        trained on masks too.
    """
    everything = networks.everything(categories)
    strong, weak = (networks.split(categories, name) for name in (STRONG, WEAK))
    patterns, regions, cut = everything, [], None
    for number in range(ROUNDS):
        cam = networks.cam(categories, None if number == 0 else patterns)
        if cut is None:
            cut = _cut(networks, cam, strong, categories)
        regions.append(_regions(networks, cam, categories, patterns, cut, number))
        if number < ROUNDS - 1:
            patterns = [_erased(networks, everything, regions)]

    def make(partial: Path) -> None:
        labels = _union(regions)
        if saliency:
            net = networks.load(L_NET, categories, networks.l_net(categories))
            labels = dict(_with_saliency(net, weak, labels, networks.config.look("l_net").one_view))
        write_labels([weak], labels, partial)

    learned = [networks.config.l_net, networks.config.look("l_net").one_view] if saliency else []
    folder = networks.step("ae_labels", make, categories, [folder.name for folder in regions], *learned)
    return f"{folder}/*.gz"


def _with_saliency(
    l_net: tf.keras.Model, weak: str, regions: dict[str, np.ndarray], look: Look
) -> Iterator[tuple[str, np.ndarray]]:
    objectness_of = graph_function(lambda x: tf.sigmoid(tf.cast(l_net(x, training=False), tf.float32)))

    def label(example: tf.train.Example) -> tuple[str, np.ndarray]:
        key = key_of(example)
        _, objectness = predict_on_pixels(objectness_of, image_of(example), look)
        return key, with_saliency(regions[key], objectness.numpy()[..., 0])

    return in_threads(label, (example for example in read_examples([weak]) if key_of(example) in regions))


def _cut(networks: ExperimentSteps, cam: Path, strong: str, categories: Categories) -> float:
    def make(partial: Path) -> None:
        net = networks.load(CAM, categories, cam)
        pairs = activations_of(net, [strong], networks.config.look("cam").one_view)
        (partial / "cut.txt").write_text(str(best_cut(pairs, Activated.region, categories.num_classes)))

    identity = (categories, networks.config.cam, networks.config.look("cam").one_view)
    return float((networks.step("ae_cut", make, *identity) / "cut.txt").read_text())


def _regions(
    networks: ExperimentSteps, cam: Path, categories: Categories, seen: list[str], cut: float, number: int
) -> Path:
    """Regions of all images in the round's classifier, which looks at the images as it has learned them."""

    def make(partial: Path) -> None:
        net = networks.load(CAM, categories, cam)
        found: dict[str, np.ndarray] = {}
        for example in activations_of(net, seen, networks.config.look("cam").one_view):
            found[example.key] = example.region(cut)
        write_regions(partial, found)

    look = networks.config.look("cam").one_view
    return networks.step("ae_regions", make, networks.within(seen), cut, number, networks.config.cam, look)


def _erased(networks: ExperimentSteps, everything: list[str], regions: list[Path]) -> str:
    def make(partial: Path) -> None:
        write_erased(everything, _union(regions), partial)

    return f"{networks.step('ae_erased', make, [folder.name for folder in regions])}/*.gz"


def _union(regions: list[Path]) -> dict[str, np.ndarray]:
    rounds = [read_regions(folder) for folder in regions]
    return {key: united([one[key] for one in rounds]) for key in rounds[0]}
