"""Examples with masks -> what calibration needs: the images with the networks' maps and the truth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import tensorflow as tf

from components.beam_masks.networks import BATCH_SIZE, Networks
from components.label_calibration.search import KnownImage
from components.weak_labels.transform import maps_of
from serving.export import read_categories
from trainer.data.features import image_of, mask_of, tags_of
from trainer.data.pictures import decode
from trainer.data.preprocessing import decode_mask
from trainer.errors import UserError

MAX_IMAGES = 200  # our choice: more change the values little and take longer


def rehearsal_images(
    examples: Iterable[tf.train.Example], l_net: str, max_images: int = MAX_IMAGES
) -> list[tf.train.Example]:
    """Those of the strong examples that show a category which is weak for this L-Net: it has never seen such a thing.

    On images it was trained on, L-Net is far too good: values found there trust it too much.

    Args:
      examples: of strong images.
      l_net: SavedModel folder; its assets tell on which categories it was trained.
      max_images: at most so many, evenly spaced.

    Raises:
      UserError: the L-Net knows the categories of all examples.
    """
    seen = read_categories(l_net, "l_net")
    unseen = [example for example in examples if seen.is_weak_image(tags_of(example))]
    if not unseen:
        raise UserError(
            f"{l_net}: this L-Net was trained on every category of the strong images; calibration needs one that has "
            "not seen all of them, like the pipeline's l_net_rehearsal (and at least two strong categories)"
        )
    step = -(-len(unseen) // max_images)
    return unseen[::step]


def known_images(cam: str, l_net: str, examples: Iterable[tf.train.Example]) -> Iterator[KnownImage]:
    """Runs the exported networks over examples that have a mask; those without a tag or a mask are left out.

    Args:
      cam, l_net: SavedModel folders.
      examples: keys in trainer.data.features.
    """
    networks = Networks([cam, l_net], BATCH_SIZE, None)
    useful = (example for example in examples if tags_of(example) and mask_of(example))
    while batch := list(islice(useful, BATCH_SIZE)):
        rows = networks.run([image_of(example) for example in batch])
        for example, outputs in zip(batch, rows, strict=True):
            image, tags = decode(image_of(example)), tags_of(example)
            objectness, activations = maps_of(image, tags, outputs, networks.image_sizes)
            truth = decode_mask(tf.constant(mask_of(example))).numpy()
            yield KnownImage(image, objectness, np.ascontiguousarray(activations), tags, truth)
