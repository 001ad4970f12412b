"""What every backbone must do. A test class per network derives from `BackboneContract` and names its facts."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from trainer.config import StageConfig
from trainer.losses import Total, foreground_loss, segmentation_loss, tag_loss
from trainer.models.backbones import freeze_backbone, grid_size
from trainer.models.cam import build_cam
from trainer.models.initial_values import made_up_images
from trainer.models.large_fov import build_segmentation
from trainer.models.weights import NEW_LAYERS
from trainer.training.loop import make_train_step
from trainer.training.optimizers import make_optimizer

CLASSES = 21
PAPERS = StageConfig(batch_size=2, schedule="constant")  # SGD 1e-3, momentum .9, multipliers 1, 2, 10, 20


def images(size: int, batch: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (batch, size, size, 3)).astype(np.float32)


def mean(total: Total) -> tf.Tensor:
    """(sum, count) of a loss -> sum / count, 0 where nothing counted."""
    return tf.math.divide_no_nan(*total)


def made_up_batch(size: int = 65) -> dict[str, tf.Tensor]:
    """Images with a photograph's statistics; labels, background as often as in VOC, and tags by chance."""
    rng = np.random.default_rng(0)
    made = made_up_images(size)
    grid = (2, size // 8 + 1, size // 8 + 1)
    labels = (
        np.where(rng.random(grid) < 0.7, 0, rng.integers(1, CLASSES, grid)).repeat(8, 1).repeat(8, 2)[:, :size, :size]
    )
    tags = rng.integers(0, 2, (2, CLASSES - 1))
    return {"image": tf.constant(made), "labels": tf.constant(labels, tf.uint8), "tags": tf.constant(tags)}


def five_updates(net: keras.Model, loss: Callable) -> list[float]:
    step = make_train_step(net, loss, make_optimizer(net, PAPERS, 1000))
    return [float(step(made_up_batch())[0]) for _ in range(5)]


def of_segmentation(logits, batch):
    return segmentation_loss(logits, batch["labels"])


def unordered_sums(loss: Callable[[], Total], *networks: keras.Model) -> list[str]:
    """Names of sums of three terms or more in the gradients of a loss by the networks' variables."""

    @tf.function
    def gradients():
        with tf.GradientTape() as tape:
            value = mean(loss())
        return tape.gradient(value, [variable for net in networks for variable in net.trainable_variables])

    graph = gradients.get_concrete_function().graph
    return [op.name for op in graph.get_operations() if op.type == "AddN" and len(op.inputs) > 2]


def folded_size(reference: keras.Model) -> int:
    """Parameters of a network with each batch norm reduced to a bias."""
    kept = [w for w in reference.weights if "kernel" in w.name or "beta" in w.name]
    return sum(int(np.prod(w.shape)) for w in kept)


def separable_head_size(channels: int) -> int:
    """Depthwise 3x3, 1x1 to 256, 1x1 256, classifier of 21."""
    return 9 * channels + (channels * 256 + 256) + (256 * 256 + 256) + (256 * CLASSES + CLASSES)


class BackboneContract:
    """To give: `backbone`, its name; `segmentation_size` and `cam_size`, parameters for 21 classes and 20 tags."""

    backbone: str

    def segmentation_size(self) -> int:
        raise NotImplementedError

    def cam_size(self) -> int:
        raise NotImplementedError

    @pytest.fixture(scope="class")
    def built(self):
        net = build_segmentation(self.backbone, CLASSES, None, 0)
        return net, net.get_weights()

    @pytest.fixture
    def net(self, built):
        """The network as it was built, whatever a test did to it."""
        net, weights = built
        for layer in net.layers:
            layer.trainable = True
        net.set_weights(weights)
        return net

    @pytest.fixture(scope="class")
    def cam(self):
        return build_cam(self.backbone, CLASSES - 1, None, 0)

    @pytest.fixture(scope="class")
    def l_net(self):
        return build_segmentation(self.backbone, 1, None, 0)

    def test_output_sizes_and_parameter_counts(self, net, cam):
        assert net.count_params() == self.segmentation_size()
        assert cam.count_params() == self.cam_size()
        for size, grid in ((321, 41), (225, 29), (129, 17)):
            assert grid_size(size) == grid
            assert net.compute_output_shape((2, size, size, 3)) == (2, grid, grid, CLASSES)
            shapes = cam.compute_output_shape((2, size, size, 3))
            assert shapes == {"scores": (2, CLASSES - 1), "maps": (2, grid, grid, CLASSES - 1)}

    def test_first_losses_are_those_of_knowing_nothing(self, net, cam, l_net):
        batch = made_up_batch()
        first = {
            "segmentation": (mean(of_segmentation(net(batch["image"], training=True), batch)), math.log(CLASSES)),
            "l_net": (mean(foreground_loss(l_net(batch["image"], training=True), batch["labels"])), math.log(2)),
            "cam": (mean(tag_loss(cam(batch["image"], training=True)["scores"], batch["tags"])), math.log(2)),
        }
        assert {name: float(loss) / expected for name, (loss, expected) in first.items()} == {
            name: pytest.approx(1, abs=0.1) for name in first
        }

    def test_no_gradient_is_an_unordered_sum(self, net, cam, l_net):
        """Which `test_order_of_sums.py` explains."""
        batch = made_up_batch()
        assert not unordered_sums(lambda: of_segmentation(net(batch["image"], training=True), batch), net)
        assert not unordered_sums(lambda: foreground_loss(l_net(batch["image"], training=True), batch["labels"]), l_net)
        assert not unordered_sums(lambda: tag_loss(cam(batch["image"], training=True)["scores"], batch["tags"]), cam)

    def test_five_updates_at_the_papers_rates_stay_finite(self, net):
        losses = five_updates(net, of_segmentation)
        assert max(losses) < 1.2 * math.log(CLASSES), losses  # NaN is not

    def test_only_new_layers_learn_once_the_backbone_is_frozen(self, net):
        before = {layer.name: layer.get_weights() for layer in net.layers if layer.weights}
        freeze_backbone(net)
        step = make_train_step(net, lambda logits, _: (tf.reduce_sum(logits**2), 1.0), make_optimizer(net, PAPERS, 10))
        step({"image": made_up_batch()["image"]})
        changed = {name for name, a in before.items() if (a[0] != net.get_layer(name).get_weights()[0]).any()}
        assert changed == NEW_LAYERS & set(before)

    def test_exported_network_answers_as_the_network(self, net, tmp_path):
        net.export(str(tmp_path))
        exported, x = tf.saved_model.load(tmp_path), images(33)
        np.testing.assert_allclose(exported.serve(x), net(x), rtol=1e-3, atol=1e-4)

    def test_mirrored_input_gives_mirrored_geometry(self, net):
        """Aligned corners: with left-right symmetric kernels a mirrored image has the mirrored prediction."""
        for variable in net.trainable_variables:
            if variable.shape.rank == 4:
                variable.assign((variable + variable[:, ::-1]) / 2)
        x = images(65)
        here, there = net(x).numpy(), net(x[:, :, ::-1]).numpy()[:, :, ::-1]
        np.testing.assert_allclose(here, there, atol=1e-4 * np.abs(here).max())
        assert np.abs(here - here[:, :, ::-1]).max() > 1e-2 * np.abs(here).max()


class PublishedBackboneContract(BackboneContract):
    """Also give: `reference`, the published network in Keras without top and weights; `last`, our layer that answers as
    it; `size` of test images; `kept`, the cells of our finer grid that the published one has; `normalise`, its input.
    """

    last: str
    size: int = 97
    kept = slice(None, None, 4)

    def reference(self) -> keras.Model:
        raise NotImplementedError

    def normalise(self, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def test_answers_are_the_published_networks(self, tmp_path):
        """Every 4th output of the dilated network is the strided network's, batch norms not at rest included."""
        reference = self.reference()
        rng = np.random.default_rng(0)
        for layer in reference.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
        path = str(tmp_path / "no_top.h5")
        reference.save_weights(path)
        x = images(self.size // 8 + 1, 2).repeat(8, 1).repeat(8, 2)[:, : self.size, : self.size]
        expected = reference(self.normalise(x.copy()), training=False).numpy()
        cam = build_cam(self.backbone, 20, path, 0)
        features = keras.Model(cam.input, cam.get_layer(self.last).output)(x, training=True).numpy()
        assert features.shape[1] == (self.size - 1) // 8 + 1
        kept = features[:, self.kept, self.kept]
        np.testing.assert_allclose(kept, expected, rtol=1e-3, atol=1e-3 * max(1, expected.max()))
        assert expected.std() > 0.1
        net = build_segmentation(self.backbone, 21, path, 0)  # the same file serves the segmentation network
        np.testing.assert_array_equal(net.get_weights()[0], cam.get_weights()[0])
