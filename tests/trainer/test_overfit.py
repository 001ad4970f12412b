"""The whole training path works, from records to weights: every backbone learns, and given time it learns by heart."""

import numpy as np
import pytest
import tensorflow as tf
from programs.train_both_stages import write_records

from trainer.config import NetworkConfig, StageConfig
from trainer.data.categories import from_lists
from trainer.data.input_pipeline import training_batches
from trainer.losses import grid_labels
from trainer.metrics import confusion_matrix, scores
from trainer.training.checkpoints import read_history
from trainer.training.session import RunFolders
from trainer.training.stages import L_NET, SEGMENTATION, train

CATEGORIES = from_lists(strong=["disc", "square"], weak=[])
IMAGES = 10
SIZES = {"vgg16": 33}  # 65 for the others; a step of VGG-16 costs ten times as much
FIRST_STEPS = 15
STAGES = {
    "tiny": {"steps": 200, "learning_rate": 3e-3},
    "mobilenet": {"steps": 150, "learning_rate": 1e-3},
    "mobilenet_v2": {"steps": 120, "learning_rate": 1e-3},
    "efficientnet_lite0": {"steps": 120, "learning_rate": 1e-3},
    "resnet50": {"steps": 120, "learning_rate": 3e-4},
    "vgg16": {"steps": 120, "learning_rate": 1.5e-4},
}
NAMES = {"segmentation": SEGMENTATION, "l_net": L_NET}
# VGG-16's L-Net is its segmentation network with another head.
CASES = [(backbone, name) for backbone in STAGES for name in NAMES if (backbone, name) != ("vgg16", "l_net")]

# L-Net is the segmentation network with another head; of every network five updates are in test_backbones.
SLOW = [case for case in CASES if case[0] != "tiny" and case != ("mobilenet_v2", "segmentation")]
QUICK = [pytest.param(*case, marks=[pytest.mark.soak] if case in SLOW else []) for case in CASES]


def train_on_ten(tmp_path, backbone, name, **settings) -> tuple[str, int, tf.keras.Model]:
    """(the records, the size of the network's images, the trained network)."""
    records, size = write_records(tmp_path / "records.gz", IMAGES), SIZES.get(backbone, 65)
    network = NetworkConfig(backbone=backbone, weights=None, image_size=size, precision="float32")
    options = {"batch_size": IMAGES, "optimizer": "adam", "schedule": "poly", "mirror": False}
    stage = StageConfig(**options, checkpoint_every=1000, **STAGES[backbone] | settings)
    folders = RunFolders("test", str(tmp_path / "logs"), str(tmp_path / "c"))
    return records, size, train(NAMES[name], [records], CATEGORIES, network, stage, folders)


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "name"), QUICK)
def test_the_loss_halves_in_a_few_steps(tmp_path, monkeypatch, backbone, name):
    monkeypatch.setattr("trainer.training.session._LOG_EVERY", 1)
    train_on_ten(tmp_path, backbone, name, steps=FIRST_STEPS)
    losses = [row["loss"] for row in read_history(tmp_path / "logs" / "history.csv")]
    assert len(losses) == FIRST_STEPS and np.mean(losses[-5:]) < losses[0] / 2, losses


@pytest.mark.soak
@pytest.mark.parametrize(("backbone", "name"), CASES)
def test_ten_images_are_learned_by_heart(tmp_path, backbone, name):
    records, size, net = train_on_ten(tmp_path, backbone, name)
    options = {"num_categories": 2, "image_size": size, "batch_size": IMAGES, "seed": 0, "mirror": False}
    [batch] = training_batches([records], **options).take(1)
    logits = net(batch["image"], training=False)
    truth = grid_labels(batch["labels"], logits.shape[1]).numpy()
    if name == "l_net":
        truth, prediction = np.where(truth == 255, 255, truth > 0), logits[..., 0].numpy() > 0
    else:
        prediction = tf.argmax(logits, -1).numpy()
    confusion = confusion_matrix(truth, prediction.astype(np.uint8), CATEGORIES.num_classes)
    assert scores(confusion, CATEGORIES).miou > 0.9
