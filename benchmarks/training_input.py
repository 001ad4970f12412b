"""The input pipeline alone: records and batches as a training has them."""

from __future__ import annotations

import time

import cv2
import numpy as np
import tensorflow as tf
from tensorflow.python.framework import config

from benchmarks.rows import real_files
from trainer.config import NetworkConfig
from trainer.data import features
from trainer.data.input_pipeline import training_batches
from trainer.training.devices import prepare

IMAGES, SHARDS, SECONDS = 256, 4, 5.0


def write_records(folder: str) -> str:
    """Records of 256 images of 500 x 375 with masks: of TRANSFERSEG_DATA, or drawn; returns their pattern."""
    encoded = _real() or _drawn()
    for shard in range(SHARDS):
        with tf.io.TFRecordWriter(f"{folder}/examples-{shard}.gz", "GZIP") as writer:
            for number in range(shard, IMAGES, SHARDS):
                image, mask = encoded[number % len(encoded)]
                height, width = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR).shape[:2]
                example = features.make_example(f"{number:04d}", image, height, width, [1], mask)
                writer.write(example.SerializeToString())
    return f"{folder}/examples-*.gz"


def _real() -> list[tuple[bytes, bytes]]:
    masks = real_files("SegmentationClass")[:IMAGES]
    images = [path.parents[1] / "JPEGImages" / f"{path.stem}.jpg" for path in masks]
    return [(image.read_bytes(), mask.read_bytes()) for image, mask in zip(images, masks, strict=True)]


def _drawn() -> list[tuple[bytes, bytes]]:
    rng, found = np.random.default_rng(0), []
    for _ in range(32):
        image = cv2.resize(rng.integers(0, 255, (25, 33, 3)).astype(np.uint8), (500, 375))
        mask = cv2.resize(rng.integers(0, 21, (6, 8)).astype(np.uint8), (500, 375), interpolation=cv2.INTER_NEAREST)
        found.append(tuple(cv2.imencode(suffix, a)[1].tobytes() for suffix, a in ((".jpg", image), (".png", mask))))
    return found


def measure_batches(records: str, size: int, batch: int, deterministic: bool) -> float:
    """Images per second of the batches that a training takes from the records."""
    prepare(NetworkConfig(backbone="tiny", weights=None, image_size=size))
    if not deterministic:
        config.disable_op_determinism()
    batches = training_batches(
        sorted(tf.io.gfile.glob(records)),
        num_categories=20,
        image_size=size,
        batch_size=batch,
        seed=0,
        scale=(0.8, 1.4),
        colour_jitter=0.2,
    )
    iterator = iter(batches)
    for _ in range(4):
        next(iterator)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        next(iterator)
        count += batch
    return count / (time.perf_counter() - start)
