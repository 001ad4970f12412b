"""The networks the tables need, trained once each in a folder that a second call finds again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from components.image_example_gen import voc
from components.image_example_gen.records import SPLITS, STRONG, WEAK, read_record
from pipeline.config import RunConfig
from serving.export import export_maps
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
        patterns = [records[STRONG], records[WEAK]]
        return self._net(
            "cam",
            lambda: build_cam(config.backbone, len(categories.foreground), None, config.seed),
            lambda folders: train_cam(patterns, categories, config.network, config.cam, folders),
        )

    def l_net(self, categories: Categories) -> tf.keras.Model:
        """L-Net on the strong images."""
        records, config = self.records(categories), self.config
        return self._net(
            _name(categories),
            lambda: build_segmentation(config.backbone, 1, None, config.seed),
            lambda folders: train_l_net([records[STRONG]], categories, config.network, config.l_net, folders),
        )

    def exported_cam(self) -> str:
        """Folder of the CAM's SavedModel."""
        categories = self.config.categories.resolve()
        return self._exported("cam", lambda: self.cam(categories), "cam", categories)

    def exported_l_net(self, categories: Categories) -> str:
        return self._exported(_name(categories), lambda: self.l_net(categories), "l_net", categories)

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

    def _exported(self, name: str, net: Callable[[], tf.keras.Model], kind: str, categories: Categories) -> str:
        size, views = self.config.image_size, self.config.maps
        folder = self.folder / name / "_".join(["saved_model", *map(str, views.sides(size)), str(views.mirror)])
        if not folder.exists():
            export_maps(net(), folder, kind=kind, image_size=size, categories=categories, metadata={}, views=views)
        return str(folder)


def _name(categories: Categories) -> str:
    return "l_net_" + ("all" if not categories.weak else "_".join(str(i) for i in categories.strong_ids))


def all_strong(categories: Categories) -> Categories:
    """The same categories as if every one had masks."""
    return Categories(categories.foreground, categories.foreground)


def train_all(networks: Networks, splits: Sequence[Categories]) -> None:
    """Trains everything the tables need."""
    for categories in splits:
        networks.cam(categories)
        networks.l_net(categories)
        networks.l_net(categories.rehearsal())
    networks.l_net(all_strong(splits[0]))


def held_back(config: RunConfig, categories: Categories, split: str, weak: bool) -> Iterator[tf.train.Example]:
    """The images of a list that are weak, or those that are strong, all with tags and masks of every category."""
    for key in voc.list_keys(config.dataset.root, split):
        record = read_record(config.dataset.root, key, all_strong(categories))
        if categories.is_weak_image(record.tags) == weak:
            yield tf.train.Example.FromString(record.example)
