"""Weak examples in and out: TFRecords -> samples, and finished masks put back into the same TFRecords' copies.

Masks go through single files rather than through Beam's shuffle: order and contents of the written examples then depend
on the read ones alone, and memory does not grow with their number.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam
import tensorflow as tf

from components.batch.images import Sample, stamp_of
from components.batch.masks import MaskStore, mask_path, read_mask, read_note, write_atomic
from components.weak_labels.transform import mask_shares
from trainer import features
from trainer.baselines.example_files import with_human_mask
from trainer.data.masks import encode_grey
from trainer.features import key_of, read_examples, tags_of

LABELS = "labels.jsonl"
_PARTS = 4  # open: workers that share one file; each unpacks all of it and keeps its part


@dataclass(frozen=True)
class Slice:
    """Every `_PARTS`-th record of a file, from `part` on."""

    file: str
    part: int


def split_files(split_uri: str) -> list[str]:
    return sorted(tf.io.gfile.glob(f"{split_uri}/*.gz"))


def plan_slices(split_uri: str) -> list[Slice]:
    return [Slice(file, part) for file in split_files(split_uri) for part in range(_PARTS)]


@dataclass(frozen=True)
class Known:
    """Where masks of earlier runs are, which recipe they must be of, and the folder they are wanted in."""

    store: MaskStore
    recipe: str
    folder: str


class ReadSamples(beam.DoFn):
    """Slice -> its Samples, without those whose mask is `known`: that is copied instead.

    Beam counter (namespace transferseg): kept.
    """

    def __init__(self, known: Known | None = None):
        self.known = known
        self.kept = beam.metrics.Metrics.counter("transferseg", "kept")

    def process(self, piece: Slice) -> Iterable[Sample]:
        for i, example in enumerate(read_examples(piece.file)):
            if i % _PARTS == piece.part:
                image = features.image_of(example)
                sample = Sample(key_of(example), image, tags_of(example), boxes=features.boxes_of(example))
                if self.known:
                    stamp = stamp_of(self.known.recipe, sample.tags, image, sample.boxes)
                    sample = replace(sample, stamp=stamp)
                    if data := self.known.store.get(sample.stamp):
                        write_atomic(mask_path(self.known.folder, sample.key), data)
                        self.kept.inc()
                        continue
                yield sample


def write_labelled(input_uri: str, masks: str, output_uri: str) -> list[dict[str, Any]]:
    """Copies a split's files, each example with its generated mask; examples without one are left out.

    Where an example carries a human mask (strong objects in a weak image), generated ids fill its void pixels only.

    Args:
      input_uri: the weak split.
      masks: folder of <key>.png.
      output_uri: the split to write; must exist.

    Returns:
      One record for each example written, in order: key, tags, confidence, seed_share, shares (share of the pixels of
      every id in the final mask) and, of one with boxes, boxes ([tag, share of the box that the label covers]).
    """
    records = []
    for file in split_files(input_uri):
        with tf.io.TFRecordWriter(f"{output_uri}/{file.rpartition('/')[2]}", features.GZIP) as writer:
            for example in read_examples(file):
                key = key_of(example)
                note = read_note(mask_path(masks, key))
                if not note:
                    continue
                mask = with_human_mask(read_mask(mask_path(masks, key)), example)
                feature = example.features.feature
                feature[features.MASK].bytes_list.value[:] = [encode_grey(mask)]
                feature[features.SOURCE].bytes_list.value[:] = [features.GENERATED]
                writer.write(example.SerializeToString(deterministic=True))
                kept = {name: note[name] for name in ("tags", "confidence", "seed_share", "boxes") if name in note}
                records.append({"key": key, **kept, "shares": mask_shares(mask)})
    return records


def write_lines(path: str, records: Iterable[dict[str, Any]]) -> None:
    with tf.io.gfile.GFile(path, "w") as file:
        file.write("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))


def read_lines(path: str) -> list[dict[str, Any]]:
    with tf.io.gfile.GFile(path) as file:
        return [json.loads(line) for line in file.read().splitlines()]
