"""Trained network -> scores on the eval list, at the images' own sizes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from components.image_example_gen.records import EVAL
from pipeline.experiment.steps import ExperimentSteps
from serving.signatures import segmentation_signatures
from trainer.baselines.dense_crf import dense_crf
from trainer.data import features
from trainer.data.categories import Categories
from trainer.data.input_pipeline import record_files
from trainer.data.preprocessing import decode_mask
from trainer.inference.looks import Look
from trainer.inference.one_image import predict_on_pixels
from trainer.metrics import Scores, boundary_confusion, confusion_matrix, scores
from trainer.progress import progress
from trainer.threads import in_threads
from trainer.training.stages import SEGMENTATION

_BATCH = 8


def score(networks: ExperimentSteps, categories: Categories, trained: Path, crf: bool = False) -> Scores:
    """Scores of the network in the folder of a `trained` step; with `crf` after a dense CRF (seconds an image)."""

    def make(partial: Path) -> None:
        net = networks.load(SEGMENTATION, categories, trained)
        counts = (_count_refined if crf else _count)(networks, categories, net)
        (partial / "counts.json").write_text(json.dumps(counts.tolist()))

    look = networks.config.look("segmentation")
    usual = look == Look(size=networks.config.network.image_size)
    identity = (trained.name, networks.config.dataset.eval, crf, *([] if usual else [look]))
    folder = networks.step("scores", make, *identity)
    confusion, boundary = np.array(json.loads((folder / "counts.json").read_text()))
    return scores(confusion, categories, boundary)


def _count(networks: ExperimentSteps, categories: Categories, net: tf.keras.Model) -> np.ndarray:
    """int64 [2, C, C]: confusion and boundary counts over the eval list, by the exported graph's own counting."""
    config, number = networks.config, categories.num_classes
    signatures = segmentation_signatures(net, number, config.look("segmentation"), config.inference.max_pixels)
    evaluate = signatures["evaluate"]

    def count(batch: tf.Tensor) -> np.ndarray:
        outputs = evaluate(examples=batch)
        found = [outputs[name].numpy().sum(0).reshape(number, number) for name in ("confusion", "boundary")]
        return np.array(found, np.int64)

    return _summed(count, _examples(networks, categories).batch(_BATCH), number)


def _count_refined(networks: ExperimentSteps, categories: Categories, net: tf.keras.Model) -> np.ndarray:
    """As `_count`, with each image's probabilities refined by the dense CRF before the decision."""
    look, number = networks.config.look("segmentation"), categories.num_classes

    def count(serialized: tf.Tensor) -> np.ndarray:
        example = tf.io.parse_single_example(serialized, features.PARSE_SPEC)
        truth = decode_mask(example[features.MASK]).numpy()
        image, logits = predict_on_pixels(net, example[features.IMAGE].numpy(), look, number)
        predicted = dense_crf(image.numpy(), tf.nn.softmax(logits).numpy()).argmax(-1)
        found = confusion_matrix(truth, predicted, number), boundary_confusion(truth, predicted, number)
        return np.array(found, np.int64)[..., :number]

    return _summed(count, _examples(networks, categories), number)


def _summed(count: Callable[[tf.Tensor], np.ndarray], items: tf.data.Dataset, number: int) -> np.ndarray:
    total, items = np.zeros((2, number, number), np.int64), list(items)
    for counts in progress(in_threads(count, items), desc="      scores", total=len(items)):
        total += counts
    return total


def _examples(networks: ExperimentSteps, categories: Categories) -> tf.data.Dataset:
    """The serialised examples of the eval list."""
    return tf.data.TFRecordDataset(record_files([networks.split(categories, EVAL)]), compression_type="GZIP")
