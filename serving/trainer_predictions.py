"""What the trainer's own network says about a few images, kept in the export: a served model must say the same.

They are computed with the Keras network in the training process, not by the exported graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from trainer.data import features
from trainer.data.preprocessing import decode_mask
from trainer.inference.looks import Look
from trainer.inference.one_image import predict_on_pixels

PATH = Path("assets.extra") / "trainer_predictions.tfrecord"


def write_trainer_predictions(directory: Path, net: tf.keras.Model, images: Sequence[bytes], look: Look) -> None:
    """Predicts each image with `net` (as in `export_segmentation`) and writes image and mask as tf.Examples."""
    with tf.io.TFRecordWriter(str(directory / PATH)) as writer:
        for i, data in enumerate(images):
            image, logits = predict_on_pixels(net, data, look, net.output_shape[-1])
            mask = tf.io.encode_png(tf.cast(tf.argmax(logits, -1), tf.uint8)[..., tf.newaxis]).numpy()
            writer.write(features.make_example(str(i), data, *image.shape[:2], [], mask).SerializeToString())


def read_trainer_predictions(directory: Path) -> list[tuple[bytes, np.ndarray]]:
    """(image bytes, uint8 [H, W] ids) of an exported model; empty if it holds none."""
    path = Path(directory) / PATH
    if not path.exists():
        return []
    pairs = []
    for record in tf.data.TFRecordDataset(str(path)):
        parsed = tf.io.parse_single_example(record, features.PARSE_SPEC)
        pairs.append((parsed[features.IMAGE].numpy(), decode_mask(parsed[features.MASK]).numpy()))
    return pairs
