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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from components.beam_masks.coco_export import COCO, write_coco
from components.beam_masks.faults import refuse_above
from components.beam_masks.images import DEAD, ReadImages, Sample, Source, list_images, mask_key
from components.beam_masks.masks import WriteMasks, made_by, mask_path, read_note, write_atomic
from components.beam_masks.networks import BATCH_SIZE, RunNetworks
from components.beam_masks.output import DEAD_LETTERS, SCRATCH, SUMMARY, claimed, take_over
from trainer.data.categories import Categories
from trainer.data.files import read_bytes, read_lines, to_lines, walk
from trainer.errors import ImageFault, UserError, shown
from trainer.progress import progress

_POLL = 1.0  # seconds between looks at the output folder
_IMAGES = 4 * BATCH_SIZE  # our choice: at a time; while one network call is finished the next is under way

Plan = Callable[[Sequence[Path]], tuple[list[Source], list[dict[str, str]]]]  # files -> sources, dead letters
# (folder, what has a mask, its key -> note of its mask) -> what the summary says besides
Report = Callable[[Path, Sequence[Source], Mapping[str, dict[str, Any]]], dict[str, Any]]


class MakeMasks(beam.PTransform):
    """PCollection of Samples -> PCollection of dead letters; masks are written to `folder`."""

    def __init__(self, networks: RunNetworks, folder: str):
        super().__init__()
        self._networks, self._folder = networks, folder

    def expand(self, samples: beam.PCollection[Sample]) -> beam.PCollection[dict[str, str]]:
        results = (
            samples
            | "Batch" >> beam.BatchElements(min_batch_size=_IMAGES, max_batch_size=_IMAGES)
            | "Networks" >> beam.ParDo(self._networks).with_outputs(DEAD, main="results")
        )
        unwritten = results["results"] | "WriteMasks" >> beam.ParDo(WriteMasks(self._folder))
        return (results[DEAD], unwritten) | "AllDead" >> beam.Flatten()


def run(
    job: str,
    images: str | Path,
    output: str | Path,
    plan: Plan,
    networks: RunNetworks,
    categories: Categories,
    report: Report,
    *,
    recipe: str,
    format: str,
    reports: Sequence[str],
    other_reports: Sequence[str] = (),
    max_dead_share: float,
    beam_args: Sequence[str],
    title: str,
) -> dict[str, Any]:
    """Makes the masks that `output` lacks, dead_letters.jsonl, summary.json and, if `format` begins with "coco",
    annotations.json.

    Args:
      job: see `made_by`: no other's masks are looked at.
      images: folder of pictures.
      plan: picks what to read of the picture files, and says what is wrong with the others; keys are unique.
      categories: of the masks' ids.
      report: writes the job's own reports; what it returns is added to the summary.
      recipe: see `ReadImages`; masks of another recipe are made again.
      reports, other_reports: files that `report` writes, and that it would write in another format.
      max_dead_share: share of inputs that may fail, 0..1.
      beam_args: Beam options.
      title: what the progress bar is called.

    Returns:
      The summary: inputs = labelled + dead; `kept` of the labelled were there before this run, and `others` besides.

    Raises:
      UserError: the folders are wrong; see `list_images`, `claimed` and `take_over`.
      TooManyFaults: too large a share failed; all files are written before.
    """
    files, passed_over = list_images(images, output)
    sources, faults = plan(files)
    with claimed(output, images, job) as output:
        coco = [COCO] if format.startswith("coco") else []
        keys = dict.fromkeys(source.key for source in sources).keys()
        take_over(output, job, keys, [DEAD_LETTERS, SUMMARY, *reports, *coco], [*other_reports, COCO])
        started = time.monotonic()
        dead, kept = _make_masks(sources, networks, output, recipe, beam_args, title)
        gone = {letter["key"] for letter in dead}
        for key in gone | {fault["key"] for fault in faults}.intersection(mask_key(path.name) for path in files) - keys:
            path = mask_path(str(output), key)
            if made_by(path) == job:  # of an earlier state of an image that now fails
                os.unlink(path)
        done = [source for source in sources if source.key not in gone]
        notes = {source.key: read_note(mask_path(str(output), source.key)) for source in done}
        dead = sorted([*dead, *faults], key=lambda letter: (letter["key"], letter["stage"], letter["reason"]))
        write_atomic(f"{output}/{DEAD_LETTERS}", to_lines(dead))
        others = sum(made_by(str(path)) == job for path in output.glob("*.png") if path.stem not in keys)
        wall_s = time.monotonic() - started
        more = report(output, done, notes)
        if coco:
            write_coco(output, done, categories, polygons=format == "coco-polygons")
        summary = {
            "inputs": len(done) + len(dead),
            "labelled": len(done),
            "dead": len(dead),
            "dead_by_stage": dict(sorted(Counter(letter["stage"] for letter in dead).items())),
            "kept": kept,
            "others": others,
            "wall_s": round(wall_s, 3),
            "images_per_s": round((len(done) - kept) / wall_s, 3),
            **more,
            "passed_over": passed_over,
            "output": str(output),
        }
        write_atomic(f"{output}/{SUMMARY}", json.dumps(summary, indent=2).encode())
        refuse_above(max_dead_share, dead, summary["inputs"], f"{output}/{DEAD_LETTERS}", summary)
        return summary


def _make_masks(
    sources: Sequence[Source], networks: RunNetworks, output: Path, recipe: str, beam_args: Sequence[str], title: str
) -> tuple[list[dict[str, str]], int]:
    """Dead letters, and the number of masks that were there before."""
    scratch = output / SCRATCH
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
    with _progress(output, [source.key for source in sources], title), _quiet_beam():
        result = pipeline.run()
        result.wait_until_finish()
    return read_lines(letters), counter(result, "kept")


def write_json_lines(items: beam.PCollection[dict[str, Any]], path: str, title: str) -> None:
    """PCollection of JSON-ready items -> one sorted JSON-lines file; `title` is unique in the pipeline.

    Beam's own writer takes the path for a pattern.
    """
    _ = items | f"Gather{title}" >> beam.combiners.ToList() | f"Write{title}" >> beam.Map(_write_lines, path)


def _write_lines(items: list[dict[str, Any]], path: str) -> None:
    write_atomic(path, b"".join(sorted(to_lines([item]) for item in items)))


def model_digest(directory: str | Path) -> str:
    """Hex digest of a SavedModel's graph and weights, on any file system.

    Raises:
      UserError: no SavedModel there.
    """
    root, digest = str(directory), hashlib.sha256()
    try:
        for name in ["saved_model.pb", *(f"variables/{name}" for name in walk(f"{root}/variables", True)[0])]:
            digest.update(read_bytes(f"{root}/{name}"))
    except ImageFault as fault:
        raise UserError(f"{shown(root)}: not a SavedModel ({fault}); give the folder of an exported model") from None
    return digest.hexdigest()


def recipe_of(*parts: object) -> str:
    """Hex digest of everything but the image that decides a mask, as JSON-ready or plain values."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def counter(result: beam.runners.runner.PipelineResult, name: str) -> int:
    """The committed value of a Beam counter, over all steps; 0 where nothing counted."""
    found = result.metrics().query(beam.metrics.MetricsFilter().with_name(name))["counters"]
    return sum(value.committed for value in found)


@contextmanager
def _progress(folder: Path, keys: Sequence[str], title: str) -> Iterator[None]:
    """A bar that counts the masks in `folder`: right for every runner, also when workers are other processes."""
    stop = threading.Event()
    names = {f"{key}.png" for key in keys}
    bar = progress(total=len(names), desc=title, unit="image")

    def count() -> None:
        with os.scandir(folder) as entries:
            bar.update(sum(entry.name in names for entry in entries) - bar.n)

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
    """What Beam logs does not belong between progress lines; what ends the job comes as an exception."""
    logger = logging.getLogger("apache_beam")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
