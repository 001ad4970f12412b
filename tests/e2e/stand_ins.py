"""Networks in place of what the trainers would make, for runs in this process."""

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

import numpy as np
import tensorflow as tf
from labelling_samples import colour_cam, colour_net

import trainer.training.refinement
from components.trainers import run_fns
from trainer.models.large_fov import build_segmentation
from trainer.models.weights import HEAD
from trainer.training import stages

STAGES = {"cam": stages.CAM, "l_net": stages.L_NET, "segmentation": stages.SEGMENTATION}
WEAK = 2  # "pink" of the discs


@contextmanager
def trainers(**functions: Callable[..., tf.keras.Model]) -> Iterator[None]:
    """Runs call these functions in place of what trains the stages of these names, and P-Net's."""
    trained = stages.train

    def train(stage: stages.Stage, *arguments: object) -> tf.keras.Model:
        for name, function in functions.items():
            if stage is STAGES.get(name):
                return function(*arguments)
        return trained(stage, *arguments)

    refine = functions.get("p_net", trainer.training.refinement.refine_segmentation)
    try:
        with (
            mock.patch.object(stages, "train", train),
            mock.patch.object(trainer.training.refinement, "refine_segmentation", refine),
        ):
            yield  # TFX loads run_fns afresh for each Trainer, which then imports the stand-in
    finally:
        importlib.reload(run_fns)


def seeing_discs() -> dict[str, Callable[..., tf.keras.Model]]:
    """For all four trainers: networks that know the discs by colour, without a step of training."""
    green_and_blue = np.array([[0, 0], [1, 0], [0, 1]])  # yellow discs have more green than grey has, pink ones blue
    masks = np.concatenate([np.zeros((3, 1)), green_and_blue], axis=1)

    def segmentation(*_) -> tf.keras.Model:
        return colour_net(masks, np.array([15.0, 0, 0]))

    return {
        "cam": lambda *_: colour_cam(green_and_blue),
        "l_net": lambda *_: colour_net(np.array([[0.1], [0], [0]]), np.array([-2.0])),
        "segmentation": segmentation,
        "p_net": lambda *_, **__: segmentation(),
    }


def seeing(background: tuple[int, ...], *colours: tuple[int, ...]) -> dict[str, Callable[..., tf.keras.Model]]:
    """For all trainers but L-Net's: networks that give each cell the nearest of the colours, by their order."""
    means = np.array([background, *colours], np.float32)
    weights, bias = means.T / 500, -(means**2).sum(1) / 1000

    def segmentation(*_) -> tf.keras.Model:
        image = tf.keras.Input([None, None, 3])
        cells = tf.keras.layers.AveragePooling2D(9, 8)(tf.keras.layers.ZeroPadding2D(4)(image))
        head = tf.keras.layers.Conv2D(len(means), 1)
        net = tf.keras.Model(image, head(cells))
        head.set_weights([weights[None, None], bias])
        return net

    def cam(*_) -> tf.keras.Model:
        net = segmentation()
        maps = tf.nn.relu(net.output[..., 1:] - net.output[..., :1])
        return tf.keras.Model(net.input, {"scores": tf.reduce_mean(maps, (1, 2)), "maps": maps})

    return {
        "cam": cam,
        "segmentation": segmentation,
        "p_net": lambda *_, **__: segmentation(),
    }


def spoilt(kind: str) -> Callable[..., tf.keras.Model]:
    """For P-Net's trainer: the run's own segmentation network, made bad in that way."""

    def refine_segmentation(strong_patterns, all_patterns, categories, network, settings, folders, restore):
        number = categories.num_classes + (kind == "wrong class count")
        net = build_segmentation(network.backbone, number, None, network.seed)
        if kind not in ("worse", "wrong class count"):
            restore(net)
        kernel, bias = net.get_layer(HEAD).weights
        if kind == "worse on weak":
            bias.assign(bias - 1e6 * tf.one_hot(WEAK, number))
        elif kind == "all background":
            bias.assign(bias + 1e6 * tf.one_hot(0, number))
        elif kind == "nan":
            kernel.assign(tf.fill(kernel.shape, np.nan))
        return _slow(net) if kind == "slow" else net

    return refine_segmentation


def _slow(net: tf.keras.Model) -> tf.keras.Model:
    def idle(images: tf.Tensor) -> tf.Tensor:
        """Counts for .5 s, whatever the machine."""
        end = tf.timestamp() + 0.5
        count = tf.while_loop(lambda i: tf.timestamp() < end, lambda i: [i + 1.0], [tf.constant(0.0)])[0]
        return images + 1e-30 * count

    images = tf.keras.Input([None, None, 3])
    return tf.keras.Model(images, net(tf.keras.layers.Lambda(idle)(images)))
