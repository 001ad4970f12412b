"""How long a run will take: a probe of this machine, times what each component has to do."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from components.beam_masks.masks import write_atomic
from components.image_example_gen import voc
from components.image_example_gen.write_examples import plan_shards
from pipeline.config.run_config import RunConfig
from pipeline.report.templates import duration
from trainer.config import AdversarialConfig, StageConfig
from trainer.data.files import read_bytes
from trainer.errors import ImageFault

if TYPE_CHECKING:
    import tensorflow as tf

PROBE = "probe.json"
_BATCH = 4  # our choice: pictures of a call of the probe
_CALLS, _CALLS_S = 3, 0.5  # our choice: timed calls, of which the fastest counts; no more after so many seconds
_READ = 8  # our choice: pictures that the input is timed with
_STAGE_S = {"tiny": 3.0}  # measured, two cores: tracing and exporting a network of a training stage; others:
_OTHER_STAGE_S = 6.0
_LABEL_S = 0.05  # measured on one core: superpixels and diffusion of a picture
# Measured, two cores; of weak_labels the start alone.
_FIXED_S = {"examples": 1.0, "statistics": 2.5, "weak_labels": 3.0, "serving_check": 8.0, "evaluator": 4.0}


@dataclass(frozen=True)
class Rates:
    """Seconds a picture, on this machine as busy as it is: a prediction, an update of the last layers alone and of all,
    reading and decoding."""

    forward: float
    head: float
    full: float
    read: float


@dataclass(frozen=True)
class Counts:
    """Pictures of each split, as far as the lists and the tags table tell before anything is read."""

    strong: int
    weak: int
    eval: int

    @property
    def train(self) -> int:
        return self.strong + self.weak


def count(config: RunConfig) -> Counts:
    """Without a tags table half of the training pictures count as weak, if any category is.

    Raises:
      UserError: a list or the table cannot be read.
    """
    categories = config.categories.resolve()
    jobs = [(shard.evaluation, job.tags) for shard in plan_shards(config.dataset, categories) for job in shard.jobs]
    train = [tags for evaluation, tags in jobs if not evaluation]
    unknown = bool(categories.weak) * len(train) // 2
    weak = sum(categories.is_weak_image(tags) for tags in train if tags) if any(train) else unknown
    return Counts(len(train) - weak, weak, len(jobs) - len(train))


def probe(config: RunConfig) -> Rates:
    """Times the segmentation network and the reading of some pictures, a few seconds in all.

    Op by op it would seem up to four times slower than it is; to compile it takes a second or two.
    """
    import tensorflow as tf

    from trainer.data.preprocessing import decode_image
    from trainer.models.backbones import freeze_backbone
    from trainer.models.large_fov import build_segmentation
    from trainer.training.devices import prepare

    with prepare(config.network).scope():
        net = build_segmentation(
            config.network.backbone, config.categories.resolve().num_classes, None, config.network.seed
        )
    images = 255.0 * tf.random.stateless_uniform(
        [_BATCH, config.network.image_size, config.network.image_size, 3], [0, 0]
    )

    def update(batch: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(net(batch, training=True))
        return tf.add_n([tf.reduce_sum(gradient) for gradient in tape.gradient(loss, net.trainable_variables)])

    forward, full = _seconds(lambda batch: net(batch, training=False), images), _seconds(update, images)
    freeze_backbone(net)
    head = _seconds(update, images)
    start, root, read = time.perf_counter(), config.dataset.root, 0
    for key in config.dataset.train_keys()[:_READ]:
        try:
            decode_image(tf.constant(read_bytes(voc.image_path(root, key)))).numpy()
            read += 1
        except (ImageFault, tf.errors.InvalidArgumentError):  # validate and the run name it
            continue
    return Rates(forward, head, full, (time.perf_counter() - start) / max(read, 1))


def known_rates(config: RunConfig, workdir: Path) -> Rates:
    """`probe`'s, kept in the work folder: a rerun in it asks no second time."""
    path, of = workdir / PROBE, config.network.model_dump(mode="json")
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # not there, or cut short
        known = json.loads(path.read_text())
        if known["of"] == of:
            return Rates(**known["rates"])
    rates = probe(config)
    workdir.mkdir(parents=True, exist_ok=True)
    write_atomic(str(path), json.dumps({"of": of, "rates": asdict(rates)}).encode())
    return rates


def plan(config: RunConfig, counts: Counts, rates: Rates) -> dict[str, float]:
    """Seconds of each component that takes any worth telling, in their order."""
    looks = config.maps.look(config.network.image_size).views
    start = _STAGE_S.get(config.network.backbone, _OTHER_STAGE_S)

    def stage(settings: StageConfig, number: int) -> float:
        step = rates.head if settings.freeze_backbone else rates.full
        return start + settings.num_steps(number) * settings.batch_size * (step + rates.read)

    def joint(settings: AdversarialConfig) -> float:
        pretrain = settings.num_pretrain_steps(counts.strong) * (rates.forward + rates.read)
        together = settings.num_steps(counts.train) * (rates.full + settings.p_net_steps * rates.forward + rates.read)
        return 2 * start + settings.batch_size * (pretrain + together)

    half = counts.strong // 2
    labels = {
        "cam": None if config.cam_from else stage(config.cam, counts.train),
        "l_net": None if config.l_net_from else stage(config.l_net, counts.strong),
        "l_net_rehearsal": stage(config.l_net, half) if config.calibrate else None,
        "weak_labels": _FIXED_S["weak_labels"] + counts.weak * (_LABEL_S + rates.read + 2 * looks * rates.forward),
    }
    found = {
        "examples": _FIXED_S["examples"] + (counts.train + counts.eval) * rates.read,
        "statistics": _FIXED_S["statistics"],
        **(labels if config.categories.resolve().weak else {}),
        "segmentation": stage(config.segmentation, counts.train),
        "strong_only": stage(config.segmentation, counts.strong) if config.compare_strong_only else None,
        "p_net": joint(config.p_net),
        "serving_check": _FIXED_S["serving_check"],
        "evaluator": _FIXED_S["evaluator"] + counts.eval * (rates.forward + rates.read),
    }
    return {name: round(seconds, 1) for name, seconds in found.items() if seconds is not None}


class Remaining:
    """What is left of a plan while a run goes on; what finished components took against their plan corrects it."""

    def __init__(self, planned: Mapping[str, float]):
        self._left, self._planned, self._took = dict(planned), 0.0, 0.0

    def done(self, name: str, seconds: float, worked: bool) -> None:
        """`worked`: it was not cached or skipped, so that its time says something about the others'."""
        planned = self._left.pop(name, None)
        if planned is not None and worked:
            self._planned += planned
            self._took += seconds

    @property
    def seconds(self) -> float:
        return self._factor * sum(self._left.values())

    def of(self, name: str) -> float | None:
        """Seconds of one that is still to come; None if it was not planned."""
        planned = self._left.get(name)
        return None if planned is None else self._factor * planned

    @property
    def _factor(self) -> float:
        return self._took / self._planned if self._planned > 30 else 1.0  # our choice: fewer seconds say little


def print_plan(planned: Mapping[str, float], counts: Counts, console: Console) -> None:
    """A line for each component, and the whole."""
    table = Table(title="About how long it takes on this machine, as busy as it is now", title_justify="left")
    table.add_column("component")
    table.add_column("planned", justify="right")
    for name, seconds in planned.items():
        table.add_row(name, duration(seconds))
    table.add_section()
    table.add_row(f"{counts.train} pictures, {os.cpu_count()} cores", duration(sum(planned.values())))
    console.print(table)


def _seconds(call: Callable[[tf.Tensor], tf.Tensor], images: tf.Tensor) -> float:
    """Seconds a picture of a batch, compiled as it is in training."""
    from trainer.graphs import graph_function  # imports TensorFlow

    compiled, took = graph_function(call), []
    compiled(images).numpy()
    while len(took) < _CALLS and sum(took) < _CALLS_S:
        start = time.perf_counter()
        compiled(images).numpy()
        took.append(time.perf_counter() - start)
    return min(took) / len(images)
