"""TFRecords of tf.Examples: our own keys and the ones of DeepLab's datasets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
import tensorflow as tf

from components.dataset_import.samples import Contents, Sample, key_of
from trainer import features
from trainer.errors import ImageFault, UserError

# ours, then DeepLab's (research/deeplab/datasets/build_data.py)
_KEYS = (features.KEY, "image/filename")
_MASKS = (features.MASK, "image/segmentation/class/encoded")


def read_tfrecords(pattern: str, names: Sequence[str]) -> Contents:
    """Reads TFRecords (plain or .gz) in Beam.

    Args:
      pattern: files, e.g. gs://bucket/train-*.tfrecord.
      names: categories by id.

    Raises:
      UserError: no file matches.
    """
    if not tf.io.gfile.glob(pattern):
        raise UserError(f"{pattern}: no such files")
    return Contents(tuple(names), _ReadSamples(pattern, tuple(names)))


class _ReadSamples(beam.PTransform):
    def __init__(self, pattern: str, names: tuple[str, ...]):
        super().__init__()
        self._pattern, self._names = pattern, names

    def expand(self, begin: beam.PCollection) -> beam.PCollection[Sample]:
        records = begin | beam.io.ReadFromTFRecord(self._pattern)  # unpacks by the file's name
        return records | beam.FlatMap(_sample, self._names)


@dataclass(frozen=True)
class EncodedMask:
    """A PNG of ids."""

    data: bytes
    num_categories: int

    def __call__(self) -> np.ndarray:
        try:
            mask = tf.io.decode_png(self.data, channels=1)[..., 0].numpy()
        except tf.errors.OpError:
            raise ImageFault("decode", "its mask is not a readable PNG") from None
        odd = [int(i) for i in np.unique(mask) if self.num_categories < i < 255]
        if odd:
            raise ImageFault("decode", f"its mask has ids {odd[:5]}; there are {self.num_categories} categories")
        return mask


def _sample(record: bytes, names: tuple[str, ...]) -> Iterable[Sample]:
    feature = tf.train.Example.FromString(record).features.feature
    ours = features.TAGS in feature  # before a look at a key that is not there makes it

    def first(keys: Sequence[str]) -> bytes:
        return next((feature[key].bytes_list.value[0] for key in keys if feature[key].bytes_list.value), b"")

    key, image, mask = first(_KEYS).decode(), first([features.IMAGE]), first(_MASKS)
    tags = tuple(names[i - 1] for i in feature[features.TAGS].int64_list.value if 0 < i <= len(names))
    drawn = EncodedMask(mask, len(names)) if mask else None
    yield Sample(key_of(key + ".png" if "." not in key else key), image, tags if ours else None, drawn)
