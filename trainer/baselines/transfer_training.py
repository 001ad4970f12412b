"""TransferNet as a labeller: learned from masks of strong images and tags of all, asked for the tags of weak ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from trainer.baselines.example_files import read_examples
from trainer.config import NetworkConfig
from trainer.data import keys
from trainer.data.categories import BACKGROUND, VOID
from trainer.data.features import image_of, key_of, tags_of
from trainer.errors import UserError
from trainer.graphs import graph_function
from trainer.inference.looks import Look
from trainer.inference.one_image import predict_on_pixels
from trainer.losses import Total, binary_cross_entropy, grid_labels
from trainer.models.transfer_net import build_transfer_net
from trainer.threads import in_threads
from trainer.training.replicas import Batch
from trainer.training.stages import Stage

STRIDE = 16


def transfer_net(network: NetworkConfig) -> Stage:
    """Trains attention and decoder on all images. One tag of each is asked for, another each time (Hong et al. 2016).

    Images without a mask teach the attention alone. Length, rates and optimiser are the stage's, as every rival's here;
    Hong et al. have Adam.

    Raises:
      UserError: the image size is not 16k+1.
    """
    check_size(network.image_size)
    return Stage(
        lambda settings, categories: build_transfer_net(
            settings.backbone, len(categories.foreground), settings.weights, settings.seed
        ),
        lambda outputs, batch: transfer_loss(outputs, batch[keys.LABELS], asked_tags(batch, network.seed)),
        inputs=lambda batch: [batch[keys.IMAGE], asked_tags(batch, network.seed)],
    )


def check_size(image_size: int) -> None:
    """Raises UserError if the network's grids do not align at this size."""
    if image_size % STRIDE != 1:
        fit_size = round((image_size - 1) / STRIDE) * STRIDE + 1
        raise UserError(f"network.image_size: TransferNet needs 16k+1, not {image_size}; nearest: {fit_size}")


def asked_tags(batch: Batch, seed: int) -> tf.Tensor:
    """float32 [B, K]: one-hot of one tag of each image, at random but the same for the same batch; 0 without tags."""
    tags, content = batch[keys.TAGS], tf.bitcast(tf.reduce_mean(tf.cast(batch[keys.IMAGE], tf.float32)), tf.int32)
    order = tf.random.stateless_uniform(tf.shape(tags), tf.stack([seed, content]), 1.0, 2.0) * tags
    return tf.one_hot(tf.argmax(order, -1), tags.shape[-1]) * tf.reduce_max(tags, -1, keepdims=True)


def transfer_loss(outputs: dict[str, tf.Tensor], labels: tf.Tensor, asked: tf.Tensor) -> Total:
    """Cross-entropy of what is attended plus, for images with a mask, that of the asked category's own mask.

    Args:
      outputs: of the network.
      labels: integer [B, S, S] ids or 255; all void without a mask.
      asked: float [B, K] one-hot, 0 for images without tags; those do not count.

    Returns:
      (sum, number of images with a tag).
    """
    tagged = tf.reduce_sum(asked, -1)
    category = tf.nn.softmax_cross_entropy_with_logits(asked, outputs[keys.SCORES])
    mask = outputs["mask"][..., 0]
    cells = grid_labels(labels, mask.shape[1])
    wanted = tf.cast(tf.argmax(asked, -1, tf.int32) + 1, cells.dtype)[:, tf.newaxis, tf.newaxis]
    entropy = binary_cross_entropy(mask, tf.cast(cells == wanted, tf.float32))
    valid = tf.cast(cells != VOID, tf.float32)
    drawn = tf.math.divide_no_nan(tf.reduce_sum(entropy * valid, [1, 2]), tf.reduce_sum(valid, [1, 2]))
    return tf.reduce_sum((category + drawn) * tagged), tf.reduce_sum(tagged)


def transfer_labels(
    net: tf.keras.Model, patterns: Sequence[str], num_categories: int, look: Look
) -> Iterator[tuple[str, np.ndarray]]:
    """(key, uint8 [H, W] ids) of each image: the tag with the largest logit where that is positive, else background."""

    @graph_function(input_signature=[tf.TensorSpec([1, look.size, look.size, 3]), tf.TensorSpec([None], tf.int32)])
    def masks(image: tf.Tensor, tags: tf.Tensor) -> tf.Tensor:
        images = tf.repeat(image, tf.size(tags), 0)
        return tf.transpose(net([images, tf.one_hot(tags - 1, num_categories)], training=False)["mask"], [3, 1, 2, 0])

    def label(example: tf.train.Example) -> tuple[str, np.ndarray]:
        tags = list(tags_of(example))
        _, logits = predict_on_pixels(lambda x: masks(x, tags), image_of(example), look)
        ids = np.asarray(tags, np.uint8)[logits.numpy().argmax(-1)]
        return key_of(example), np.where(logits.numpy().max(-1) > 0, ids, np.uint8(BACKGROUND))

    yield from in_threads(label, read_examples(patterns))
