"""Starting values: what is rescaled, by how much, and the first losses of heads that are not the segmentation's."""

import math

import numpy as np
import pytest
import tensorflow as tf
from backbone_contract import made_up_batch, mean
from tensorflow import keras
from tensorflow.keras import layers

from trainer.losses import foreground_loss, p_net_loss, tag_loss
from trainer.models.initial_values import initialise, made_up_images, rescale
from trainer.models.large_fov import build_segmentation
from trainer.models.p_net import build_p_net
from trainer.models.transfer_net import build_transfer_net
from trainer.training.adversarial import _predicted_input, _truth_input, _with_thumbnails


def network(scale: float) -> keras.Model:
    """Images times `scale` -> two new layers and a head."""
    images = keras.Input([None, None, 3])
    x = layers.Rescaling(scale)(images)
    x = layers.Conv2D(16, 3, padding="same", activation="relu", name="first")(x)
    x = layers.Conv2D(16, 1, activation="relu", name="second")(x)
    return keras.Model(images, layers.Conv2D(4, 1, name="head")(x))


def root_mean_square(net: keras.Model, layer: str) -> float:
    return float(np.sqrt(np.mean(keras.Model(net.input, net.get_layer(layer).output)(made_up_images()) ** 2)))


def kernels(net: keras.Model) -> dict[str, np.ndarray]:
    return {layer.name: layer.kernel.numpy() for layer in net.layers if layer.weights}


@pytest.mark.parametrize("scale", [100.0, 1.0, 1e-5])
def test_every_new_layer_answers_on_the_scale_of_its_inputs(scale):
    net = network(scale)
    initialise(net, 0, ["head"])
    before = kernels(net)
    rescale(net, [made_up_images()], ["head"])
    for layer in ("first", "second"):
        assert 0.35 <= root_mean_square(net, layer) <= 1.4
    assert root_mean_square(net, "head") <= 0.25
    for name, kernel in kernels(net).items():
        ratio = np.unique(kernel / before[name])
        assert len(ratio) == 1 and math.log2(ratio[0]).is_integer(), (name, ratio)
    assert all((layer.bias.numpy() == 0).all() for layer in net.layers if layer.weights)


def test_what_fits_or_comes_from_a_file_is_left_alone():
    fitting, known = network(1 / 100), network(100.0)
    for net, names in ((fitting, ()), (known, ("first",))):
        initialise(net, 0, ["head"])
        before = kernels(net)
        rescale(net, [made_up_images()], ["head"], known=names)
        changed = {name for name, kernel in kernels(net).items() if (kernel != before[name]).any()}
        assert changed == ({"second"} if names else set())


@pytest.mark.slow
def test_precision_does_not_change_the_values():
    weights = []
    for precision in ("float32", "mixed_bfloat16", "mixed_float16"):
        keras.mixed_precision.set_global_policy(precision)
        weights.append(build_segmentation("mobilenet", 21, None, 0).get_weights())
    for arrays in zip(*weights, strict=True):
        np.testing.assert_array_equal(arrays[1], arrays[0])
        np.testing.assert_array_equal(arrays[2], arrays[0])


def test_made_up_images_are_like_photographs():
    """Mean and deviation of VOC's are 113 and 69; neighbouring pixels mostly agree, and edges are sharp."""
    images = made_up_images()
    assert images.min() >= 0 and images.max() <= 255
    assert 90 < images.mean() < 135 and 45 < images.std() < 75
    steps = np.abs(np.diff(images.mean(-1), axis=1))
    assert np.median(steps) == 0 and steps.max() > 100
    np.testing.assert_array_equal(made_up_images(), images)


def test_p_net_begins_undecided():
    """Both terms of Eq. 5 at ln 2, and so the generator's."""
    net, p_net, batch = (
        build_segmentation("tiny", 21, None, 0),
        build_p_net(9, 21, 0),
        _with_thumbnails(made_up_batch()),
    )
    predicted = tf.nn.softmax(net(batch["image"]))
    loss = mean(p_net_loss(p_net(_truth_input(batch, predicted)), p_net(_predicted_input(batch, predicted))))
    assert float(loss) == pytest.approx(2 * math.log(2), rel=0.1)


@pytest.mark.parametrize("backbone", ["vgg16", "resnet50", "tiny"])
def test_transfer_net_begins_undecided(backbone):
    batch = made_up_batch()
    net = build_transfer_net(backbone, 20, None, 0)
    outputs = net([batch["image"], tf.one_hot([3, 7], 20)])
    assert float(mean(tag_loss(outputs["scores"], batch["tags"]))) == pytest.approx(math.log(2), rel=0.1)
    assert float(mean(foreground_loss(outputs["mask"], batch["labels"]))) == pytest.approx(math.log(2), rel=0.1)
    places = outputs["attention"].shape[1] * outputs["attention"].shape[2]
    assert float(tf.reduce_max(outputs["attention"])) < 10 / places  # it looks everywhere, more or less
