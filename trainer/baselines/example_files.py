"""Training examples read and written one by one, for baselines that make labels themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from trainer.data import features
from trainer.data.features import key_of, with_human_mask
from trainer.data.input_pipeline import record_files
from trainer.threads import in_threads


def read_examples(patterns: Sequence[str]) -> Iterator[tf.train.Example]:
    """The examples behind TFRecord patterns, in the files' order."""
    return features.read_examples(record_files(patterns))


def rewrite(
    patterns: Sequence[str], change: Callable[[tf.train.Example], tf.train.Example | None], folder: Path
) -> None:
    """Copies record files to <folder>/<number>.gz, each example as `change` gives it; None leaves it out."""

    def copy(numbered: tuple[int, str]) -> None:
        number, file = numbered
        with tf.io.TFRecordWriter(str(folder / f"{number:05d}.gz"), features.GZIP) as writer:
            for example in features.read_examples(file):
                if (changed := change(example)) is not None:
                    writer.write(changed.SerializeToString(deterministic=True))

    for _ in in_threads(copy, enumerate(record_files(patterns))):
        pass


def write_labels(patterns: Sequence[str], labels: Mapping[str, np.ndarray], folder: Path) -> None:
    """Copies the examples that have a label, key -> uint8 [H, W], with it as their generated mask; see `rewrite`.

    What a person has drawn (strong objects in a weak image) stays.
    """

    def labelled(example: tf.train.Example) -> tf.train.Example | None:
        label = labels.get(key_of(example))
        if label is None:
            return None
        mask = tf.io.encode_png(with_human_mask(label, example)[..., None]).numpy()
        example.features.feature[features.MASK].bytes_list.value[:] = [mask]
        example.features.feature[features.SOURCE].bytes_list.value[:] = [features.GENERATED]
        return example

    rewrite(patterns, labelled, folder)
