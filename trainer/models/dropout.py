"""Dropout that a resumed run continues to the last bit."""

from __future__ import annotations

import tensorflow as tf
from tensorflow import keras


class Dropout(keras.layers.Layer):
    """Drops a share of the values in training, scaling the rest by 1 / (1 - rate).

    Keras' own layer keeps the state of its random numbers out of checkpoints, whichever generator it uses, so a run
    that stops and continues would draw other masks. Here the generator is tracked like any variable.
    """

    def __init__(self, rate: float, seed: int, **kwargs):
        super().__init__(**kwargs)
        self.rate, self.seed = rate, seed
        self.generator = tf.random.Generator.from_seed(seed, alg="philox")

    def call(self, inputs, training=None):
        if not training:
            return inputs
        return tf.nn.experimental.stateless_dropout(inputs, self.rate, seed=self.generator.make_seeds()[:, 0])
