"""Trained network -> scores on the eval list, at the images' own sizes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import tensorflow as tf

from components.image_example_gen import voc
from components.image_example_gen.records import read_record
from pipeline.experiment.networks import Networks
from serving.image_guard import MAX_PIXELS
from serving.signatures import segmentation_signatures
from trainer.categories import Categories
from trainer.metrics import Scores, scores
from trainer.models.large_fov import build_segmentation

_BATCH = 8


def score(networks: Networks, categories: Categories, trained: Path) -> Scores:
    """Scores of the network in the folder of a `trained` step, by the exported graph's own counting."""
    config, number = networks.config, categories.num_classes

    def make(partial: Path) -> None:
        net = networks.load(lambda: build_segmentation(config.backbone, number, None, config.seed), trained)
        evaluate = segmentation_signatures(net, number, config.image_size, MAX_PIXELS)["evaluate"]
        root, keys = config.dataset.root, voc.list_keys(config.dataset.root, config.dataset.eval)
        counts = np.zeros((2, number, number), np.int64)
        for start in range(0, len(keys), _BATCH):
            batch = keys[start : start + _BATCH]
            examples = [read_record(root, key, categories, evaluation=True).example for key in batch]
            answer = evaluate(examples=tf.constant(examples))
            for total, name in zip(counts, ("confusion", "boundary"), strict=True):
                total += answer[name].numpy().sum(0).reshape(number, number)
        (partial / "counts.json").write_text(json.dumps(counts.tolist()))

    folder = networks.step("scores", make, trained.name, config.dataset.eval)
    confusion, boundary = np.array(json.loads((folder / "counts.json").read_text()))
    return scores(confusion, categories, boundary)
