"""TransferNet: sizes, alignment, the loss against numpy, and that it learns to draw what it is asked for."""

import numpy as np
import pytest
import tensorflow as tf

from trainer.baselines.transfer_training import asked_tags, check_size, transfer_loss
from trainer.config import StageConfig
from trainer.errors import UserError
from trainer.models.transfer_net import build_transfer_net
from trainer.training.optimizers import apply_gradients, make_optimizer, scaled_gradients


@pytest.fixture(scope="module")
def net():
    return build_transfer_net("tiny", 3, None, 0)


def ask(net, images, tags):
    return net([tf.constant(images), tf.one_hot(np.array(tags) - 1, 3)])


def test_grids_align_with_the_corners_and_attention_sums_to_one(net):
    for size, attention, mask in ((65, 5, 17), (161, 11, 41)):
        images = np.random.default_rng(0).uniform(0, 255, (2, size, size, 3)).astype(np.float32)
        out = ask(net, images, [1, 3])
        assert out["attention"].shape == (2, attention, attention, 1) and out["mask"].shape == (2, mask, mask, 1)
        np.testing.assert_allclose(out["attention"].numpy().sum((1, 2, 3)), 1, rtol=1e-5)
        assert out["scores"].shape == (2, 3)


def test_a_mirrored_image_gives_the_mirrored_attention_grid(net):
    """With symmetric kernels everything mirrors exactly, so no grid is shifted."""
    mirrored = build_transfer_net("tiny", 3, None, 0)
    for variable in mirrored.trainable_variables:
        if variable.shape.rank == 4:
            value = variable.numpy()
            variable.assign((value + value[:, ::-1]) / 2)
    images = np.random.default_rng(0).uniform(0, 255, (1, 65, 65, 3)).astype(np.float32)
    one, other = ask(mirrored, images, [2]), ask(mirrored, images[:, :, ::-1], [2])
    for name in ("attention", "mask"):
        np.testing.assert_allclose(one[name], other[name][:, :, ::-1], rtol=1e-3, atol=1e-4)


def test_what_is_asked_for_changes_the_attention(net):
    images = np.random.default_rng(1).uniform(0, 255, (1, 65, 65, 3)).astype(np.float32)
    one, other = ask(net, images, [1]), ask(net, images, [2])
    assert np.abs(one["attention"] - other["attention"]).max() > 1e-6


def test_loss_equals_numpy():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, (4, 65, 65)).astype(np.uint8)
    labels[rng.random(labels.shape) < 0.2] = 255
    labels[2] = 255
    asked = np.eye(3, dtype=np.float32)[[0, 2, 1, 0]]
    asked[3] = 0
    outputs = {"scores": rng.normal(size=(4, 3)).astype(np.float32), "mask": rng.normal(size=(4, 17, 17, 1))}
    outputs["mask"] = outputs["mask"].astype(np.float32)
    tensors = {name: tf.constant(value) for name, value in outputs.items()}
    total, count = transfer_loss(tensors, tf.constant(labels), tf.constant(asked))

    expected = 0.0
    for i, tag in enumerate((1, 3, 2)):
        scores = outputs["scores"][i].astype(float)
        expected += np.log(np.exp(scores).sum()) - scores[tag - 1]
        cells, logits = labels[i, ::4, ::4], outputs["mask"][i, ..., 0].astype(float)
        if (cells != 255).any():
            probability = 1 / (1 + np.exp(-logits))
            entropy = -np.where(cells == tag, np.log(probability), np.log(1 - probability))
            expected += entropy[cells != 255].mean()
    assert float(count) == 3 and float(total) == pytest.approx(expected, rel=1e-5)


def test_asked_tags_are_the_images_own_and_the_same_for_the_same_batch():
    tags = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0]], np.float32)
    seen = set()
    for value in range(20):
        batch = {"image": tf.fill([3, 17, 17, 3], float(value)), "tags": tf.constant(tags)}
        asked = asked_tags(batch, 0).numpy()
        np.testing.assert_array_equal(asked, asked_tags(batch, 0))
        assert (asked <= tags).all() and asked.sum(1).tolist() == [1, 1, 0]
        seen.add(int(asked[0].argmax()))
    assert seen == {0, 2}


def test_sizes_that_do_not_align_are_refused():
    check_size(161)
    with pytest.raises(UserError, match="needs 16k\\+1, not 169; nearest: 1(61|77)"):
        check_size(169)


@pytest.mark.slow
def test_it_learns_to_draw_what_it_is_asked_for():
    """Two squares of two colours; the mask must follow the question. Images asked for the third have no mask."""
    rng = np.random.default_rng(0)
    colours = np.array([[230, 40, 40], [40, 230, 40], [40, 40, 230]], np.float32)
    count, size = 24, 65
    images, labels = np.full((count, size, size, 3), 128, np.float32), np.zeros((count, size, size), np.uint8)
    asked = np.zeros((count, 3), np.float32)
    for i in range(count):
        pair = rng.permutation(3)[:2]
        for tag, left in zip(pair, rng.permutation([0, 33]), strict=True):
            top = rng.integers(0, 33)
            images[i, top : top + 30, left : left + 30] = colours[tag]
            labels[i, top : top + 30, left : left + 30] = tag + 1
        asked[i, pair[0]] = 1
    truth = labels[:, ::4, ::4].copy()
    labels[asked[:, 2] > 0] = 255
    net = build_transfer_net("tiny", 3, None, 0)
    optimizer = make_optimizer(net, StageConfig(optimizer="adam", learning_rate=3e-3, schedule="constant"), 150)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            total, number = transfer_loss(net([images, asked], training=True), tf.constant(labels), tf.constant(asked))
            loss = total / number
        variables = net.trainable_variables
        apply_gradients(optimizer, scaled_gradients(optimizer, tape, loss, variables), variables)
        return loss

    for _ in range(150):
        loss = step()
    masks = net([images, asked])["mask"].numpy()[..., 0] > 0
    wanted = truth == (asked.argmax(1) + 1)[:, None, None]
    iou = (masks & wanted).sum((1, 2)) / (masks | wanted).sum((1, 2))
    assert iou[asked[:, 2] == 0].mean() > 0.8, float(loss)
