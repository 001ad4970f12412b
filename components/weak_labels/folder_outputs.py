"""What `transferseg label` writes beside the masks, from the masks: confidences and examples."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from components.beam_masks.images import Source
from components.beam_masks.masks import atomic, mask_path, read_mask, write_atomic
from trainer.data import features
from trainer.data.boxes import clipped
from trainer.data.categories import BACKGROUND, VOID, Categories
from trainer.data.csv_table import written
from trainer.data.files import read_bytes
from trainer.data.masks import encode_grey
from trainer.data.pictures import readable
from trainer.errors import ImageFault, UserError

CONFIDENCE, EXAMPLES = "confidence.csv", "examples.tfrecord.gz"


def write_confidence(output: Path, notes: Mapping[str, dict[str, Any]], categories: Categories) -> None:
    """confidence.csv, least certain first: image, confidence, smallest seed share, void share, labelled share, tags.

    Args:
      notes: key -> note of a mask (transform.py).
    """
    rows = []
    for key, note in sorted(notes.items(), key=lambda item: (item[1]["confidence"], item[0])):
        shares = note["shares"]
        labelled = 1 - shares[str(BACKGROUND)] - shares[str(VOID)]
        tags = "|".join(categories.names[tag] for tag in note["tags"])
        seeds = min(note["seed_share"].values())
        rows.append([key, note["confidence"], seeds, shares[str(VOID)], f"{labelled:.6f}", tags])
    header = ("image", "confidence", "seed_share", "void", "labelled", "tags")
    write_atomic(f"{output}/{CONFIDENCE}", written(header, rows))


def is_empty(note: Mapping[str, Any]) -> bool:
    """Whether a mask holds no category."""
    return not set(note["shares"]) - {str(BACKGROUND), str(VOID)}


def box_counts(notes: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """boxes: how many there are, empty_boxes: how many of them have no pixel of their tag; {} without boxes."""
    shares = [share for note in notes for _, share in note.get("boxes", ())]
    return {"boxes": len(shares), "empty_boxes": shares.count(0)} if shares else {}


def write_examples(output: Path, sources: Sequence[Source], max_pixels: int) -> None:
    """examples.tfrecord.gz: tf.Examples (trainer.data.features) with generated masks, in the order of the sources.

    Raises:
      UserError: a picture cannot be read any more.
    """
    with atomic(f"{output}/{EXAMPLES}") as path, tf.io.TFRecordWriter(os.fsencode(path), features.GZIP) as writer:
        for source in sources:
            mask = read_mask(mask_path(str(output), source.key))
            try:
                image = readable(read_bytes(source.path), max_pixels)
            except ImageFault as fault:
                raise UserError(f"{source.path}: {fault}; it has changed since it was labelled: run it again") from None
            example = features.make_example(
                source.key,
                image,
                *mask.shape,
                list(source.tags),
                encode_grey(mask),
                features.GENERATED,
                boxes=[clipped(box, *mask.shape) for box in source.boxes],
            )
            writer.write(example.SerializeToString(deterministic=True))
