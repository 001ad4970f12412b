"""Updates compiled with XLA under op determinism: every backbone compiles, and repeats to the last bit."""

from itertools import product

import numpy as np
import pytest
import tensorflow as tf

from trainer.config import NetworkConfig, StageConfig
from trainer.losses import segmentation_loss
from trainer.models.backbones import BACKBONES
from trainer.models.large_fov import build_segmentation
from trainer.training.devices import prepare
from trainer.training.loop import make_train_step
from trainer.training.optimizers import make_optimizer

pytestmark = pytest.mark.slow  # compiles whole networks

SIZE, CLASSES = 33, 5


def losses_of_three_updates(backbone: str, precision: str) -> list[float]:
    prepare(NetworkConfig(backbone=backbone, weights=None, image_size=SIZE, precision=precision, xla=True))
    net = build_segmentation(backbone, CLASSES, None, 0)
    stage = StageConfig(batch_size=2, learning_rate=1e-3)
    rng = np.random.default_rng(0)
    batch = {
        "image": tf.constant(rng.uniform(0, 255, (2, SIZE, SIZE, 3)).astype(np.float32)),
        "labels": tf.constant(rng.choice([0, 1, 2, 3, 4, 255], (2, SIZE, SIZE)).astype(np.uint8)),
        "key": tf.constant(["a", "b"]),
    }
    optimizer = make_optimizer(net, stage, 10)
    step = make_train_step(net, lambda logits, b: segmentation_loss(logits, b["labels"]), optimizer, xla=True)
    return [float(value) for _ in range(3) for value in step(batch)]


QUICK = [("tiny", "mixed_float16")]
ALL = [
    pytest.param(*pair, marks=() if pair in QUICK else pytest.mark.soak)
    for pair in product(BACKBONES, ("float32", "mixed_float16"))
]


@pytest.mark.parametrize(("backbone", "precision"), ALL)
def test_updates_repeat_to_the_last_bit(backbone, precision):
    first = losses_of_three_updates(backbone, precision)
    assert np.isfinite(first).all() and min(first[1::2]) > 0
    assert losses_of_three_updates(backbone, precision) == first
