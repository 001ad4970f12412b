"""`python run_planted.py KIND run CONFIG ...`: the transferseg command with a last trainer that exports a bad model.

The model comes from the run's own segmentation network, spoilt by KIND.
"""

import sys

import numpy as np
import tensorflow as tf

import trainer.p_net
from pipeline.cli import main
from trainer.models.large_fov import build_segmentation
from trainer.weights import HEAD

WEAK = 2  # "pink" of the discs


def planted(kind: str):
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


if __name__ == "__main__":
    trainer.p_net.refine_segmentation = planted(sys.argv.pop(1))  # TFX loads run_fns afresh, which imports this name
    main()
