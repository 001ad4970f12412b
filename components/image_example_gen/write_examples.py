"""The Beam part: shards of image names in, TFRecord files and a summary out.

The unit of work is a shard, a fixed run of the list: its images are read in order and written straight to the shard's
files. So names and contents of the files depend on the list alone, not on workers or timing, and no image passes
through a shuffle.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import apache_beam as beam
import tensorflow as tf

from components.beam_masks.faults import dead_letter, first_of
from components.beam_masks.masks import write_atomic
from components.image_example_gen.dataset_config import DatasetConfig
from components.image_example_gen.records import EVAL, SPLITS, STRONG, WEAK, Record, read_record
from components.image_example_gen.tables import Boxes, Tags, read_boxes, read_tags
from trainer.data import features
from trainer.data.boxes import TagBox
from trainer.data.categories import Categories
from trainer.data.features import SHARD_SIZE
from trainer.data.files import read_json, read_lines, to_lines
from trainer.errors import ImageFault, UserError
from trainer.progress import progress
from trainer.threads import in_threads

SUMMARY = "summary.json"
REJECTED = "rejected.jsonl"


@dataclass(frozen=True)
class Job:
    """One listed image. `fault` says why it must not be read at all; `corrected`: see `read_record`."""

    key: str
    tags: tuple[int, ...] | None = None
    fault: str | None = None
    corrected: bool = False
    boxes: tuple[TagBox, ...] = ()


@dataclass(frozen=True)
class Shard:
    """A run of the training or evaluation list."""

    evaluation: bool
    number: int
    count: int
    jobs: tuple[Job, ...]

    @property
    def splits(self) -> tuple[str, ...]:
        return (EVAL,) if self.evaluation else (STRONG, WEAK)


@dataclass
class IngestSummary:
    """Counts that add up: listed images = sum of splits + rejected."""

    splits: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    images_per_category: dict[str, Counter[str]] = field(default_factory=lambda: {split: Counter() for split in SPLITS})
    rejected: list[dict[str, str]] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(self.splits.values()) + len(self.rejected)

    def add(self, record: Record, categories: Categories) -> None:
        self.splits[record.split] += 1
        self.images_per_category[record.split].update(categories.names[tag] for tag in record.tags)

    @classmethod
    def merged(cls, summaries: Iterable[IngestSummary]) -> IngestSummary:
        """One of all shards."""
        whole = cls()
        for one in summaries:
            for split in SPLITS:
                whole.splits[split] += one.splits[split]
                whole.images_per_category[split].update(one.images_per_category[split])
            whole.rejected.extend(one.rejected)
        return whole

    def to_dict(self) -> dict:
        counts = {split: dict(sorted(names.items())) for split, names in self.images_per_category.items()}
        return {"splits": self.splits, "rejected": len(self.rejected), "images_per_category": counts}


def plan_shards(
    settings: DatasetConfig, categories: Categories, tags: Tags | None = None, boxes: Boxes | None = None
) -> list[Shard]:
    """Lists the images of a dataset, in shards.

    An image listed twice, or for training although it is evaluated on, becomes a job with a fault. `tags` and `boxes`
    are used instead of those in the dataset's tables.

    Raises:
      UserError: a list or a table cannot be read.
    """
    evaluated, trained = settings.eval_keys(), settings.train_keys()
    held_out = set(evaluated)
    corrected = set(settings.corrected_keys())
    listed = {*evaluated, *trained, *corrected}
    if tags is None and settings.tags_path:
        tags = read_tags(settings.tags_path, categories, settings.root, listed)
    if boxes is None and settings.boxes_path:
        boxes = read_boxes(settings.boxes_path, categories, settings.root, listed)
    tags, boxes = tags or {}, boxes or {}
    shards = []
    for keys, evaluation in ((trained, False), (evaluated, True)):
        seen: set[str] = set()
        jobs = []
        for key in keys:
            fault = "listed twice; the first is used" if key in seen else None
            if not evaluation and key in held_out:
                fault = f"also in the evaluation list '{settings.eval}'; never trained on"
            seen.add(key)
            jobs.append(Job(key, tags.get(key), fault, not evaluation and key in corrected, boxes.get(key, ())))
        starts = range(0, len(jobs), SHARD_SIZE)
        for number, start in enumerate(starts):
            shards.append(Shard(evaluation, number, len(starts), tuple(jobs[start : start + SHARD_SIZE])))
    return shards


def read_shard(
    shard: Shard, settings: DatasetConfig, categories: Categories
) -> Iterator[tuple[Job, Record | ImageFault]]:
    """Every job of a shard with its record or the reason why there is none, in the list's order."""
    for job in shard.jobs:
        try:
            if job.fault:
                raise ImageFault("list", job.fault)
            yield (
                job,
                read_record(
                    settings.root,
                    job.key,
                    categories,
                    evaluation=shard.evaluation,
                    tags=job.tags,
                    use_strong_masks=settings.mixed_images == "use_strong_masks",
                    corrected=job.corrected,
                    boxes=job.boxes,
                ),
            )
        except ImageFault as fault:
            yield job, fault


def read_list(
    settings: DatasetConfig, categories: Categories, *, evaluation: bool, rejected: list[dict[str, str]]
) -> Iterator[Record]:
    """The usable images of the training or the evaluation list, in its order, as a run reads them.

    Args:
      rejected: gets the dead letters.

    Raises:
      UserError: at the end, if those are too large a share of both lists; or see `plan_shards`.
    """
    shards = plan_shards(settings, categories)
    for shard in shards:
        if shard.evaluation == evaluation:
            for job, result in read_shard(shard, settings, categories):
                if isinstance(result, ImageFault):
                    rejected.append(dead_letter(job.key, result))
                else:
                    yield result
    refuse_if_too_bad(rejected, sum(len(shard.jobs) for shard in shards), settings.max_bad_share)


def refuse_if_too_bad(rejected: Sequence[dict[str, str]], total: int, max_bad_share: float, where: str = "") -> None:
    """Raises UserError if too large a share of the listed images became dead letters; `where`: the file of them all."""
    if len(rejected) > max_bad_share * total:
        raise UserError(
            f"{len(rejected)} of {total} images are bad, more than dataset.max_bad_share {max_bad_share:g} allows: "
            f"{first_of(rejected)}. " + (f"All are in {where}" if where else "transferseg validate names all of them")
        )


class WriteShard(beam.DoFn):
    """Shard -> its IngestSummary; writes <uri>/Split-<name>/data_tfrecord-<number>-of-<count>.gz for every split."""

    def __init__(self, uri: str, settings: DatasetConfig, categories: Categories):
        self.uri, self.settings, self.categories = uri, settings, categories
        self.written = {split: beam.metrics.Metrics.counter("ImageExampleGen", f"examples_{split}") for split in SPLITS}
        self.rejected = beam.metrics.Metrics.counter("ImageExampleGen", "rejected")

    def process(self, shard: Shard) -> Iterable[IngestSummary]:
        summary = IngestSummary()
        writers = {split: tf.io.TFRecordWriter(self._path(split, shard), features.GZIP) for split in shard.splits}
        for job, result in read_shard(shard, self.settings, self.categories):
            if isinstance(result, ImageFault):
                summary.rejected.append(dead_letter(job.key, result))
                self.rejected.inc()
            else:
                summary.add(result, self.categories)
                writers[result.split].write(result.example)
                self.written[result.split].inc()
        for writer in writers.values():
            writer.close()
        yield summary

    def _path(self, split: str, shard: Shard) -> str:
        return f"{self.uri}/Split-{split}/data_tfrecord-{shard.number:05d}-of-{shard.count:05d}.gz"


def write_shards(uri: str, settings: DatasetConfig, categories: Categories) -> IngestSummary:
    """What `WriteExamples` writes, by the threads of this process, with progress on the screen."""
    for split in SPLITS:
        tf.io.gfile.makedirs(f"{uri}/Split-{split}")
    write, shards = WriteShard(uri, settings, categories), plan_shards(settings, categories)
    written = in_threads(lambda shard: [*write.process(shard)], shards)
    bar = progress(written, desc="      examples", total=len(shards), unit="shard")
    summary = IngestSummary.merged(one for summaries in bar for one in summaries)
    write_summary(summary, uri)
    return summary


def write_summary(summary: IngestSummary, uri: str) -> None:
    """Writes summary.json (counts) and rejected.jsonl (key, stage, reason; sorted) into `uri`."""
    write_rejected(summary.rejected, f"{uri}/{REJECTED}")
    write_atomic(f"{uri}/{SUMMARY}", json.dumps(summary.to_dict(), indent=2).encode())


def write_rejected(rejected: Sequence[dict[str, str]], path: str) -> None:
    """Dead letters, a JSON object a line, sorted."""
    letters = sorted(rejected, key=lambda letter: (letter["key"], letter["reason"]))
    write_atomic(path, to_lines(letters))


def read_summary(uri: str) -> dict:
    """{"splits": {name: images}, "rejected": n, "images_per_category": {split: {category: images}}} of an artifact."""
    return read_json(f"{uri}/{SUMMARY}", "the examples' counts")


def read_rejected(uri: str) -> list[dict[str, str]]:
    """Dead letters of an artifact: dicts of key, stage and reason."""
    return read_lines(f"{uri}/{REJECTED}")


class WriteExamples(beam.PTransform):
    """Pipeline -> PCollection of one IngestSummary; writes all splits, summary.json and rejected.jsonl under `uri`."""

    def __init__(self, uri: str, settings: DatasetConfig, categories: Categories):
        super().__init__()
        self.uri, self.settings, self.categories = uri, settings, categories

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        for split in SPLITS:
            tf.io.gfile.makedirs(f"{self.uri}/Split-{split}")
        return (
            pipeline
            | "Shards" >> beam.Create(plan_shards(self.settings, self.categories))
            | "Spread" >> beam.Reshuffle()
            | "WriteShard" >> beam.ParDo(WriteShard(self.uri, self.settings, self.categories))
            | "Merge" >> beam.CombineGlobally(IngestSummary.merged)
            | "WriteSummary" >> beam.Map(write_summary, self.uri)
        )
