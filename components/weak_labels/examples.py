"""The files of examples and of what is known of their labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from trainer.data.files import read_lines

CATEGORIES = "categories.json"  # beside the splits: what the labels' ids mean
LABELS = "labels"  # folder of label records beside the splits, a file of JSON lines for each file of examples


def split_files(split_uri: str) -> list[str]:
    return sorted(tf.io.gfile.glob(f"{split_uri}/*.gz"))


def label_files(uri: str) -> list[str]:
    """The files of label records of an artifact."""
    return sorted(tf.io.gfile.glob(f"{uri}/{LABELS}/*.jsonl"))


def read_labels(uri: str) -> Iterator[dict[str, Any]]:
    """The records of all labels of an artifact, in the order of its examples; see `shards.LabelShard`."""
    for path in label_files(uri):
        yield from read_lines(path)
