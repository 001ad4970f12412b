"""The networks the tables need, trained once each in a folder that a second call finds again."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from components.image_example_gen import voc
from components.image_example_gen.records import SPLITS, STRONG, WEAK, read_record
from pipeline.config import RunConfig
from trainer.cam import train_cam
from trainer.categories import Categories
from trainer.l_net import train_l_net
from trainer.models.cam import build_cam
from trainer.models.large_fov import build_segmentation
from trainer.runtime import prepare
from trainer.session import RunFolders


@dataclass(frozen=True)
class Networks:
    """Trains or loads networks under `folder`, by the settings of `config`."""

    config: RunConfig
    folder: Path

    def cam(self, categories: Categories) -> tf.keras.Model:
        """The classifier on the tags of all training images; which categories are weak makes no difference to it."""
        records, config = self.records(categories), self.config
        return self._net(
            "cam",
            lambda: build_cam(config.backbone, len(categories.foreground), None, config.seed),
            lambda folders: train_cam(
                [records[STRONG], records[WEAK]], categories, config.network, config.cam, folders
            ),
        )

    def l_net(self, categories: Categories) -> tf.keras.Model:
        """L-Net on the strong images."""
        records, config = self.records(categories), self.config
        return self._net(
            f"l_net_{_name(categories)}",
            lambda: build_segmentation(config.backbone, 1, None, config.seed),
            lambda folders: train_l_net([records[STRONG]], categories, config.network, config.l_net, folders),
        )

    def records(self, categories: Categories) -> dict[str, str]:
        """TFRecords of the training images: the strong ones with their masks, the weak ones with tags only."""
        folder = self.folder / f"records_{_name(categories)}"
        paths = {split: folder / f"{split}.gz" for split in SPLITS}
        if not folder.exists():
            partial = folder.with_suffix(".partial")
            partial.mkdir(parents=True, exist_ok=True)
            writers = {split: tf.io.TFRecordWriter(str(partial / f"{split}.gz"), "GZIP") for split in SPLITS}
            for key in voc.list_keys(self.config.dataset.root, self.config.dataset.train):
                record = read_record(self.config.dataset.root, key, categories)
                writers[record.split].write(record.example)
            for writer in writers.values():
                writer.close()
            os.replace(partial, folder)
        return {split: str(path) for split, path in paths.items()}

    def _net(
        self, name: str, build: Callable[[], tf.keras.Model], train: Callable[[RunFolders], tf.keras.Model]
    ) -> tf.keras.Model:
        weights = self.folder / name / "net.weights.h5"
        if not weights.exists():
            net = train(RunFolders(name, str(self.folder / name), str(self.folder / name / "checkpoints")))
            partial = str(weights.with_name("partial.weights.h5"))
            net.save_weights(partial)
            os.replace(partial, weights)
        prepare(self.config.network)
        net = build()
        net.load_weights(str(weights))
        return net


def _name(categories: Categories) -> str:
    return f"{len(categories.strong)}_" + "_".join(str(i) for i in categories.strong_ids[:12])


def all_strong(categories: Categories) -> Categories:
    """The same categories as if every one had masks."""
    return Categories(categories.foreground, categories.foreground)


def train_all(networks: Networks, splits: Sequence[Categories]) -> None:
    """Trains everything the tables need."""
    for categories in splits:
        networks.cam(categories)
        networks.l_net(categories)
    networks.l_net(all_strong(splits[0]))
