"""Trained networks and made labels, each in a folder of its own that a second call finds again."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import apache_beam as beam
import click
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions

from components.beam_masks.faults import first_of, refuse_above
from components.beam_masks.job import write_json_lines
from components.beam_masks.output import DEAD_LETTERS
from components.image_example_gen.dataset_config import fingerprint
from components.image_example_gen.records import EVAL, STRONG, WEAK
from components.image_example_gen.write_examples import read_list, read_summary, refuse_if_too_bad, write_shards
from components.weak_labels.examples import split_files
from components.weak_labels.label_store import LabelStore
from components.weak_labels.shards import LabelShard, LabelShards
from components.weak_labels.transform import label_networks
from pipeline.config.run_config import RunConfig
from serving.export import export_maps
from trainer.config import StageConfig, Strict
from trainer.data.categories import Categories
from trainer.data.files import read_lines
from trainer.data.pictures import MAX_PIXELS
from trainer.errors import UserError
from trainer.models.weight_files import content_of
from trainer.training.devices import prepare
from trainer.training.session import RunFolders
from trainer.training.stages import CAM, L_NET, Stage, train

Train = Callable[[RunFolders], tf.keras.Model]


@dataclass(frozen=True)
class ExperimentSteps:
    """Trains, labels or finds again under `folder`, by the settings of `config`.

    The folder of a step is named by the step and a digest of everything that decides its result.
    """

    config: RunConfig
    folder: Path

    def step(self, name: str, make: Callable[[Path], None], *identity: object) -> Path:
        """The folder of a step; made by `make` if it is not there, whole or not at all.

        Its file seconds.txt says how long that took.
        """
        text = json.dumps([name, self._shared, [_plain(item) for item in identity]], sort_keys=True)
        folder = self.folder / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        if not folder.exists():
            partial = folder.with_name(folder.name + ".partial")
            partial.mkdir(parents=True, exist_ok=True)
            start = time.monotonic()
            make(partial)
            with open(partial / "seconds.txt", "w") as file:
                file.write(f"{time.monotonic() - start:.1f}\n")
            os.replace(partial, folder)
        return folder

    @cached_property
    def _shared(self) -> list:
        """What decides every step: the dataset as it is now, the network, its weights."""
        dataset, network = self.config.dataset, self.config.network
        settings = [dataset.model_dump(mode="json"), network.model_dump(mode="json")]
        return [*settings, fingerprint(dataset), content_of(network.weights)]

    def trained(self, name: str, train: Train, *identity: object) -> Path:
        """As `step`, for a network: the folder holds net.weights.h5 and the curves. A killed training continues."""

        def make(partial: Path) -> None:
            net = train(RunFolders(name, str(partial), str(partial / "checkpoints")))
            net.save_weights(str(partial / "net.weights.h5"))
            shutil.rmtree(partial / "checkpoints")

        return self.step(name, make, *identity)

    def supervised(
        self,
        name: str,
        stage: Stage,
        patterns: Sequence[str],
        categories: Categories,
        settings: StageConfig,
        *identity: object,
    ) -> Path:
        """As `trained`, by a supervised stage."""
        network = self.config.network
        return self.trained(
            name, lambda folders: train(stage, patterns, categories, network, settings, folders), *identity
        )

    def within(self, patterns: Sequence[str]) -> list[str]:
        """Names of record files for a step's identity: wherever the folder lies, they are the same."""
        return [os.path.relpath(pattern, self.folder) for pattern in patterns]

    def cam(self, categories: Categories, records: Sequence[str] | None = None) -> Path:
        """Folder of the classifier on the tags of all training images; see `everything`.

        `records` are other images to learn from, for adversarial erasing.
        """
        settings, patterns = self.config.cam, list(records or self.everything(categories))
        identity = (categories.foreground, settings, self.within(patterns))
        return self.supervised("cam", CAM, patterns, categories, settings, *identity)

    def l_net(self, categories: Categories) -> Path:
        """Folder of L-Net on the strong images."""
        settings, patterns = self.config.l_net, [self.split(categories, STRONG)]
        return self.supervised("l_net", L_NET, patterns, categories, settings, categories, settings)

    def exported_cam(self, categories: Categories) -> Path:
        """Folder of the CAM's SavedModel."""
        config = self.config
        learned = [self.within(self.everything(categories))] if config.dataset.tags else []
        return self._exported("cam", CAM, self.cam, categories, categories.foreground, config.cam, *learned)

    def exported_l_net(self, categories: Categories) -> Path:
        return self._exported("l_net", L_NET, self.l_net, categories, categories, self.config.l_net)

    def labelled(self, categories: Categories) -> str:
        """TFRecord pattern of the weak images with the labels that the paper's method gives them."""
        cam, l_net = self.exported_cam(categories), self.exported_l_net(categories)
        weak, settings = str(Path(self.split(categories, WEAK)).parent), self.config.labels

        def make(partial: Path) -> None:
            networks = label_networks(str(cam), str(l_net), settings, max_pixels=MAX_PIXELS)
            store = LabelStore(str(partial / "store"), "labels")  # for a killed run
            label = LabelShards(split_files(weak), LabelShard(networks, str(partial), store))
            letters = f"{partial}/{DEAD_LETTERS}"
            with beam.Pipeline(options=PipelineOptions(self.config.beam_args)) as pipeline:
                _, dead = pipeline | label
                write_json_lines(dead, letters, "Letters")
            if failed := read_lines(letters):
                images = read_summary(str(Path(weak).parent))["splits"][WEAK]
                refuse_above(self.config.dataset.max_bad_share, failed, images, letters)
                click.echo(f"      {len(failed)} images are without a label: {first_of(failed)}")
            shutil.rmtree(store.root, ignore_errors=True)

        return f"{self.step('labels', make, cam.name, l_net.name, settings)}/Split-{WEAK}/*.gz"

    def records(self, categories: Categories, splits: Sequence[str] = (STRONG, WEAK)) -> dict[str, str]:
        """TFRecord patterns of those splits that hold an image; the records are those of a run.

        Raises:
          UserError: too many images are bad. rejected.jsonl in the step's folder names those that are left out.
        """

        def make(partial: Path) -> None:
            settings = self.config.dataset
            summary = write_shards(str(partial), settings, categories)
            refuse_if_too_bad(summary.rejected, summary.total, settings.max_bad_share)
            if summary.rejected:
                click.echo(f"      {len(summary.rejected)} images are left out: {first_of(summary.rejected)}")

        folder = self.step("examples", make, categories)
        counts = read_summary(str(folder))["splits"]
        return {split: f"{folder}/Split-{split}/*.gz" for split in splits if counts[split]}

    def split(self, categories: Categories, name: str) -> str:
        """One of `records`; UserError if no image is in it."""
        records = self.records(categories, [name])
        if not records:
            names = self.config.dataset.eval if name == EVAL else self.config.dataset.train
            raise UserError(f"{names}: no usable image is in the split '{name}'; transferseg validate says why")
        return records[name]

    def everything(self, categories: Categories) -> list[str]:
        """TFRecords of all training images with their tags, the same for every split if tags come from masks.

        With a tags file images need no mask, and the split decides which have one.
        """
        known = categories if self.config.dataset.tags else all_strong(categories)
        return list(self.records(known).values())

    def load(self, stage: Stage, categories: Categories, folder: Path) -> tf.keras.Model:
        """The network of a `trained` step."""
        network = self.config.network
        prepare(network)
        net = stage.build(network.model_copy(update={"weights": None}), categories)
        net.load_weights(str(folder / "net.weights.h5"))
        return net

    def _exported(
        self, kind: str, stage: Stage, trained: Callable[[Categories], Path], categories: Categories, *identity: object
    ) -> Path:
        config, look = self.config, self.config.look(kind)

        def make(partial: Path) -> None:
            shutil.rmtree(partial)
            export_maps(
                self.load(stage, categories, trained(categories)),
                partial,
                kind=kind,
                image_size=config.network.image_size,
                categories=categories,
                metadata={},
                look=look,
            )

        return self.step(f"exported_{kind}", make, *identity, config.maps, *([look.size] if look.native else []))


def seconds_of(folder: Path) -> float:
    """How long a step took when it was made."""
    return float((folder / "seconds.txt").read_text())


def all_strong(categories: Categories) -> Categories:
    """The same categories as if every one had masks."""
    return Categories(categories.foreground, categories.foreground)


def held_back(config: RunConfig, categories: Categories, *, evaluation: bool, weak: bool) -> Iterator[tf.train.Example]:
    """The images of a list that are weak, or those that are strong, all with tags and masks of every category.

    Those without a mask are left out.
    """
    settings = config.dataset.model_copy(update={"max_bad_share": 1.0})
    for record in read_list(settings, all_strong(categories), evaluation=evaluation, rejected=[]):
        if categories.is_weak_image(record.tags) == weak:
            yield tf.train.Example.FromString(record.example)


def _plain(item: object) -> object:
    if isinstance(item, Strict):
        return item.model_dump(mode="json")
    return item.to_dict() if isinstance(item, Categories) else item
