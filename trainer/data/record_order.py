"""The records of TFRecord files in a random order, every epoch another, from any place on.

In an epoch, the files are shuffled and taken in groups of about a thousand records, and each group's records are
shuffled: example i of a run is the same on any machine, whatever ran before. No function of a dataset here holds a
dataset or a state: behind one that does, op determinism makes TensorFlow run everything on one core.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from trainer.data import features
from trainer.errors import UserError
from trainer.graphs import unconverted
from trainer.threads import in_threads

GROUP = 1024  # our choice: records shuffled together, about 100 MB of VOC-sized JPEGs
_FRAME = 12, 4  # bytes around a record in its file


@dataclass(frozen=True)
class RecordIndex:
    """Where records lie. `spans`: of each file int64 [n, 2], first byte and length of its records, unpacked."""

    files: tuple[str, ...]
    spans: tuple[np.ndarray, ...]

    @property
    def count(self) -> int:
        return sum(map(len, self.spans))


def index_records(files: Sequence[str], without: Sequence[int] = ()) -> RecordIndex:
    """Reads GZIP TFRecord files once; records tagged with a category of `without` are left out, and files without any.

    Raises:
      tf.errors.DataLossError: a file is damaged.
    """
    states = [(file, stat.length, stat.mtime_nsec) for file in files for stat in [tf.io.gfile.stat(file)]]
    return _index(tuple(states), tuple(without))


@functools.lru_cache(maxsize=16)
def _index(states: tuple[tuple[str, int, int], ...], without: tuple[int, ...]) -> RecordIndex:
    def spans_of(file: str) -> np.ndarray:
        found, place = [], 0
        for record in tf.data.TFRecordDataset(file, compression_type="GZIP").as_numpy_iterator():
            if not without or set(without).isdisjoint(features.tags_of(tf.train.Example.FromString(record))):
                found.append((place + _FRAME[0], len(record)))
            place += len(record) + sum(_FRAME)
        return np.array(found, np.int64).reshape(-1, 2)

    spans = list(in_threads(spans_of, [file for file, *_ in states]))
    kept = [(state[0], some) for state, some in zip(states, spans, strict=True) if len(some)]
    return RecordIndex(tuple(file for file, _ in kept), tuple(some for _, some in kept))


def in_random_order(index: RecordIndex, seed: int, start: int = 0) -> tf.data.Dataset:
    """Endless (number, record): int64 scalar from `start` on, counted over epochs, and the string scalar.

    Reaching `start` reads no more than its group.

    Raises:
      UserError: there is no record.
    """
    if not index.count:
        raise UserError("no training image is left; check the lists of the dataset and the categories")
    sizes = np.array([len(some) for some in index.spans])
    a_group = min(len(sizes), max(1, GROUP // int(sizes.max())))  # files
    groups = -(-len(sizes) // a_group)
    epoch, place = divmod(start, index.count)
    order = _file_order(len(sizes), seed, tf.constant(epoch, tf.int64)).numpy()
    ends = np.cumsum([sizes[order[i : i + a_group]].sum() for i in range(0, len(order), a_group)])
    first = int(np.searchsorted(ends, place, side="right"))
    files, spans = tf.constant(index.files), tf.constant(np.concatenate(index.spans))
    splits = tf.constant(np.concatenate([[0], np.cumsum(sizes)]), tf.int64)

    def read(file: tf.Tensor) -> tf.RaggedTensor:
        """The file's records, [1, n] strings."""
        data = tf.io.decode_compressed(tf.io.read_file(tf.gather(files, file)), "GZIP")
        mine = spans[splits[file] : splits[file + 1]]
        records = tf.map_fn(lambda span: tf.strings.substr(data, span[0], span[1]), mine, fn_output_signature=tf.string)
        return tf.RaggedTensor.from_tensor(records[tf.newaxis])

    def group(number: tf.Tensor) -> tf.Tensor:
        """string [n], shuffled."""
        begin = tf.cast(number % groups, tf.int32) * a_group
        here = _file_order(len(sizes), seed, number // groups)[begin : begin + a_group]
        signature = tf.RaggedTensorSpec([1, None], tf.string, ragged_rank=1)
        records = tf.map_fn(read, here, fn_output_signature=signature).flat_values
        return tf.random.experimental.stateless_shuffle(records, [tf.constant(seed, tf.int64), -1 - number])

    return (
        tf.data.Dataset.range(epoch * groups + first, np.iinfo(np.int64).max)
        .map(unconverted(group), num_parallel_calls=2, deterministic=True)
        .unbatch()
        .skip(place - (int(ends[first - 1]) if first else 0))
        .enumerate(start)
    )


def _file_order(number: int, seed: int, epoch: tf.Tensor) -> tf.Tensor:
    """int32 [number], a permutation."""
    return tf.random.experimental.stateless_shuffle(
        tf.range(number), [tf.constant(seed, tf.int64), tf.cast(epoch, tf.int64)]
    )
