"""Training examples read and written one by one, for baselines that make labels themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from trainer import features
from trainer.categories import VOID
from trainer.input_pipeline import read_records
from trainer.preprocessing import decode_mask

GZIP = tf.io.TFRecordOptions(compression_type="GZIP")


def read_examples(patterns: Sequence[str]) -> Iterator[tf.train.Example]:
    """The examples behind TFRecord patterns, in the files' order."""
    for record in tf.data.TFRecordDataset(read_records(patterns), compression_type="GZIP"):
        yield tf.train.Example.FromString(record.numpy())


def key_of(example: tf.train.Example) -> str:
    return example.features.feature[features.KEY].bytes_list.value[0].decode()


def image_of(example: tf.train.Example) -> bytes:
    """Encoded."""
    return example.features.feature[features.IMAGE].bytes_list.value[0]


def tags_of(example: tf.train.Example) -> list[int]:
    return list(example.features.feature[features.TAGS].int64_list.value)


def write_labels(patterns: Sequence[str], labels: Mapping[str, np.ndarray], path: Path) -> None:
    """Copies the examples that have a label, key -> uint8 [H, W], with it as their generated mask.

    What a person has drawn (strong objects in a weak image) stays.
    """
    with tf.io.TFRecordWriter(str(path), GZIP) as writer:
        for example in read_examples(patterns):
            label = labels.get(key_of(example))
            if label is not None:
                label = with_human_mask(label, example)
                mask = tf.io.encode_png(label[..., None]).numpy()
                example.features.feature[features.MASK].bytes_list.value[:] = [mask]
                example.features.feature[features.SOURCE].bytes_list.value[:] = [features.GENERATED]
                writer.write(example.SerializeToString(deterministic=True))


def with_human_mask(label: np.ndarray, example: tf.train.Example) -> np.ndarray:
    """A generated label, uint8 [H, W], in the void pixels of the example's own mask, if it has one."""
    encoded = b"".join(example.features.feature[features.MASK].bytes_list.value)
    if not encoded:
        return label
    human = decode_mask(tf.constant(encoded)).numpy()
    return np.where(human == VOID, label, human)
