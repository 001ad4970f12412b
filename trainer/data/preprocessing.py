"""From image bytes to network input, in the graph: one function for training, evaluation, labelling and serving.

Geometry. An image of H x W is resized (bilinear, antialiased) so that its longer side is S = image_size, giving h x w,
and padded at the bottom and right to S x S with the ImageNet mean colour; trainer/inference/looks.py says when a
smaller one keeps its size. Networks take RGB float32 in 0..255 and have a g x g grid of outputs with aligned corners:
grid cell i lies on input pixel i * (S - 1) / (g - 1).
"""

import tensorflow as tf

MEAN_COLOUR = (123.68, 116.78, 103.94)  # ImageNet mean RGB (VGG-16); padding becomes 0 after normalisation


def decode_image(image_bytes: tf.Tensor) -> tf.Tensor:
    """Decodes one JPEG, PNG, BMP or GIF (first frame).

    Args:
      image_bytes: string scalar.

    Returns:
      uint8 [H, W, 3] RGB as stored (see trainer/data/orientation.py); grey and alpha images are converted.

    Raises:
      tf.errors.InvalidArgumentError: the bytes are no image.
    """
    image = tf.io.decode_image(image_bytes, channels=3, expand_animations=False)
    return tf.ensure_shape(image, [None, None, 3])


def decode_mask(mask_bytes: tf.Tensor) -> tf.Tensor:
    """Decodes one PNG mask of category ids: string scalar -> uint8 [H, W].

    tf.io.decode_png would turn a palette PNG into colours; masks in examples are stored as 8-bit grey PNG.
    """
    return tf.io.decode_png(mask_bytes, channels=1)[..., 0]


def fitted_size(
    height: tf.Tensor, width: tf.Tensor, image_size: int, scale: tf.Tensor | float = 1.0, least_side: int = 0
) -> tf.Tensor:
    """int32 [2]: the size of an H x W image whose longer side is made `image_size * scale`, at least 1 x 1.

    One whose longer side is below `least_side` is resized by the factor of one that has it.
    """
    size = tf.cast(tf.stack([height, width]), tf.float32)
    factor = image_size * scale / tf.maximum(tf.reduce_max(size), least_side)
    return tf.maximum(tf.cast(tf.round(size * factor), tf.int32), 1)


def to_network_input(image: tf.Tensor, image_size: int, least_side: int = 0) -> tuple[tf.Tensor, tf.Tensor]:
    """Resizes and pads one image.

    Args:
      image: uint8 [H, W, 3].
      image_size: S.
      least_side: see `fitted_size`.

    Returns:
      (float32 [S, S, 3] in 0..255, int32 [2] the valid h x w inside it).
    """
    shape = tf.shape(image)
    size = fitted_size(shape[0], shape[1], image_size, least_side=least_side)
    return pad(resize_image(image, size), image_size), size


def resize_image(image: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """[H, W, 3] any number type -> float32 [h, w, 3] in 0..255."""
    return tf.clip_by_value(tf.image.resize(image, size, antialias=True), 0.0, 255.0)


def resize_mask(mask: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """uint8 [H, W] -> uint8 [h, w], nearest only: ids are never mixed."""
    return tf.image.resize(mask[..., tf.newaxis], size, method="nearest")[..., 0]


def pad(image: tf.Tensor, image_size: int) -> tf.Tensor:
    """float32 [h, w, 3] with h, w <= S -> [S, S, 3], filled with MEAN_COLOUR at the bottom and right."""
    shape = tf.shape(image)
    mean = tf.constant(MEAN_COLOUR)
    padded = tf.pad(image - mean, [[0, image_size - shape[0]], [0, image_size - shape[1]], [0, 0]]) + mean
    return tf.ensure_shape(padded, [image_size, image_size, 3])


def grid_to_image(grid: tf.Tensor, valid: tf.Tensor, image_size: int, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Resamples network outputs onto the image's own pixels: bilinear, aligned with both grids, one pass.

    Args:
      grid: float32 [g, g, K], a network's prediction for the padded S x S input.
      valid: int32 [2], h x w of the image inside the input.
      image_size: S.
      height, width: int32 scalars, H and W of the prediction.

    Returns:
      float32 [H, W, K].
    """
    shape = tf.shape(grid)
    rows = _interpolation(shape[0], valid[0], height, image_size)
    columns = _interpolation(shape[1], valid[1], width, image_size)
    wide = tf.reshape(tf.matmul(columns, grid), [shape[0], -1])
    return tf.reshape(tf.matmul(rows, wide), [height, width, shape[2]])


def _interpolation(cells: tf.Tensor, valid: tf.Tensor, pixels: tf.Tensor, image_size: int) -> tf.Tensor:
    """float32 [pixels, cells] whose rows sum to 1: bilinear interpolation along one axis.

    Bilinear interpolation is separable: two products with such matrices do in 3 ms what an image warp does in 60 ms.
    """
    stride = (image_size - 1) / (tf.cast(cells, tf.float32) - 1)
    scale = tf.cast(valid, tf.float32) / tf.cast(pixels, tf.float32)
    centres = (tf.range(tf.cast(pixels, tf.float32)) + 0.5) * scale - 0.5  # in network input pixels
    places = tf.clip_by_value(centres / stride, 0.0, tf.cast(cells, tf.float32) - 1)
    return tf.nn.relu(1.0 - tf.abs(places[:, tf.newaxis] - tf.range(tf.cast(cells, tf.float32))))
