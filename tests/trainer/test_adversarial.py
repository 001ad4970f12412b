"""Eq. 3-5 against numpy, and what each phase may touch."""

from collections import deque

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import config

from trainer.config import AdversarialConfig, NetworkConfig, StageConfig
from trainer.models.p_net import build_p_net
from trainer.training.adversarial import collapsed, fit_adversarial, make_p_net_step, make_segmentation_step
from trainer.training.checkpoints import read_history
from trainer.training.devices import prepare
from trainer.training.optimizers import make_optimizer
from trainer.training.session import RunFolders

CLASSES, SIZE, GRID = 3, 65, 9
SETTINGS = AdversarialConfig(batch_size=2, weight=0.3, p_net_learning_rate=0.01, segmentation_learning_rate=0.01)


def make_net() -> tf.keras.Model:
    tf.keras.utils.set_random_seed(2)
    images = tf.keras.Input([SIZE, SIZE, 3])
    x = tf.keras.layers.Rescaling(1 / 255)(images)
    x = tf.keras.layers.Conv2D(8, 3, strides=8, padding="same", activation="relu", name="conv")(x)
    return tf.keras.Model(images, tf.keras.layers.Conv2D(CLASSES, 1, name="fc8")(x))


def make_batch(seed: int = 0) -> dict[str, tf.Tensor]:
    rng = np.random.default_rng(seed)
    return {
        "image": tf.constant(rng.uniform(0, 255, (2, SIZE, SIZE, 3)).astype(np.float32)),
        "labels": tf.constant(rng.choice([0, 1, 2, 255], size=(2, SIZE, SIZE)).astype(np.uint8)),
        "key": tf.constant(["a", "b"]),
    }


def numpy_inputs(batch, net):
    """P-Net's two inputs by plain loops over classes and colours."""
    labels = batch["labels"].numpy()[:, ::8, ::8]
    logits = net(batch["image"]).numpy().astype(np.float64)
    softmax = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    weights = np.maximum(0, 1 - np.abs(np.arange(SIZE) - 8 * np.arange(GRID)[:, None]) / 8)  # cell i on pixel 8i
    weights /= weights.sum(1, keepdims=True)
    small = np.einsum("iy,jx,byxc->bijc", weights, weights, batch["image"].numpy()) / 255
    real, fake = np.zeros((2, 2, GRID, GRID, 3 * CLASSES))
    for c in range(CLASSES):
        for k in range(3):
            real[..., 3 * c + k] = small[..., k] * (labels == c)
            fake[..., 3 * c + k] = small[..., k] * softmax[..., c] * (labels != 255)
    return labels, softmax, real, fake


def bce(target: float, logits: np.ndarray) -> np.ndarray:
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    return -(target * np.log(p) + (1 - target) * np.log(1 - p))


def optimizer_for(model):
    return make_optimizer(model, StageConfig(learning_rate=0.01, schedule="constant"), 10)


def test_p_net_loss_is_equation_5_and_leaves_the_segmentation_network_alone():
    net, p_net, batch = make_net(), build_p_net(GRID, CLASSES, 0), make_batch()
    _, _, real, fake = numpy_inputs(batch, net)
    expected = (bce(1, p_net(real).numpy()) + bce(0, p_net(fake).numpy())).mean()
    before = [v.numpy() for v in net.variables]
    loss, accuracy, _ = make_p_net_step(net, p_net, optimizer_for(p_net), SETTINGS)(batch)
    np.testing.assert_allclose(float(loss), expected, rtol=1e-4)
    assert 0 <= float(accuracy) <= 1
    for a, b in zip(before, net.variables, strict=True):
        np.testing.assert_array_equal(a, b.numpy())


def test_segmentation_loss_is_equation_4_and_leaves_p_net_alone():
    net, p_net, batch = make_net(), build_p_net(GRID, CLASSES, 0), make_batch()
    labels, softmax, _, fake = numpy_inputs(batch, net)
    valid = labels != 255
    expected = -np.log(np.take_along_axis(softmax, np.where(valid, labels, 0)[..., None].astype(int), -1)[..., 0])[
        valid
    ]
    before = [v.numpy() for v in p_net.variables]
    p_logits = p_net(fake).numpy()
    cross_entropy, adversarial, _ = make_segmentation_step(net, p_net, optimizer_for(net), SETTINGS)(batch)
    np.testing.assert_allclose(float(cross_entropy), expected.mean(), rtol=1e-4)
    np.testing.assert_allclose(float(adversarial), bce(1, p_logits).mean(), rtol=1e-4)
    for a, b in zip(before, p_net.variables, strict=True):
        np.testing.assert_array_equal(a, b.numpy())


def test_lambda_scales_the_adversarial_gradient():
    updates = []
    for weight in (0.0, 1.0):
        net, p_net, batch = make_net(), build_p_net(GRID, CLASSES, 0), make_batch()
        before = net.get_layer("conv").kernel.numpy()
        settings = SETTINGS.model_copy(update={"weight": weight})
        make_segmentation_step(net, p_net, optimizer_for(net), settings)(batch)
        updates.append(net.get_layer("conv").kernel.numpy() - before)
    assert np.abs(updates[0] - updates[1]).max() > 0


@pytest.fixture
def fresh():
    """As in a process of its own: what switched determinism on before did so for good."""
    config.disable_op_determinism()


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"accumulate": 2}, {"xla": True}])
def test_parts_and_xla_change_no_update(options, fresh):
    prepare(NetworkConfig(backbone="tiny", weights=None, image_size=65, precision="float32", xla="xla" in options))
    after = []
    for xla, accumulate in ((False, 1), (options.get("xla", False), options.get("accumulate", 1))):
        net, p_net, batch = make_net(), build_p_net(GRID, CLASSES, 0), make_batch()
        settings = SETTINGS.model_copy(update={"accumulate": accumulate})
        reports = [
            *make_p_net_step(net, p_net, optimizer_for(p_net), settings, xla)(batch),
            *make_segmentation_step(net, p_net, optimizer_for(net), settings, xla)(batch),
        ]
        after.append([np.asarray(value) for value in (*reports, *net.variables, *p_net.variables)])
    for a, b in zip(*after, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_pretraining_sees_strong_images_only_and_then_all(tmp_path):
    asked = []

    def source(name):
        def batches_from(step):
            asked.append((name, step))
            return (make_batch(index) for index in range(step, 100))

        return batches_from

    net, p_net = make_net(), build_p_net(GRID, CLASSES, 0)
    folders = RunFolders("adversarial", str(tmp_path / "logs"), str(tmp_path / "ckpt"))
    fit_adversarial(net, p_net, source("strong"), source("all"), SETTINGS, 10, 10, folders)
    assert asked == [("strong", 0), ("all", 0)]
    before, after = read_history(tmp_path / "logs" / "history.csv")
    assert before["segmentation_loss"] == 0 and after["segmentation_loss"] > 0
    assert 0 <= after["p_net_accuracy"] <= 1


def test_without_pretraining_the_joint_phase_begins_at_once(tmp_path):
    net, p_net = make_net(), build_p_net(GRID, CLASSES, 0)
    folders = RunFolders("direct", str(tmp_path / "logs"), str(tmp_path / "ckpt"))

    def never(step):
        raise AssertionError("strong batches asked for without pre-training")

    def batches(step):
        return (make_batch(index) for index in range(step, 100))

    settings = SETTINGS.model_copy(update={"pretrain": False})
    assert settings.num_pretrain_steps(1000) == 0
    fit_adversarial(net, p_net, never, batches, settings, settings.num_pretrain_steps(1000), 10, folders)
    assert read_history(tmp_path / "logs" / "history.csv")[-1]["segmentation_loss"] > 0


def test_a_pinned_accuracy_is_a_collapse():
    assert collapsed(deque([0.5] * 5, maxlen=5)) == 0.5
    assert collapsed(deque([1.0] * 5, maxlen=5)) == 1.0
    assert collapsed(deque([0.5, 0.7, 0.5, 0.6, 0.5], maxlen=5)) is None
    assert collapsed(deque([1.0], maxlen=5)) is None
