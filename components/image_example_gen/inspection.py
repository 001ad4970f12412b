"""Reads every image of a dataset as the pipeline would, writes nothing: the Beam pass of `transferseg validate`."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import apache_beam as beam
import cv2
import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions

from components.beam_masks.job import write_json_lines
from components.image_example_gen import voc
from components.image_example_gen.dataset_config import DatasetConfig
from components.image_example_gen.write_examples import Shard, read_shard
from trainer.data.categories import Categories
from trainer.data.files import read_bytes, read_lines
from trainer.errors import ImageFault

_SIDE = 16  # pixels of the thumbnails that near-duplicates are found by
_CLOSE = 3.0  # our choice: mean difference of two thumbnails' pixels, of 255, up to which images count as the same
_PLAIN = 4.0  # our choice: deviation of a thumbnail's pixels below which it says nothing


class InspectShard(beam.DoFn):
    """Shard -> a JSON-ready entry for each of its images.

    Keys: key, evaluation, split, tags and thumbnail, digest (null if unreadable), stage and reason (null if good).
    """

    def __init__(self, settings: DatasetConfig, categories: Categories):
        self.settings, self.categories = settings, categories

    def process(self, shard: Shard) -> Iterable[dict]:
        for job, result in read_shard(shard, self.settings, self.categories):
            entry = {"key": job.key, "evaluation": shard.evaluation, "digest": None, "thumbnail": None}
            if isinstance(result, ImageFault):
                entry |= {"split": None, "tags": [], "stage": result.stage, "reason": str(result)}
            else:
                entry |= {"split": result.split, "tags": result.tags, "stage": None, "reason": None}
            if entry["stage"] not in ("image", "list"):
                entry |= _look(self.settings.root, job.key)
            yield entry


def inspect(
    shards: Sequence[Shard], settings: DatasetConfig, categories: Categories, beam_args: Sequence[str]
) -> list[dict]:
    """What InspectShard says of every listed image, in the order of the lists."""
    with tempfile.TemporaryDirectory() as folder:
        with beam.Pipeline(options=PipelineOptions(list(beam_args))) as pipeline:
            entries = pipeline | beam.Create(list(shards)) | beam.Reshuffle()
            entries = entries | beam.ParDo(InspectShard(settings, categories))
            write_json_lines(entries, f"{folder}/entries.jsonl", "Entries")
        found = read_lines(Path(folder, "entries.jsonl"))
    order = {
        (shard.evaluation, job.key): i for shard in shards for i, job in enumerate(shard.jobs, 1000 * shard.number)
    }
    return sorted(found, key=lambda entry: (entry["evaluation"], order[entry["evaluation"], entry["key"]]))


def near_duplicates(train: Sequence[dict], evaluation: Sequence[dict]) -> list[tuple[str, str]]:
    """(key of train, key of evaluation) of images that look the same, re-encoded or scaled though they may be."""
    pairs = []
    known = [entry for entry in evaluation if _telling(entry)]
    if not known:
        return []
    wall = np.array([entry["thumbnail"] for entry in known], np.float32)
    for entry in train:
        if _telling(entry):
            difference = np.abs(wall - np.array(entry["thumbnail"], np.float32)).mean(1)
            pairs += [(entry["key"], known[i]["key"]) for i in np.flatnonzero(difference <= _CLOSE)]
    return pairs


def _telling(entry: dict) -> bool:
    return entry["thumbnail"] is not None and float(np.std(entry["thumbnail"])) > _PLAIN


def thumbnail(root: str, key: str) -> list[int] | None:
    """Grey pixels (256 of 0..255) of a readable image, for `near_duplicates`; None of others."""
    try:
        return _thumbnail(read_bytes(voc.image_path(root, key)))
    except ImageFault:
        return None


def _thumbnail(data: bytes) -> list[int] | None:
    try:
        grey = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_2)
    except cv2.error:  # half of one pixel is none
        return None
    if grey is None:  # a GIF: OpenCV reads none
        return None
    return cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).ravel().tolist()


def _look(root: str, key: str) -> dict:
    """Digest of a readable image's file, and a grey thumbnail of it."""
    data = read_bytes(voc.image_path(root, key))
    return {"digest": hashlib.sha256(data).hexdigest(), "thumbnail": _thumbnail(data)}
