"""Every backbone with its ImageNet weights begins well on real images at the paper's rates.

Images are those of TRANSFERSEG_DATA/voc12_ps20, weights lie in TRANSFERSEG_DATA/../weights. In `make soak` a backbone
without a file there begins from random ones.
"""

import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from backbone_contract import mean

from components.image_example_gen.records import read_record
from trainer.config import NetworkConfig, StageConfig
from trainer.data.categories import VOC, from_lists
from trainer.data.input_pipeline import training_batches
from trainer.losses import foreground_loss, segmentation_loss, tag_loss
from trainer.models.backbones import BACKBONES
from trainer.models.cam import build_cam
from trainer.models.large_fov import build_segmentation
from trainer.training.checkpoints import read_history
from trainer.training.session import RunFolders
from trainer.training.stages import SEGMENTATION, train

CATEGORIES = from_lists(strong=VOC, weak=[])
SIZE, BATCH, IMAGES = 129, 2, 100  # a batch of 30 is calmer
FILES = {
    "vgg16": "vgg16_tf_no_top.h5",
    "mobilenet_v2": "mobilenet_v2_1_0_224_tf_no_top.h5",
    "mobilenet": "mobilenet_1_0_224_tf_no_top.h5",
    "efficientnet_lite0": "efficientnet_lite0_tf_no_top.h5",
}


@pytest.fixture(scope="module")
def records(real_data, tmp_path_factory) -> str:
    root, path = real_data / "voc12_ps20", str(tmp_path_factory.mktemp("records") / "real.gz")
    keys = (root / "ImageSets" / "Segmentation" / "train.txt").read_text().split()[:IMAGES]
    with tf.io.TFRecordWriter(path, "GZIP") as writer:
        for key in keys:
            writer.write(read_record(root, key, CATEGORIES, evaluation=True).example)
    return path


def weights_of(backbone: str, real_data: Path) -> str | None:
    return str(real_data.parent / "weights" / FILES[backbone]) if backbone in FILES else None


@pytest.mark.slow
@pytest.mark.parametrize("backbone", FILES)  # from random weights backbone_contract.py has it
def test_first_losses_are_those_of_knowing_nothing(records, real_data, backbone):
    weights = weights_of(backbone, real_data)
    [batch] = training_batches([records], num_categories=20, image_size=SIZE, batch_size=8, seed=0).take(1)
    image = batch["image"]
    segmentation, l_net = (
        build_segmentation(backbone, classes, weights, 0)(image, training=True) for classes in (21, 1)
    )
    cam = build_cam(backbone, 20, weights, 0)(image, training=True)
    losses = {
        "segmentation": segmentation_loss(segmentation, batch["labels"]),
        "l_net": foreground_loss(l_net, batch["labels"]),
        "cam": tag_loss(cam["scores"], batch["tags"]),
    }
    expected = {"segmentation": math.log(21), "l_net": math.log(2), "cam": math.log(2)}
    assert {name: float(mean(loss)) for name, loss in losses.items()} == pytest.approx(expected, rel=0.1)


@pytest.mark.soak
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_two_hundred_updates_at_the_papers_rates(records, real_data, tmp_path, monkeypatch, backbone, precision):
    """SGD 1e-3 with momentum .9 and multipliers 1, 2, 10, 20, not yet decayed. A NaN would end the training."""
    monkeypatch.setattr("trainer.training.session._LOG_EVERY", 1)
    network = NetworkConfig(
        backbone=backbone, weights=weights_of(backbone, real_data), image_size=SIZE, precision=precision
    )
    stage = StageConfig(batch_size=BATCH, steps=200, schedule="constant", checkpoint_every=1000)
    folders = RunFolders("test", str(tmp_path / "logs"), str(tmp_path / "checkpoints"))
    train(SEGMENTATION, [records], CATEGORIES, network, stage, folders)
    losses = np.array([row["loss"] for row in read_history(tmp_path / "logs" / "history.csv")])
    assert len(losses) == 200
    assert losses[0] == pytest.approx(math.log(21), rel=0.1)
    assert losses[90:100].mean() < math.log(21) and losses[190:].mean() < math.log(21), losses
