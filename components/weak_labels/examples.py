"""The files of examples and of what is known of their labels."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import tensorflow as tf

LABELS = "labels"  # folder of label records beside the splits, a file of JSON lines for each file of examples


def split_files(split_uri: str) -> list[str]:
    return sorted(tf.io.gfile.glob(f"{split_uri}/*.gz"))


def read_labels(uri: str) -> Iterator[dict[str, Any]]:
    """The records of all labels of an artifact, in the order of its examples; see `shards.LabelShard`."""
    for path in sorted(tf.io.gfile.glob(f"{uri}/{LABELS}/*.jsonl")):
        yield from read_lines(path)


def json_lines(records: Iterable[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(record, ensure_ascii=False, sort_keys=True) + "\n" for record in records).encode()


def read_lines(path: str) -> list[dict[str, Any]]:
    with tf.io.gfile.GFile(path) as file:
        return [json.loads(line) for line in file.read().splitlines()]
