"""A whole batch job: sources through networks to masks, a progress bar, dead letters, a summary."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from tqdm import tqdm

from components.batch.faults import refuse_above
from components.batch.images import DEAD, ReadImages, Sample, Source
from components.batch.masks import MaskStore, WriteMasks, mask_path, read_note, remove_unfinished, write_atomic
from components.batch.networks import BATCH_SIZE, RunNetworks
from trainer.errors import UserError

DEAD_LETTERS = "dead_letters.jsonl"
SUMMARY = "summary.json"
_SCRATCH = ".unfinished"  # folder in the output while the job runs; on a file system that all workers see
_POLL = 1.0  # seconds between looks at the output folder


class MakeMasks(beam.PTransform):
    """PCollection of Samples -> PCollection of dead letters; masks are written to `folder`."""

    def __init__(
        self, networks: RunNetworks, folder: str, batch_size: int = BATCH_SIZE, store: MaskStore | None = None
    ):
        super().__init__()
        self._networks, self._folder, self._batch_size, self._store = networks, folder, batch_size, store

    def expand(self, samples: beam.PCollection[Sample]) -> beam.PCollection[dict[str, str]]:
        results = (
            samples
            | "Batch" >> beam.BatchElements(min_batch_size=self._batch_size, max_batch_size=self._batch_size)
            | "Networks" >> beam.ParDo(self._networks).with_outputs(DEAD, main="results")
        )
        unwritten = results["results"] | "WriteMasks" >> beam.ParDo(WriteMasks(self._folder, self._store))
        return (results[DEAD], unwritten) | "AllDead" >> beam.Flatten()


@dataclass(frozen=True)
class Outcome:
    """What a job left: `done` maps each finished image's key to its note, in the order of the sources."""

    done: dict[str, dict[str, Any]]
    dead: list[dict[str, str]]
    kept: int
    wall_s: float

    @property
    def inputs(self) -> int:
        return len(self.done) + len(self.dead)

    def summary(self) -> dict[str, Any]:
        """inputs = labelled + dead; `kept` of the labelled were there before this run."""
        fresh = len(self.done) - self.kept
        return {
            "inputs": self.inputs,
            "labelled": len(self.done),
            "dead": len(self.dead),
            "dead_by_stage": dict(sorted(Counter(letter["stage"] for letter in self.dead).items())),
            "kept": self.kept,
            "wall_s": round(self.wall_s, 3),
            "images_per_s": round(fresh / self.wall_s, 3),
        }


def run(
    sources: Sequence[Source],
    faults: Sequence[dict[str, str]],
    networks: RunNetworks,
    output: Path,
    *,
    recipe: str,
    beam_args: Sequence[str],
    title: str,
) -> Outcome:
    """Makes the masks that `output` lacks and writes dead_letters.jsonl.

    Args:
      sources: images to read; keys are unique.
      faults: dead letters found before.
      recipe: see `ReadImages`; masks of another recipe are made again.
      title: what the progress bar is called.
    """
    started = time.monotonic()
    scratch = output / _SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)  # of a killed run
    scratch.mkdir()
    letters = scratch / DEAD_LETTERS
    pipeline = beam.Pipeline(options=PipelineOptions(list(beam_args)))
    samples = (
        pipeline
        | "Sources" >> beam.Create(list(sources))
        | "Spread" >> beam.Reshuffle()
        | "Read" >> beam.ParDo(ReadImages(str(output), recipe)).with_outputs(DEAD, main="samples")
    )
    made = samples["samples"] | "MakeMasks" >> MakeMasks(networks, str(output))
    write_json_lines((samples[DEAD], made) | "Dead" >> beam.Flatten(), str(letters), "Letters")
    with _progress(output, len(sources), title), _quiet_beam():
        result = pipeline.run()
        result.wait_until_finish()
    remove_unfinished(str(output))

    dead = [json.loads(line) for line in letters.read_text().splitlines()]
    shutil.rmtree(scratch)
    gone = {letter["key"] for letter in dead}
    for key in gone:  # a mask of an earlier state of an image that now fails
        path = Path(mask_path(str(output), key))
        if path.is_file():
            path.unlink()
    done = {s.key: read_note(mask_path(str(output), s.key)) for s in sources if s.key not in gone}
    dead.extend(faults)
    dead.sort(key=lambda letter: (letter["key"], letter["stage"], letter["reason"]))
    lines = "".join(json.dumps(letter, ensure_ascii=False) + "\n" for letter in dead)
    write_atomic(f"{output}/{DEAD_LETTERS}", lines.encode())
    return Outcome(done, dead, counter(result, "kept"), time.monotonic() - started)


def write_json_lines(items: beam.PCollection[dict[str, Any]], path: str, title: str) -> None:
    """PCollection of JSON-ready items -> one JSON-lines file, in any order; `title` is unique in the pipeline."""
    _ = (
        items
        | f"{title}ToJson" >> beam.Map(json.dumps)
        | f"Write{title}" >> beam.io.WriteToText(path, num_shards=1, shard_name_template="")
    )


def finish(outcome: Outcome, output: Path, max_dead_share: float, **more: Any) -> dict[str, Any]:
    """Writes summary.json and returns it.

    Raises:
      TooManyFaults: more than `max_dead_share` of the inputs are dead letters; all files are written before.
    """
    summary = {**outcome.summary(), **more, "output": str(output)}
    write_atomic(f"{output}/{SUMMARY}", json.dumps(summary, indent=2).encode())
    refuse_above(max_dead_share, outcome.dead, outcome.inputs, f"{output}/{DEAD_LETTERS}")
    return summary


def prepare_output(output: str | Path, images: str | Path) -> Path:
    """The output folder, made if need be.

    Raises:
      UserError: `images` is no folder, both are the same, or the output cannot be made.
    """
    output, images = Path(output), Path(images)
    if not images.is_dir():
        raise UserError(f"{images}: no such folder of images")
    if output.resolve() == images.resolve():
        raise UserError(f"{output}: is the folder of images; masks would overwrite them; give another output")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{output}: cannot make the output folder ({error.strerror})") from None
    return output


def model_digest(directory: str | Path) -> str:
    """Hex digest of a SavedModel's graph and weights, on any file system.

    Raises:
      UserError: no SavedModel there.
    """
    import tensorflow as tf

    root = str(directory)
    if not tf.io.gfile.exists(f"{root}/saved_model.pb"):
        raise UserError(f"{root}: not a SavedModel (no saved_model.pb); give the folder of an exported model")
    digest = hashlib.sha256()
    for path in [f"{root}/saved_model.pb", *sorted(tf.io.gfile.glob(f"{root}/variables/*"))]:
        with tf.io.gfile.GFile(path, "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def recipe_of(*parts: object) -> str:
    """Hex digest of everything but the image that decides a mask, as JSON-ready or plain values."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def counter(result: beam.runners.runner.PipelineResult, name: str) -> int:
    """The committed value of a Beam counter, over all steps; 0 where nothing counted."""
    found = result.metrics().query(beam.metrics.MetricsFilter().with_name(name))["counters"]
    return sum(value.committed for value in found)


@contextmanager
def _progress(folder: Path, total: int, title: str) -> Iterator[None]:
    """A bar that counts the masks in `folder`: right for every runner, also when workers are other processes."""
    stop = threading.Event()
    bar = tqdm(total=total, desc=title, unit="image", dynamic_ncols=True)

    def count() -> None:
        with os.scandir(folder) as entries:
            bar.update(sum(entry.name.endswith(".png") and entry.name[0] != "." for entry in entries) - bar.n)

    def watch() -> None:
        while not stop.wait(_POLL):
            count()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        count()
        bar.close()


@contextmanager
def _quiet_beam() -> Iterator[None]:
    """Beam's warnings about its own temporary folders do not belong between progress lines."""
    logger = logging.getLogger("apache_beam")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
