"""Every backbone can learn ten images by heart: the whole training path works, from records to weights.

VGG-16 does it as segmentation network alone: L-Net is the same network with another head, and three minutes more.
"""

import numpy as np
import pytest
import tensorflow as tf
from programs.train_both_stages import write_records

from trainer.categories import from_lists
from trainer.config import NetworkConfig, StageConfig
from trainer.input_pipeline import training_batches
from trainer.l_net import train_l_net
from trainer.losses import grid_labels
from trainer.metrics import confusion_matrix, scores
from trainer.segmentation import train_segmentation
from trainer.session import RunFolders

CATEGORIES = from_lists(strong=["disc", "square"], weak=[])
IMAGES = 10
SIZES = {"vgg16": 33}  # 65 for the others; a step of VGG-16 costs ten times as much
STAGES = {
    "tiny": {"steps": 200, "learning_rate": 3e-3},
    "mobilenet": {"steps": 150, "learning_rate": 1e-3},
    "mobilenet_v2": {"steps": 120, "learning_rate": 1e-3},
    "vgg16": {"steps": 120, "learning_rate": 1.5e-4},
}
TRAIN = (train_segmentation, train_l_net)
CASES = [(backbone, train) for backbone in STAGES for train in TRAIN if (backbone, train) != ("vgg16", train_l_net)]


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "train"), CASES)
def test_ten_images_are_learned_by_heart(tmp_path, backbone, train):
    records, size = write_records(tmp_path / "records.gz", IMAGES), SIZES.get(backbone, 65)
    network = NetworkConfig(backbone=backbone, weights=None, image_size=size, precision="float32")
    stage = StageConfig(
        batch_size=IMAGES, optimizer="adam", schedule="poly", mirror=False, checkpoint_every=1000, **STAGES[backbone]
    )
    net = train([records], CATEGORIES, network, stage, RunFolders("test", str(tmp_path / "logs"), str(tmp_path / "c")))

    options = {"num_categories": 2, "image_size": size, "batch_size": IMAGES, "seed": 0, "mirror": False}
    [batch] = training_batches([records], **options).take(1)
    logits = net(batch["image"], training=False)
    truth = grid_labels(batch["labels"], logits.shape[1]).numpy()
    if train is train_l_net:
        truth, answer = np.where(truth == 255, 255, truth > 0), logits[..., 0].numpy() > 0
    else:
        answer = tf.argmax(logits, -1).numpy()
    confusion = confusion_matrix(truth, answer.astype(np.uint8), CATEGORIES.num_classes)
    assert scores(confusion, CATEGORIES).miou > 0.9
