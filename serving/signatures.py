"""The exported segmentation model's signatures: image bytes in, PNG masks, scores or counts out, in one graph.

Decoding, resizing and padding run per image, so a batch may mix sizes. The network sees each picture as `look` says:
whole (serving/whole_pictures.py) or in tiles (serving/tiled_pictures.py).
Every function maps a string [B] to outputs with B rows. The network sees pictures upright (EXIF); masks fit the stored
pixels.
"""

from __future__ import annotations

from dataclasses import replace

import tensorflow as tf

from serving.palette_png import encode_palette_png
from serving.prediction_counts import MASKS_AND_SCORES
from serving.tiled_pictures import TiledPictures
from serving.whole_pictures import STRINGS, IdsAt, WholePictures
from trainer.data import categories, features
from trainer.data.pictures import MAX_PIXELS
from trainer.data.preprocessing import decode_mask
from trainer.graphs import graph_function
from trainer.inference.looks import Look
from trainer.metrics import BAND

Signatures = dict[str, tf.types.experimental.GenericFunction]


def segmentation_signatures(net: tf.keras.Model, num_classes: int, look: Look, max_pixels: int) -> Signatures:
    """Signatures of a segmentation network.

    | signature       | input              | outputs                                                                  |
    |-----------------|--------------------|--------------------------------------------------------------------------|
    | serving_default | image_bytes [B]    | mask_bytes string [B]: palette PNG of ids at the image's own size         |
    | scores          | image_bytes [B]    | scores float32 [B, C]: highest probability of the class anywhere;         |
    |                 |                    | area float32 [B, C]: mean probability, rows sum to 1;                     |
    |                 |                    | confidence float32 [B]: mean probability of the winning class             |
    | masks_and_      | image_bytes [B]    | mask_bytes, area, confidence as above, of one look at each picture        |
    |   scores        |                    |                                                                           |
    | examples        | examples [B]       | key string [B], mask_bytes string [B], of serialized tf.Examples          |
    | evaluate        | examples [B]       | key string [B], confusion int64 [B, C * C]: pixels by truth (row) and     |
    |                 |                    | prediction (column) at the mask's own size, truth 255 left out; boundary  |
    |                 |                    | int64 [B, C * C]: those in trainer.metrics.boundary_band alone; area and  |
    |                 |                    | confidence as above                                                       |

    Args:
      net: float32 [B, S, S, 3] RGB in 0..255 -> logits [B, g, g, C].
      num_classes: C, background included.
      look: how it looks at pictures.
      max_pixels: images with more pixels are refused; by `evaluate` only those with more than a dataset may hold.
    """
    palette = categories.palette()

    def network(inputs: tf.Tensor) -> tf.Tensor:
        return net(inputs, training=False)

    pictures: WholePictures | TiledPictures
    if look.overlap is None:
        pictures = WholePictures(network, look, max_pixels)
    else:
        pictures = TiledPictures(network, num_classes, look, max_pixels)

    judged = pictures if max_pixels >= MAX_PIXELS else replace(pictures, max_pixels=MAX_PIXELS)

    def encoded(ids_at: IdsAt, size: tf.Tensor) -> tf.Tensor:
        return encode_palette_png(ids_at(size), palette)

    @graph_function(input_signature=[STRINGS, STRINGS])  # one graph for three signatures
    def masks(image_bytes, names):
        drawn, (_, area, confidence) = pictures.each_picture(image_bytes, names, encoded, (), tf.string)
        return drawn, area, confidence

    @graph_function(input_signature=[STRINGS])
    def serving_default(image_bytes):
        drawn, *_ = masks(image_bytes, positions(image_bytes))
        return {"mask_bytes": drawn}

    @graph_function(input_signature=[STRINGS])
    def scores(image_bytes):
        highest, area, confidence = pictures.scores(image_bytes, positions(image_bytes))
        return {"scores": highest, "area": area, "confidence": confidence}

    @graph_function(input_signature=[STRINGS])
    def masks_and_scores(image_bytes):
        drawn, area, confidence = masks(image_bytes, positions(image_bytes))
        return {"mask_bytes": drawn, "area": area, "confidence": confidence}

    @graph_function(input_signature=[STRINGS])
    def examples(examples):
        parsed = _parse(examples, features.KEY, features.IMAGE)
        drawn, *_ = masks(parsed[features.IMAGE], parsed[features.KEY])
        return {"key": parsed[features.KEY], "mask_bytes": drawn}

    @graph_function(input_signature=[STRINGS])
    def evaluate(examples):
        parsed = _parse(examples, features.KEY, features.IMAGE, features.MASK)

        def count(ids_at: IdsAt, _: tf.Tensor, mask_bytes: tf.Tensor, key: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            has_mask = tf.debugging.Assert(mask_bytes != "", [tf.strings.join([key, ": the example has no mask"])])
            with tf.control_dependencies([has_mask]):
                truth = decode_mask(tf.identity(mask_bytes))
            predicted = ids_at(tf.shape(truth))
            on_boundary = tf.where(boundary_band(truth), truth, tf.constant(categories.VOID, tf.uint8))
            return _confusion(truth, predicted, num_classes), _confusion(on_boundary, predicted, num_classes)

        counts, keys = tf.TensorSpec([num_classes**2], tf.int64), parsed[features.KEY]
        more = (parsed[features.MASK], keys)
        (confusion, boundary), (_, area, confidence) = judged.each_picture(
            parsed[features.IMAGE], keys, count, more, (counts, counts)
        )
        return {"key": keys, "confusion": confusion, "boundary": boundary, "area": area, "confidence": confidence}

    return {
        "serving_default": serving_default,
        "scores": scores,
        MASKS_AND_SCORES: masks_and_scores,
        "examples": examples,
        "evaluate": evaluate,
    }


def positions(image_bytes: tf.Tensor) -> tf.Tensor:
    """string [B]: image_bytes[0], image_bytes[1], ..."""
    return tf.strings.join(["image_bytes[", tf.strings.as_string(tf.range(tf.size(image_bytes))), "]"])


def _parse(serialized: tf.Tensor, *keys: str) -> dict[str, tf.Tensor]:
    return tf.io.parse_example(serialized, {key: features.PARSE_SPEC[key] for key in keys})


def boundary_band(truth: tf.Tensor) -> tf.Tensor:
    """trainer.metrics.boundary_band in the graph: uint8 [H, W] -> bool [H, W].

    The window's sums come from running sums, so their cost does not grow with the window.
    """
    height, width = tf.shape(truth)[0], tf.shape(truth)[1]
    across = tf.cast(truth[:, 1:] != truth[:, :-1], tf.int32)
    down = tf.cast(truth[1:] != truth[:-1], tf.int32)
    edges = tf.pad(across, [[0, 0], [1, 0]]) + tf.pad(across, [[0, 0], [0, 1]])
    edges += tf.pad(down, [[1, 0], [0, 0]]) + tf.pad(down, [[0, 1], [0, 0]])
    diagonal = tf.norm(tf.cast([height, width], tf.float64))  # squares of long sides leave int32
    radius = tf.maximum(1, tf.cast(BAND * diagonal + 0.5, tf.int32))
    for axis, length in ((0, height), (1, width)):
        before = tf.pad(tf.cumsum(edges, axis), [[1, 0], [0, 0]] if axis == 0 else [[0, 0], [1, 0]])
        positions = tf.range(length)
        upper, lower = tf.minimum(positions + radius + 1, length), tf.maximum(positions - radius, 0)
        edges = tf.gather(before, upper, axis=axis) - tf.gather(before, lower, axis=axis)
    return edges > 0


def _confusion(truth: tf.Tensor, prediction: tf.Tensor, num_classes: int) -> tf.Tensor:
    """int64 [C * C]: pixels by truth * C + prediction; void left out, and ids this model does not know."""
    counted = truth < num_classes
    truth, prediction = (tf.cast(tf.boolean_mask(ids, counted), tf.int32) for ids in (truth, prediction))
    cells = truth * num_classes + prediction
    return tf.math.bincount(cells, minlength=num_classes**2, maxlength=num_classes**2, dtype=tf.int64)
