"""What TensorBoard is shown: sizes, colours, and that a perfect prediction looks like the truth."""

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from trainer.config import StageConfig
from trainer.data.categories import palette
from trainer.losses import segmentation_loss
from trainer.models.large_fov import build_segmentation
from trainer.training.loop import fit
from trainer.training.panels import activation_panel, foreground_panel, segmentation_panel
from trainer.training.session import RunFolders

SIZE, GRID, CLASSES = 33, 5, 4


@pytest.fixture
def batch():
    labels = np.zeros((2, SIZE, SIZE), np.uint8)
    labels[:, :, 16:] = 3
    labels[1, :8] = 255
    return {
        "image": tf.fill([2, SIZE, SIZE, 3], 90.7),
        "labels": tf.constant(labels),
        "tags": tf.constant([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]),
        "key": tf.constant(["a", "b"]),
    }


def thirds(panel):
    assert panel.shape == (2, SIZE, 3 * SIZE, 3) and panel.dtype == tf.uint8
    return np.split(panel.numpy(), 3, axis=2)


def test_segmentation_shows_classes_in_their_colours(batch):
    logits = 9 * tf.one_hot(tf.cast(batch["labels"][:, ::8, ::8], tf.int32), CLASSES)
    image, truth, prediction = thirds(segmentation_panel(logits, batch))
    assert (image == 90).all()
    np.testing.assert_array_equal(truth, palette()[batch["labels"].numpy()])
    np.testing.assert_array_equal(prediction[0, :, [2, 30]], palette()[[0, 3]][:, None].repeat(SIZE, 1))


def test_foreground_shows_the_map_in_grey(batch):
    _, _, prediction = thirds(foreground_panel(tf.fill([2, GRID, GRID, 1], 0.0), batch))
    assert (prediction == 127).all()


def test_activations_of_other_tags_are_black(batch):
    maps = tf.constant(np.tile(np.float32([5, 0, 1]), (2, GRID, GRID, 1)))
    _, _, prediction = thirds(activation_panel({"maps": maps}, batch))
    assert (prediction[0] == 255).all() and (prediction[1] == 0).all()


def test_a_run_leaves_pictures_in_its_events(tmp_path, batch):
    net = build_segmentation("tiny", CLASSES, None, 0)
    stage = StageConfig(batch_size=2, checkpoint_every=2)
    folders = RunFolders("test", str(tmp_path / "logs"), str(tmp_path / "checkpoints"))

    def loss(logits, batch):
        return segmentation_loss(logits, batch["labels"])

    fit(net, loss, lambda _: iter(lambda: batch, None), stage, 4, folders, segmentation_panel)
    events = EventAccumulator(str(tmp_path / "logs"), size_guidance={"tensors": 0}).Reload()
    pictures = events.Tensors("predictions")
    assert [event.step for event in pictures] == [2, 4]
    png = pictures[0].tensor_proto.string_val[2]
    assert tf.io.decode_png(png).shape == (SIZE, 3 * SIZE, 3)
