"""AE, adversarial erasing (Wei et al. 2017): labels from classifiers that must look elsewhere each round.

A classifier is trained on tags, the region it looks at most is painted over with the mean colour, and the next one is
trained on what is left. The union of the regions is the label; there is no L-Net.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from trainer import features
from trainer.categories import BACKGROUND
from trainer.input_pipeline import read_records
from trainer.metrics import class_iou, confusion_matrix
from trainer.models.cam import normalise_maps
from trainer.orientation import exif_orientation, stored, upright
from trainer.preprocessing import MEAN_COLOUR, decode_image, decode_mask, grid_to_image, to_network_input

ROUNDS = 3
CUTS = np.round(np.arange(0.1, 0.95, 0.05), 2)  # shares of a map's maximum that are tried
_GZIP = tf.io.TFRecordOptions(compression_type="GZIP")


@dataclass(frozen=True)
class Activated:
    """A tagged image: activation maps uint8 [H, W, K], 255 is each map's maximum; truth uint8 [H, W] or None."""

    key: str
    tags: list[int]
    activations: np.ndarray
    truth: np.ndarray | None


def activations_of(cam: tf.keras.Model, patterns: Sequence[str], image_size: int) -> Iterator[Activated]:
    """What a classifier sees of each tag in the tagged images behind the TFRecord patterns."""
    look = tf.function(lambda x: cam(x, training=False)["maps"])
    for example in _examples(patterns):
        tags = list(example.features.feature[features.TAGS].int64_list.value)
        if not tags:
            continue
        data = tf.constant(example.features.feature[features.IMAGE].bytes_list.value[0])
        orientation = exif_orientation(data)
        image = upright(decode_image(data), orientation)
        network_input, valid = to_network_input(image, image_size)
        maps = tf.gather(look(network_input[tf.newaxis])[0], [tag - 1 for tag in tags], axis=-1)
        maps = stored(grid_to_image(maps, valid, image_size, *image.shape[:2]), orientation)
        activations = tf.cast(tf.round(255 * normalise_maps(maps[tf.newaxis])[0]), tf.uint8).numpy()
        encoded = example.features.feature[features.MASK].bytes_list.value
        truth = decode_mask(tf.constant(encoded[0])).numpy() if encoded and encoded[0] else None
        yield Activated(_key(example), tags, activations, truth)


def region_ids(activations: np.ndarray, tags: Sequence[int], cut: float) -> np.ndarray:
    """The hottest tag where its activation reaches `cut` (0..1), else background: [H, W, K] -> uint8 [H, W]."""
    ids = np.asarray(tags, np.uint8)[activations.argmax(-1)]
    return np.where(activations.max(-1) >= 255 * cut, ids, np.uint8(BACKGROUND))


def best_cut(images: Iterable[Activated], num_classes: int) -> float:
    """The cut with the highest mIoU on images that have a mask, over the classes these have."""
    confusion = np.zeros((len(CUTS), num_classes, num_classes + 1), np.int64)
    for image in images:
        for counts, cut in zip(confusion, CUTS, strict=True):
            counts += confusion_matrix(image.truth, region_ids(image.activations, image.tags, cut), num_classes)
    present = np.flatnonzero(confusion[0].sum(1))
    return float(CUTS[int(np.argmax([np.nanmean(class_iou(counts)[present]) for counts in confusion]))])


def united(rounds: Sequence[np.ndarray]) -> np.ndarray:
    """Region masks of the rounds, uint8 [H, W] each, 0 outside -> their union; the earlier round wins a pixel."""
    union = rounds[0]
    for later in rounds[1:]:
        union = np.where(union == BACKGROUND, later, union)
    return union


def write_regions(folder: Path, regions: dict[str, np.ndarray]) -> None:
    """<folder>/regions.npz, key -> uint8 [H, W]."""
    np.savez_compressed(folder / "regions.npz", **regions)


def read_regions(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "regions.npz") as file:
        return dict(file)


def write_erased(patterns: Sequence[str], regions: dict[str, np.ndarray], path: Path) -> None:
    """Copies examples with their regions, key -> uint8 [H, W] with 0 outside, painted over with the mean colour."""
    with tf.io.TFRecordWriter(str(path), _GZIP) as writer:
        for example in _examples(patterns):
            region = regions.get(_key(example))
            if region is not None:
                feature = example.features.feature[features.IMAGE].bytes_list
                image = decode_image(tf.constant(feature.value[0])).numpy()
                painted = np.where(region[..., None] > 0, np.round(MEAN_COLOUR).astype(np.uint8), image)
                feature.value[0] = tf.io.encode_jpeg(painted, quality=95).numpy()
            writer.write(example.SerializeToString(deterministic=True))


def write_labels(patterns: Sequence[str], labels: dict[str, np.ndarray], path: Path) -> None:
    """Copies the examples that have a label, key -> uint8 [H, W], with it as their generated mask."""
    with tf.io.TFRecordWriter(str(path), _GZIP) as writer:
        for example in _examples(patterns):
            label = labels.get(_key(example))
            if label is not None:
                example.features.feature[features.MASK].bytes_list.value[:] = [
                    tf.io.encode_png(label[..., None]).numpy()
                ]
                example.features.feature[features.SOURCE].bytes_list.value[:] = [features.GENERATED]
                writer.write(example.SerializeToString(deterministic=True))


def _examples(patterns: Sequence[str]) -> Iterator[tf.train.Example]:
    for record in tf.data.TFRecordDataset(read_records(patterns), compression_type="GZIP"):
        yield tf.train.Example.FromString(record.numpy())


def _key(example: tf.train.Example) -> str:
    return example.features.feature[features.KEY].bytes_list.value[0].decode()
