"""TFRecords of tf.Examples: our own keys and the ones of DeepLab's datasets."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Mapping, Sequence

import apache_beam as beam
import tensorflow as tf

from components.beam_masks.faults import dead_letter
from components.beam_masks.images import DEAD
from components.dataset_import.drawing import Drawing, Object
from components.dataset_import.items import Contents, ImportedPicture
from components.dataset_import.mask_decoding import MaskFile
from components.dataset_import.regions import Box
from trainer.data import features
from trainer.data.files import is_remote, read_bytes
from trainer.data.pictures import read_header
from trainer.errors import ImageFault, UserError, one_line

# ours, then DeepLab's (research/deeplab/datasets/build_data.py)
_KEYS = (features.KEY, "image/filename")
_MASKS = (features.MASK, "image/segmentation/class/encoded")


def read_tfrecords(files: str | Sequence[str], names: Sequence[str]) -> Contents:
    """Reads TFRecords (plain or gzip) in Beam.

    Args:
      files: paths, or a pattern, e.g. gs://bucket/train-*.tfrecord.
      names: categories by id.

    Raises:
      UserError: no file matches.
    """
    paths = list(files) if not isinstance(files, str) else _matching(files)
    if not paths:
        raise UserError(f"{files}: no such files")
    return Contents(tuple(names), _ReadSamples(paths, tuple(names)))


def _matching(pattern: str) -> list[str]:
    if is_remote(pattern):
        return sorted(tf.io.gfile.glob(pattern))
    return [pattern] if os.path.isfile(pattern) else sorted(path for path in glob.glob(pattern) if os.path.isfile(path))


class _ReadSamples(beam.PTransform):
    """-> ImportedPictures; dead letters of records and files that cannot be read go to DEAD."""

    def __init__(self, paths: Sequence[str], names: tuple[str, ...]):
        super().__init__()
        self._paths, self._names = paths, names

    def expand(self, begin: beam.PCollection):
        files = begin | "Files" >> beam.Create(self._paths) | "SpreadFiles" >> beam.Reshuffle()
        return files | "Records" >> beam.ParDo(_ReadFile(self._names)).with_outputs(DEAD, main="samples")


class _ReadFile(beam.DoFn):
    def __init__(self, names: tuple[str, ...]):
        self._names = names

    def process(self, path: str) -> Iterable[ImportedPicture | beam.pvalue.TaggedOutput]:
        stem = os.path.basename(path).split(".")[0]
        number = 0
        try:
            kind = "GZIP" if _is_gzip(path) else ""
            for number, record in enumerate(tf.data.TFRecordDataset(path, kind).as_numpy_iterator(), start=1):
                name = f"{stem}-{number:06d}"
                try:
                    feature = _features(record)
                    name = _first(feature, _KEYS).decode("utf-8", "surrogateescape") or name
                    yield _sample(feature, name, self._names)
                except ImageFault as fault:
                    reason = ImageFault(fault.stage, f"{path}, record {number}: {fault}")
                    yield beam.pvalue.TaggedOutput(DEAD, dead_letter(name, reason))
        except (tf.errors.OpError, ImageFault) as error:
            reason = f"{path}: damaged behind record {number}; copy the file again: {one_line(error)}"
            yield beam.pvalue.TaggedOutput(DEAD, dead_letter(path, ImageFault("read", reason)))


def _is_gzip(path: str) -> bool:
    if is_remote(path):
        with tf.io.gfile.GFile(path, "rb") as file:
            return file.read(2) == b"\x1f\x8b"
    if not os.path.isfile(path):
        read_bytes(path)  # says why not
    with open(path, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _features(record: bytes) -> Mapping[str, tf.train.Feature]:
    try:
        return tf.train.Example.FromString(record).features.feature
    except Exception as error:  # protobuf's own DecodeError, in one of two implementations
        raise ImageFault("read", f"no tf.train.Example: {one_line(error)}") from None


def _values(feature: Mapping[str, tf.train.Feature], key: str, kind: str) -> Sequence:
    given = feature[key].WhichOneof("kind") if key in feature else None
    if given not in (None, kind):
        raise ImageFault("read", f"its {key} is a {given}, must be a {kind}")
    return getattr(feature[key], kind).value if given else ()


def _first(feature: Mapping[str, tf.train.Feature], keys: Sequence[str]) -> bytes:
    found = (_values(feature, key, "bytes_list") for key in keys)
    return next((several[0] for several in found if several), b"")


def _sample(feature: Mapping[str, tf.train.Feature], name: str, names: tuple[str, ...]) -> ImportedPicture:
    image, mask = _first(feature, [features.IMAGE]), _first(feature, _MASKS)
    if not image:
        what = "is empty" if features.IMAGE in feature else f"is none of its keys ({', '.join(sorted(feature)[:8])})"
        raise ImageFault("read", f"{features.IMAGE} {what}")
    tags = None
    if features.TAGS in feature:
        ids = list(_values(feature, features.TAGS, "int64_list"))
        if odd := [i for i in ids if not 0 < i <= len(names)]:
            raise ImageFault("tags", f"has the tag {odd[0]}; there are {len(names)} categories")
        tags = tuple(names[i - 1] for i in ids)
    return ImportedPicture(
        name, image, tags, MaskFile(mask, len(names)) if mask else None, _boxes(feature, image, len(names))
    )


def _boxes(feature: Mapping[str, tf.train.Feature], image: bytes, number: int) -> Drawing | None:
    """The boxes of our own examples, on the stored pixels."""
    tags = _values(feature, features.BOX_TAGS, "int64_list")
    corners = _values(feature, features.BOX_CORNERS, "float_list")
    if len(corners) != 4 * len(tags) or not all(0 < tag <= number for tag in tags):
        raise ImageFault("tags", f"has {len(corners)} corners for boxes of the categories {list(tags)[:5]}")
    boxes = [Box(list(corners[4 * i : 4 * i + 4])) for i in range(len(tags))]
    objects = [Object(f"box {i}", tag, box, True, box) for i, (tag, box) in enumerate(zip(tags, boxes, strict=True), 1)]
    return Drawing(objects, read_header(image).size) if objects else None
