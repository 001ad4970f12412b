"""The supervised loop on a net small enough to check by hand, and its faults."""

import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from trainer.config import StageConfig
from trainer.errors import UserError
from trainer.losses import segmentation_loss
from trainer.models.dropout import Dropout
from trainer.models.large_fov import build_segmentation
from trainer.training.checkpoints import Preempted, read_history
from trainer.training.loop import fit, make_train_step
from trainer.training.optimizers import LayerwiseSGD, make_optimizer
from trainer.training.session import RunFolders, Session

STAGE = StageConfig(batch_size=4, learning_rate=0.1, schedule="poly", checkpoint_every=5, epochs=1)


def make_net(dropout: float = 0.0) -> tf.keras.Model:
    tf.keras.utils.set_random_seed(1)
    images = tf.keras.Input([17, 17, 3])
    x = tf.keras.layers.Rescaling(1 / 255)(images)
    x = tf.keras.layers.Conv2D(8, 3, strides=8, padding="same", activation="relu", name="conv")(x)
    x = Dropout(dropout, seed=3)(x)
    return tf.keras.Model(images, tf.keras.layers.Conv2D(3, 1, name="fc8")(x))


def make_batch(step: int, size: int = 4) -> dict[str, tf.Tensor]:
    rng = np.random.default_rng(step)
    labels = rng.choice([0, 1, 2, 255], size=(size, 17, 17)).astype(np.uint8)
    image = rng.uniform(0, 255, (size, 17, 17, 3)).astype(np.float32)
    return {
        "image": tf.constant(image),
        "labels": tf.constant(labels),
        "key": tf.constant([f"image-{step}-{i}" for i in range(size)]),
    }


def batches_from(step: int):
    return (make_batch(index) for index in range(step, 1000))


def loss_fn(logits, batch):
    return segmentation_loss(logits, batch["labels"])


def folders(root: Path) -> RunFolders:
    return RunFolders("test", str(root / "logs"), str(root / "checkpoints"))


def weights_after(net: tf.keras.Model) -> list[np.ndarray]:
    return [variable.numpy() for variable in net.variables]


def test_the_loss_falls_and_is_logged(tmp_path):
    net = make_net()
    batch = make_batch(0)
    fit(net, loss_fn, lambda _: iter(lambda: batch, None), STAGE, 60, folders(tmp_path))
    rows = read_history(tmp_path / "logs" / "history.csv")
    assert [row["step"] for row in rows] == list(range(10, 61, 10))
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert (tmp_path / "logs" / "curves.png").stat().st_size > 1000
    assert list((tmp_path / "logs").glob("events.out.tfevents*"))


def test_accumulation_gives_the_update_of_the_whole_batch():
    whole, parts = make_net(), make_net()
    for net, accumulate in ((whole, 1), (parts, 4)):
        make_train_step(net, loss_fn, make_optimizer(net, STAGE, 10), accumulate)(make_batch(3))
    for a, b in zip(weights_after(whole), weights_after(parts), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_a_batch_of_void_changes_nothing_but_the_decay():
    net = make_net()
    stage = STAGE.model_copy(update={"weight_decay": 0.0})
    before = weights_after(net)
    batch = make_batch(0) | {"labels": tf.fill([4, 17, 17], tf.constant(255, tf.uint8))}
    loss, norm = make_train_step(net, loss_fn, make_optimizer(net, stage, 10))(batch)
    assert float(loss) == 0 and float(norm) == 0
    for a, b in zip(before, weights_after(net), strict=True):
        np.testing.assert_array_equal(a, b)


class Killed(Exception):
    pass


@pytest.mark.parametrize("stop_at", [1, 5, 7, 13])
def test_a_killed_run_ends_with_bit_identical_weights(tmp_path, stop_at):
    """Dropout included: its random state is in the checkpoint."""

    def dying_batches(step):
        for index in range(step, 1000):
            if index == stop_at:
                raise Killed
            yield make_batch(index)

    straight = make_net(dropout=0.5)
    fit(straight, loss_fn, batches_from, STAGE, 20, folders(tmp_path / "straight"))
    with pytest.raises(Killed):
        fit(make_net(dropout=0.5), loss_fn, dying_batches, STAGE, 20, folders(tmp_path / "killed"))
    resumed = make_net(dropout=0.5)
    elsewhere = replace(folders(tmp_path / "killed"), logs=str(tmp_path / "again"))  # as TFX gives a resumed run
    fit(resumed, loss_fn, batches_from, STAGE, 20, elsewhere)
    for a, b in zip(weights_after(straight), weights_after(resumed), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (tmp_path / "straight/logs/history.csv").read_text() == (tmp_path / "again/history.csv").read_text()


def test_a_half_written_checkpoint_is_skipped(tmp_path):
    straight = make_net()
    fit(straight, loss_fn, batches_from, STAGE, 20, folders(tmp_path / "straight"))
    fit(make_net(), loss_fn, batches_from, STAGE, 10, folders(tmp_path / "damaged"))
    [newest] = (tmp_path / "damaged" / "checkpoints").glob("ckpt-10.data-*")
    newest.write_bytes(newest.read_bytes()[:100])
    schedule_of_twenty = make_net()
    fit(schedule_of_twenty, loss_fn, batches_from, STAGE, 20, folders(tmp_path / "damaged"))
    assert [row["step"] for row in read_history(tmp_path / "damaged/logs/history.csv")] == [10, 20]


def test_sigterm_saves_first(tmp_path):
    def batches(step):
        for index in range(step, 1000):
            if index == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            yield make_batch(index)

    with pytest.raises(Preempted) as caught:
        fit(make_net(), loss_fn, batches, STAGE, 20, folders(tmp_path))
    assert caught.value.code == 143
    assert list((tmp_path / "checkpoints").glob("ckpt-4.index"))


def test_nan_names_the_step_and_the_images_and_keeps_the_last_checkpoint(tmp_path):
    def batches(step):
        for index in range(step, 1000):
            batch = make_batch(index)
            yield batch | {"image": batch["image"] * np.nan} if index == 7 else batch

    with pytest.raises(UserError, match="step 7 on images image-7-0, image-7-1"):
        fit(make_net(), loss_fn, batches, STAGE, 20, folders(tmp_path))
    assert [path.name for path in (tmp_path / "checkpoints").glob("*.index")] == ["ckpt-5.index"]
    shutil.rmtree(tmp_path)


def test_xla_gives_the_same_update():
    plain, compiled = make_net(), make_net()
    for net, xla in ((plain, False), (compiled, True)):
        make_train_step(net, loss_fn, make_optimizer(net, STAGE, 10), accumulate=2, xla=xla)(make_batch(3))
    for a, b in zip(weights_after(plain), weights_after(compiled), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.fixture
def float16():
    tf.keras.mixed_precision.set_global_policy("mixed_float16")
    yield
    tf.keras.mixed_precision.set_global_policy("float32")


def test_float16_trains(float16):
    net = make_net()
    optimizer = make_optimizer(net, STAGE, 100)
    step = make_train_step(net, loss_fn, optimizer)
    losses, norms = zip(*(map(float, step(make_batch(0))) for _ in range(40)), strict=True)
    assert np.isfinite(losses).all() and losses[-1] < losses[0] and min(norms) > 0


def test_float16_overflow_leaves_the_step_out_and_halves_the_scale(float16):
    net = make_net()
    optimizer = tf.keras.mixed_precision.LossScaleOptimizer(LayerwiseSGD(0.1), initial_scale=2.0**40)
    before = weights_after(net)
    loss, norm = make_train_step(net, loss_fn, optimizer)(make_batch(0))
    assert np.isfinite(float(loss)) and float(norm) == 0 and float(optimizer.loss_scale) == 2.0**39
    for a, b in zip(before, weights_after(net), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_batch_that_does_not_divide_is_refused(tmp_path):
    stage = STAGE.model_copy(update={"accumulate": 3})
    with pytest.raises(UserError, match="batch_size 4 does not divide into 1 devices times accumulate 3; nearest: 3"):
        fit(make_net(), loss_fn, batches_from, stage, 20, folders(tmp_path))


def test_warnings_are_kept_beside_the_history(tmp_path):
    with Session(folders(tmp_path), 1, 5, net=make_net()) as session:
        session.end_step({"loss": 1.0}, tf.constant(["a"]))
        session.warn("something is odd")
    assert (tmp_path / "logs" / "warnings.txt").read_text() == "something is odd\n"


def test_a_frozen_backbone_keeps_its_weights(tmp_path):
    net = build_segmentation("tiny", 3, None, 0)
    before = {weight.name: weight.numpy() for weight in net.weights}
    batch = make_batch(0) | {"image": tf.zeros([4, 17, 17, 3]) + 90.0}
    stage = STAGE.model_copy(update={"freeze_backbone": True})
    fit(net, loss_fn, lambda _: iter(lambda: batch, None), stage, 3, folders(tmp_path))
    changed = {weight.name.split("/")[0] for weight in net.weights if (weight.numpy() != before[weight.name]).any()}
    assert "fc8" in changed and changed <= {"fc6", "fc7", "fc8"}
