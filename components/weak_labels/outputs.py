"""What `transferseg label` writes beside the masks, from the masks: confidences, COCO annotations, examples."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from pycocotools import mask as coco_mask

from components.batch.images import Source
from components.batch.masks import mask_path, read_mask, write_atomic
from trainer import features
from trainer.categories import BACKGROUND, VOID, Categories
from trainer.data.files import read_bytes
from trainer.data.masks import encode_grey
from trainer.data.pictures import readable

CONFIDENCE, COCO, EXAMPLES = "confidence.csv", "annotations.json", "examples.tfrecord.gz"


def write_confidence(output: Path, notes: Mapping[str, dict[str, Any]], categories: Categories) -> None:
    """confidence.csv, least certain first: image, confidence, smallest seed share, void share, labelled share, tags.

    Args:
      notes: key -> note of a mask (transform.py).
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["image", "confidence", "seed_share", "void", "labelled", "tags"])
    for key, note in sorted(notes.items(), key=lambda item: (item[1]["confidence"], item[0])):
        shares = note["shares"]
        labelled = 1 - shares[str(BACKGROUND)] - shares[str(VOID)]
        tags = "|".join(categories.names[tag] for tag in note["tags"])
        seeds = min(note["seed_share"].values())
        writer.writerow([key, note["confidence"], seeds, shares[str(VOID)], f"{labelled:.6f}", tags])
    write_atomic(f"{output}/{CONFIDENCE}", buffer.getvalue().encode())


def is_empty(note: Mapping[str, Any]) -> bool:
    """Whether a mask holds no category."""
    return not set(note["shares"]) - {str(BACKGROUND), str(VOID)}


def write_coco(output: Path, sources: Sequence[Source], categories: Categories) -> None:
    """annotations.json in COCO's format: one compressed RLE for each category of an image, void left out."""
    images, annotations = [], []
    for number, source in enumerate(sources, 1):
        mask = read_mask(mask_path(str(output), source.key))
        height, width = mask.shape
        images.append({"id": number, "file_name": Path(source.path).name, "height": height, "width": width})
        for category in np.unique(mask).tolist():
            if category in (BACKGROUND, VOID):
                continue
            rle = coco_mask.encode(np.asfortranarray(mask == category, np.uint8))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": category,
                    "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
                    "area": int(coco_mask.area(rle)),
                    "bbox": coco_mask.toBbox(rle).tolist(),
                    "iscrowd": 0,
                }
            )
    named = [{"id": i, "name": name} for i, name in enumerate(categories.names) if i != BACKGROUND]
    document = {"images": images, "annotations": annotations, "categories": named}
    write_atomic(f"{output}/{COCO}", json.dumps(document).encode())


def write_examples(output: Path, sources: Sequence[Source], max_pixels: int) -> None:
    """examples.tfrecord.gz: tf.Examples (trainer/features.py) with generated masks, in the order of the sources."""
    unfinished = output / f".{EXAMPLES}.unfinished"
    with tf.io.TFRecordWriter(os.fsencode(unfinished), tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
        for source in sources:
            mask = read_mask(mask_path(str(output), source.key))
            example = features.make_example(
                source.key,
                readable(read_bytes(source.path), max_pixels),
                *mask.shape,
                list(source.tags),
                encode_grey(mask),
                features.GENERATED,
            )
            writer.write(example.SerializeToString(deterministic=True))
    os.replace(unfinished, output / EXAMPLES)
