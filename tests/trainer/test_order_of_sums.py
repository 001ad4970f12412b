"""Sums of gradients whose order may change from run to run, and with it the last bits.

TensorFlow's AddN begins with the first input whose memory it may reuse, which the moment decides; of two terms the
order does not matter. TransferNet, a rival, still has two such sums: of its features, and of its attention. The test
of every other network is in `backbone_contract.py`.
"""

import numpy as np
import tensorflow as tf
from backbone_contract import unordered_sums

from trainer import losses
from trainer.models import tiny
from trainer.models.large_fov import build_segmentation
from trainer.models.p_net import build_p_net, encode_p_net_input

SIZE, GRID, CLASSES = 65, 9, 4
IMAGES = tf.zeros([2, SIZE, SIZE, 3])
LABELS = tf.constant(np.random.default_rng(0).integers(0, CLASSES, (2, SIZE, SIZE)).astype(np.uint8))


def test_the_adversarial_ones_have_none():
    net, p_net = build_segmentation("tiny", CLASSES, None, 0), build_p_net(GRID, CLASSES, 0)
    thumbnail, valid = tf.zeros([2, GRID, GRID, 3]), tf.ones([2, GRID, GRID])

    def judged(masks):
        return p_net(encode_p_net_input(thumbnail, masks, valid))

    def joint():
        logits = net(IMAGES, training=True)
        entropy, cells = losses.segmentation_loss(logits, LABELS)
        return entropy + losses.generator_loss(judged(tf.nn.softmax(logits)))[0], cells

    truth = tf.one_hot(losses.grid_labels(LABELS, GRID), CLASSES)
    assert not unordered_sums(joint, net)
    assert not unordered_sums(lambda: losses.p_net_loss(judged(truth), judged(0.25 * tf.ones_like(truth))), p_net)


def test_tensorflows_own_binary_cross_entropy_has_one():
    net = build_segmentation("tiny", 1, None, 0)

    def loss():
        logits = net(IMAGES, training=True)
        labels = tf.cast(losses.grid_labels(LABELS, GRID) > 0, tf.float32)[..., tf.newaxis]
        return tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)), 1.0

    assert len(unordered_sums(loss, net)) == 1


def test_keras_group_normalisation_is_what_tinys_is():
    values = tf.constant(np.random.default_rng(0).normal(2, 3, (2, 5, 7, 16)).astype(np.float32))
    for layer in (tiny.GroupNormalization(8), tf.keras.layers.GroupNormalization(8)):
        layer.build(values.shape)
        layer.set_weights([np.linspace(0.5, 2, 16), np.linspace(-1, 1, 16)])
        with tf.GradientTape() as tape:
            tape.watch(values)
            output = layer(values)
            loss = tf.reduce_sum(output**3)
        found = [output, *tape.gradient(loss, [values, *layer.trainable_variables])]
        if isinstance(layer, tiny.GroupNormalization):
            ours = found
    for a, b in zip(ours, found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def test_the_gradient_of_the_binary_cross_entropy_is_tensorflows():
    logits = tf.constant([-200.0, -3.0, -1e-3, 0.0, 0.5, 40.0, 200.0])
    targets = tf.constant([0.0, 1.0, 0.3, 1.0, 0.0, 1.0, 0.9])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        ours = losses.binary_cross_entropy(logits, targets)
        theirs = tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=logits)
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_allclose(tape.gradient(ours, logits), tape.gradient(theirs, logits), atol=1e-7)
