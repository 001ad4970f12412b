"""`python run_planted.py KIND run CONFIG ...`: the transferseg command with a last trainer that exports a bad model.

The model comes from the run's own segmentation network, spoilt by KIND.
"""

import sys

import numpy as np
import tensorflow as tf

from components.trainers import run_fns
from pipeline.cli import main
from serving.export import restore_net
from trainer.config import AdversarialConfig
from trainer.models.large_fov import build_segmentation
from trainer.weights import HEAD

WEAK = 2  # "pink" of the discs


def planted(kind: str):
    def p_net(fn_args) -> None:
        categories, network, _ = run_fns._settings(fn_args, AdversarialConfig)
        number = categories.num_classes + (kind == "wrong class count")
        net = build_segmentation(network.backbone, number, None, network.seed)
        if kind not in ("worse", "wrong class count"):
            restore_net(net, fn_args.base_model)
        kernel, bias = net.get_layer(HEAD).weights
        if kind == "worse on weak":
            bias.assign(bias - 1e6 * tf.one_hot(WEAK, number))
        elif kind == "all background":
            bias.assign(bias + 1e6 * tf.one_hot(0, number))
        elif kind == "nan":
            kernel.assign(tf.fill(kernel.shape, np.nan))
        elif kind == "slow":
            net = _slow(net)
        run_fns._export_segmentation(net, fn_args, categories, network)

    return p_net


def _slow(net: tf.keras.Model) -> tf.keras.Model:
    def idle(images: tf.Tensor) -> tf.Tensor:
        start = tf.random.uniform([512, 512])  # not a constant, which would be folded away
        end = tf.while_loop(lambda i, _: i < 600, lambda i, x: (i + 1, tf.sin(x @ x)), [0, start])[1]
        return images + 1e-30 * tf.reduce_mean(end)

    images = tf.keras.Input([None, None, 3])
    return tf.keras.Model(images, net(tf.keras.layers.Lambda(idle)(images)))


if __name__ == "__main__":
    run_fns.p_net = planted(sys.argv.pop(1))
    main()
