"""AE, adversarial erasing (Wei et al. 2017): labels from classifiers that must look elsewhere each round.

A classifier is trained on tags, the region it looks at most is painted over with the mean colour, and the next one is
trained on what is left. The union of the regions is the label; there is no L-Net.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from trainer.baselines.example_files import read_examples, rewrite
from trainer.data import features, keys
from trainer.data.categories import BACKGROUND, VOID
from trainer.data.features import image_of, key_of, mask_of, tags_of
from trainer.data.pictures import read_header, to_png
from trainer.data.preprocessing import MEAN_COLOUR, decode_image, decode_mask
from trainer.graphs import graph_function
from trainer.inference.looks import Look
from trainer.inference.one_image import predict_on_pixels
from trainer.metrics import class_iou, confusion_matrix
from trainer.models.cam import normalise_maps
from trainer.threads import in_threads

ROUNDS = 3
_REGION = "region-"  # before a key in regions.npz: numpy has arguments of its own, such as `file`
SALIENT = 0.06  # Wei et al. 2017: less is background
CUTS = np.round(np.arange(0.1, 0.95, 0.05), 2)  # shares of a map's maximum that are tried


@dataclass(frozen=True)
class Activated:
    """A tagged image: activation maps uint8 [H, W, K], 255 is each map's maximum; truth uint8 [H, W] or None."""

    key: str
    tags: list[int]
    activations: np.ndarray
    truth: np.ndarray | None

    def region(self, cut: float) -> np.ndarray:
        """`region_ids` from this share of the maximum on."""
        return region_ids(self.activations, self.tags, 255 * cut)


def activations_of(cam: tf.keras.Model, patterns: Sequence[str], look: Look) -> Iterator[Activated]:
    """What a classifier sees of each tag, in one view, in the tagged images behind the TFRecord patterns."""
    maps_of = graph_function(lambda x: cam(x, training=False)[keys.MAPS])

    def activated(example: tf.train.Example) -> Activated:
        tags = list(tags_of(example))
        columns = [tag - 1 for tag in tags]
        _, maps = predict_on_pixels(lambda x: tf.gather(maps_of(x), columns, axis=-1), image_of(example), look)
        activations = tf.cast(tf.round(255 * normalise_maps(maps[tf.newaxis])[0]), tf.uint8).numpy()
        truth = decode_mask(tf.constant(encoded)).numpy() if (encoded := mask_of(example)) else None
        return Activated(key_of(example), tags, activations, truth)

    yield from in_threads(activated, (example for example in read_examples(patterns) if tags_of(example)))


def region_ids(activations: np.ndarray, tags: Sequence[int], least: float) -> np.ndarray:
    """The hottest tag where its activation reaches `least`, else background: [H, W, K] -> uint8 [H, W]."""
    ids = np.asarray(tags, np.uint8)[activations.argmax(-1)]
    return np.where(activations.max(-1) >= least, ids, np.uint8(BACKGROUND))


def best_cut(images: Iterable[Any], ids_of: Callable[[Any, float], np.ndarray], num_classes: int) -> float:
    """The cut with the highest mIoU on images that have a mask, their `truth`, over the classes these have."""
    confusion = np.zeros((len(CUTS), num_classes, num_classes + 1), np.int64)
    for image in images:
        for counts, cut in zip(confusion, CUTS, strict=True):
            counts += confusion_matrix(image.truth, ids_of(image, cut), num_classes)
    present = np.flatnonzero(confusion[0].sum(1))
    return float(CUTS[int(np.argmax([np.nanmean(class_iou(counts)[present]) for counts in confusion]))])


def united(rounds: Sequence[np.ndarray]) -> np.ndarray:
    """Region masks of the rounds, uint8 [H, W] each, 0 outside -> their union; the earlier round wins a pixel."""
    union = rounds[0]
    for later in rounds[1:]:
        union = np.where(union == BACKGROUND, later, union)
    return union


def with_saliency(regions: np.ndarray, saliency: np.ndarray) -> np.ndarray:
    """The label that Wei et al. make of the united regions and a saliency map.

    Args:
      regions: uint8 [H, W] of ids, 0 outside.
      saliency: float [H, W] in 0..1.

    Returns:
      uint8 [H, W]: background where nothing is salient, the region's id where something is; void where the two
      contradict each other, and where what is salient is in no region.
    """
    salient = saliency >= SALIENT
    return np.where(salient == (regions != BACKGROUND), regions, np.uint8(VOID))


def write_regions(folder: Path, regions: dict[str, np.ndarray]) -> None:
    """<folder>/regions.npz, key -> uint8 [H, W]."""
    np.savez_compressed(folder / "regions.npz", **{f"{_REGION}{key}": ids for key, ids in regions.items()})


def read_regions(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "regions.npz") as file:
        return {key.removeprefix(_REGION): ids for key, ids in file.items()}


def write_erased(patterns: Sequence[str], regions: dict[str, np.ndarray], folder: Path) -> None:
    """Copies examples with their regions, key -> uint8 [H, W] with 0 outside, painted over with the mean colour."""

    def erased(example: tf.train.Example) -> tf.train.Example:
        region = regions.get(key_of(example))
        if region is not None:
            feature = example.features.feature[features.IMAGE].bytes_list
            image = decode_image(tf.constant(feature.value[0])).numpy()
            painted = np.where(region[..., None] > 0, np.round(MEAN_COLOUR).astype(np.uint8), image)
            turned = read_header(feature.value[0]).orientation
            feature.value[0] = to_png(Image.fromarray(painted), turned)
        return example

    rewrite(patterns, erased, folder)
