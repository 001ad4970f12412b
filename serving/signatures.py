"""The exported segmentation model's signatures: image bytes in, PNG masks, scores or counts out, in one graph.

Decoding, resizing and padding run per image, so a batch may mix sizes; the network runs once on the whole batch.
Every function maps a string [B] to outputs with B rows. The network sees pictures upright (EXIF); masks fit the stored
pixels.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

from serving.image_guard import guarded_decode
from serving.palette_png import encode_palette_png
from trainer import categories, features
from trainer.metrics import BAND
from trainer.orientation import exif_orientation, stored, swapped_if_turned, upright
from trainer.preprocessing import decode_mask, grid_to_image, resize_mask, to_network_input

MASK_SIDE = 1024  # open: logits are resampled up to this side, ids beyond it (C float channels of 40 MP take 3 GB)
_PARALLEL = 4  # open: images of one batch decoded or encoded at the same time; bounds memory
STRINGS = tf.TensorSpec([None], tf.string)

Signatures = dict[str, tf.types.experimental.GenericFunction]


def segmentation_signatures(
    net: tf.keras.Model, num_classes: int, image_size: int, max_pixels: int, mask_side: int = MASK_SIDE
) -> Signatures:
    """Signatures of a segmentation network.

    | signature       | input              | outputs                                                                  |
    |-----------------|--------------------|--------------------------------------------------------------------------|
    | serving_default | image_bytes [B]    | mask_bytes string [B]: palette PNG of ids at the image's own size         |
    | scores          | image_bytes [B]    | scores float32 [B, C]: highest probability of the class anywhere;         |
    |                 |                    | area float32 [B, C]: mean probability, rows sum to 1;                     |
    |                 |                    | confidence float32 [B]: mean probability of the winning class             |
    | examples        | examples [B]       | key string [B], mask_bytes string [B], of serialized tf.Examples          |
    | evaluate        | examples [B]       | key string [B], confusion int64 [B, C * C]: pixels by truth (row) and     |
    |                 |                    | prediction (column) at the mask's own size, truth 255 left out; boundary  |
    |                 |                    | int64 [B, C * C]: those in trainer.metrics.boundary_band alone            |

    Args:
      net: float32 [B, S, S, 3] RGB in 0..255 -> logits [B, g, g, C].
      num_classes: C, background included.
      image_size: S.
      max_pixels: images with more pixels are refused.
      mask_side: sides up to which logits are resampled; larger masks are enlarged from there, nearest.
    """
    palette = categories.palette()

    def predict_ids(grid: tf.Tensor, valid: tf.Tensor, orientation: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        """Logits [g, g, C] -> uint8 [H, W] at `size`, in stored pixels."""
        size = swapped_if_turned(size, orientation)
        factor = tf.minimum(1.0, mask_side / tf.cast(tf.reduce_max(size), tf.float32))
        drawn = tf.maximum(1, tf.cast(tf.round(tf.cast(size, tf.float32) * factor), tf.int32))
        logits = grid_to_image(grid, valid, image_size, drawn[0], drawn[1])
        ids = resize_mask(tf.cast(tf.argmax(logits, -1, tf.int32), tf.uint8), size)
        return stored(ids[..., tf.newaxis], orientation)[..., 0]

    def masks(image_bytes: tf.Tensor, names: tf.Tensor) -> tf.Tensor:
        (inputs,), valid, orientation, sizes = network_inputs(image_bytes, names, [image_size], max_pixels)
        rows = (_call(net, inputs), valid, orientation, sizes)
        return each(lambda row: encode_palette_png(predict_ids(*row), palette), rows, tf.string)

    @tf.function(input_signature=[STRINGS])
    def serving_default(image_bytes):
        return {"mask_bytes": masks(image_bytes, positions(image_bytes))}

    @tf.function(input_signature=[STRINGS])
    def scores(image_bytes):
        (inputs,), valid, _, _ = network_inputs(image_bytes, positions(image_bytes), [image_size], max_pixels)
        probabilities = tf.nn.softmax(_call(net, inputs))
        inside = cells_inside(valid, tf.shape(probabilities)[1], image_size)[..., tf.newaxis]
        count = tf.reduce_sum(inside, [1, 2])
        winners = tf.reduce_max(probabilities, -1, keepdims=True)
        return {
            "scores": tf.reduce_max(probabilities * inside, [1, 2]),
            "area": tf.reduce_sum(probabilities * inside, [1, 2]) / count,
            "confidence": (tf.reduce_sum(winners * inside, [1, 2]) / count)[:, 0],
        }

    @tf.function(input_signature=[STRINGS])
    def examples(examples):
        parsed = _parse(examples, features.KEY, features.IMAGE)
        return {"key": parsed[features.KEY], "mask_bytes": masks(parsed[features.IMAGE], parsed[features.KEY])}

    @tf.function(input_signature=[STRINGS])
    def evaluate(examples):
        parsed = _parse(examples, features.KEY, features.IMAGE, features.MASK)
        (inputs,), valid, orientation, _ = network_inputs(
            parsed[features.IMAGE], parsed[features.KEY], [image_size], max_pixels
        )

        def count(row: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, tf.Tensor]:
            grid, valid, orientation, mask_bytes, key = row
            has_mask = tf.debugging.Assert(mask_bytes != "", [tf.strings.join([key, ": the example has no mask"])])
            with tf.control_dependencies([has_mask]):
                truth = decode_mask(tf.identity(mask_bytes))
            predicted = predict_ids(grid, valid, orientation, tf.shape(truth))
            on_boundary = tf.where(boundary_band(truth), truth, tf.constant(categories.VOID, tf.uint8))
            return _confusion(truth, predicted, num_classes), _confusion(on_boundary, predicted, num_classes)

        rows = (_call(net, inputs), valid, orientation, parsed[features.MASK], parsed[features.KEY])
        counts = tf.TensorSpec([num_classes**2], tf.int64)
        confusion, boundary = each(count, rows, (counts, counts))
        return {"key": parsed[features.KEY], "confusion": confusion, "boundary": boundary}

    return {"serving_default": serving_default, "scores": scores, "examples": examples, "evaluate": evaluate}


def _call(net: tf.keras.Model, inputs: tf.Tensor) -> tf.Tensor:
    return tf.cast(net(inputs, training=False), tf.float32)


def each(function: Callable, rows: tuple[tf.Tensor, ...], output: tf.DType | tf.TensorSpec | tuple) -> tf.Tensor:
    return tf.map_fn(function, rows, parallel_iterations=_PARALLEL, fn_output_signature=output)


def positions(image_bytes: tf.Tensor) -> tf.Tensor:
    """string [B]: image_bytes[0], image_bytes[1], ..."""
    return tf.strings.join(["image_bytes[", tf.strings.as_string(tf.range(tf.size(image_bytes))), "]"])


def network_inputs(
    image_bytes: tf.Tensor, names: tf.Tensor, sides: Sequence[int], max_pixels: int
) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor, tf.Tensor]:
    """Decodes a batch, turns it upright and fits it.

    Args:
      image_bytes: string [B].
      names: string [B], what to call the images in errors.
      sides: S of each network input wanted.
      max_pixels: larger images are refused.

    Returns:
      (a float32 [B, S, S, 3] for each side, int32 [B, 2] valid h x w of the first, int32 [B] EXIF orientation,
      int32 [B, 2] H x W of the stored pixels).
    """

    def prepare(row: tuple[tf.Tensor, tf.Tensor]) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor, tf.Tensor]:
        image = guarded_decode(*row, max_pixels)
        orientation = exif_orientation(row[0])
        turned = upright(image, orientation)
        fitted = [to_network_input(turned, side) for side in sides]
        return [network_input for network_input, _ in fitted], fitted[0][1], orientation, tf.shape(image)[:2]

    not_empty = tf.debugging.Assert(tf.size(image_bytes) > 0, ["the batch is empty: send at least one image"])
    with tf.control_dependencies([not_empty]):
        rows = (tf.identity(image_bytes), names)
    one, pair = tf.TensorSpec([], tf.int32), tf.TensorSpec([2], tf.int32)
    return each(prepare, rows, ([tf.TensorSpec([side, side, 3], tf.float32) for side in sides], pair, one, pair))


def _parse(serialized: tf.Tensor, *keys: str) -> dict[str, tf.Tensor]:
    return tf.io.parse_example(serialized, {key: features.PARSE_SPEC[key] for key in keys})


def cells_inside(valid: tf.Tensor, grid: tf.Tensor, image_size: int) -> tf.Tensor:
    """float32 [B, g, g]: 1 where a grid cell lies on the image, 0 on padding."""
    step = (image_size - 1) / (tf.cast(grid, tf.float32) - 1)
    places = tf.range(tf.cast(grid, tf.float32)) * step
    rows, columns = (places < tf.cast(valid[:, axis, tf.newaxis], tf.float32) for axis in (0, 1))
    return tf.cast(rows[:, :, tf.newaxis] & columns[:, tf.newaxis], tf.float32)


def boundary_band(truth: tf.Tensor) -> tf.Tensor:
    """trainer.metrics.boundary_band in the graph: uint8 [H, W] -> bool [H, W].

    The window's sums come from running sums, so their cost does not grow with the window.
    """
    height, width = tf.shape(truth)[0], tf.shape(truth)[1]
    across = tf.cast(truth[:, 1:] != truth[:, :-1], tf.int32)
    down = tf.cast(truth[1:] != truth[:-1], tf.int32)
    edges = tf.pad(across, [[0, 0], [1, 0]]) + tf.pad(across, [[0, 0], [0, 1]])
    edges += tf.pad(down, [[1, 0], [0, 0]]) + tf.pad(down, [[0, 1], [0, 0]])
    diagonal = tf.sqrt(tf.cast(height * height + width * width, tf.float64))
    radius = tf.maximum(1, tf.cast(BAND * diagonal + 0.5, tf.int32))
    for axis, length in ((0, height), (1, width)):
        before = tf.pad(tf.cumsum(edges, axis), [[1, 0], [0, 0]] if axis == 0 else [[0, 0], [1, 0]])
        places = tf.range(length)
        upper, lower = tf.minimum(places + radius + 1, length), tf.maximum(places - radius, 0)
        edges = tf.gather(before, upper, axis=axis) - tf.gather(before, lower, axis=axis)
    return edges > 0


def _confusion(truth: tf.Tensor, prediction: tf.Tensor, num_classes: int) -> tf.Tensor:
    """int64 [C * C]: pixels by truth * C + prediction; void left out, and ids this model does not know."""
    counted = truth < num_classes
    truth, prediction = (tf.cast(tf.boolean_mask(ids, counted), tf.int32) for ids in (truth, prediction))
    cells = truth * num_classes + prediction
    return tf.math.bincount(cells, minlength=num_classes**2, maxlength=num_classes**2, dtype=tf.int64)
