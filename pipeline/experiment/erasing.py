"""Adversarial erasing as steps: a classifier a round, regions, painted-over images, at last the labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from components.image_example_gen.records import STRONG, WEAK
from pipeline.experiment.networks import Networks
from trainer.baselines.adversarial_erasing import (
    ROUNDS,
    activations_of,
    best_cut,
    read_regions,
    region_ids,
    united,
    write_erased,
    write_regions,
)
from trainer.baselines.example_files import write_labels
from trainer.categories import Categories


def labelled(networks: Networks, categories: Categories) -> str:
    """TFRecord pattern of the weak images with labels by adversarial erasing.

    The cut of the activation maps is the one with the highest mIoU on strong images, whose masks are known.
    """
    everything = networks.everything(categories)
    strong, weak = (networks.split(categories, name) for name in (STRONG, WEAK))
    patterns, regions, cut = everything, [], None
    for number in range(ROUNDS):
        cam = networks.cam(categories, None if number == 0 else patterns)
        if cut is None:
            cut = _cut(networks, cam, strong, categories)
        regions.append(_regions(networks, cam, patterns, cut, number))
        if number < ROUNDS - 1:
            patterns = [_erased(networks, everything, regions)]

    def make(partial: Path) -> None:
        write_labels([weak], _union(regions), partial / "data.gz")

    folder = networks.step("ae_labels", make, categories, [folder.name for folder in regions])
    return f"{folder}/*.gz"


def _cut(networks: Networks, cam: tf.keras.Model, strong: str, categories: Categories) -> float:
    def make(partial: Path) -> None:
        pairs = activations_of(cam, [strong], networks.config.look("cam").one_view)
        (partial / "cut.txt").write_text(str(best_cut(pairs, categories.num_classes)))

    identity = (categories, networks.config.cam)
    return float((networks.step("ae_cut", make, *identity) / "cut.txt").read_text())


def _regions(networks: Networks, cam: tf.keras.Model, seen: list[str], cut: float, number: int) -> Path:
    """Regions of all images in the round's classifier, which looks at the images as it has learned them."""

    def make(partial: Path) -> None:
        found: dict[str, np.ndarray] = {}
        for example in activations_of(cam, seen, networks.config.look("cam").one_view):
            found[example.key] = region_ids(example.activations, example.tags, cut)
        write_regions(partial, found)

    return networks.step("ae_regions", make, networks.within(seen), cut, number, networks.config.cam)


def _erased(networks: Networks, everything: list[str], regions: list[Path]) -> str:
    def make(partial: Path) -> None:
        write_erased(everything, _union(regions), partial / "data.gz")

    return str(networks.step("ae_erased", make, [folder.name for folder in regions]) / "data.gz")


def _union(regions: list[Path]) -> dict[str, np.ndarray]:
    rounds = [read_regions(folder) for folder in regions]
    return {key: united([one[key] for one in rounds]) for key in rounds[0]}
