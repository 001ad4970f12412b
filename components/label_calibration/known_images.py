"""Examples with masks -> what calibration needs: the images with the networks' maps and the truth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import numpy as np
import tensorflow as tf

from components.batch.images import decode
from components.batch.networks import BATCH_SIZE, Networks
from components.label_calibration.search import KnownImage
from components.weak_labels.examples import tags_of
from components.weak_labels.transform import maps_of
from serving.image_guard import MAX_PIXELS
from trainer import features
from trainer.preprocessing import decode_mask

T = TypeVar("T")


def known_images(cam: str, l_net: str, examples: Iterable[tf.train.Example]) -> Iterator[KnownImage]:
    """Runs the exported networks over examples that have a mask; those without a tag or a mask are left out.

    Args:
      cam, l_net: SavedModel folders.
      examples: keys in trainer.features.
    """
    networks = Networks([cam, l_net], BATCH_SIZE, None)
    useful = (example for example in examples if tags_of(example) and _bytes(example, features.MASK))
    while batch := list(islice(useful, BATCH_SIZE)):
        rows = networks.run([_bytes(example, features.IMAGE) for example in batch])
        for example, outputs in zip(batch, rows, strict=True):
            image, tags = decode(_bytes(example, features.IMAGE), MAX_PIXELS), tags_of(example)
            objectness, activations = maps_of(image, tags, outputs, networks.image_sizes)
            truth = decode_mask(tf.constant(_bytes(example, features.MASK))).numpy()
            yield KnownImage(image, objectness, np.ascontiguousarray(activations), tags, truth)


def _bytes(example: tf.train.Example, key: str) -> bytes:
    return b"".join(example.features.feature[key].bytes_list.value)


def spread_out(items: Sequence[T], count: int) -> list[T]:
    """At most `count` of the items, evenly spaced."""
    step = max(1, -(-len(items) // count))
    return list(items[::step])
