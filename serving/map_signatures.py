"""The signature of exported CAM classifiers and L-Nets: image bytes in, maps out, for labelling."""

from __future__ import annotations

import tensorflow as tf

from serving.signatures import STRINGS, Signatures, cells_inside, network_inputs, positions
from trainer.config import MapsConfig
from trainer.models.cam import normalise_maps


def map_signatures(net: tf.keras.Model, kind: str, image_size: int, max_pixels: int, views: MapsConfig) -> Signatures:
    """Signature `serving_default` of a CAM classifier or an L-Net.

    image_bytes string [B] -> maps float32 [B, g, g, K] in 0..1 of the upright picture, valid int32 [B, 2] (the part of
    S x S that is image), orientation int32 [B] (EXIF: how the stored pixels lie), and for "cam" also scores float32
    [B, K], the probability of each tag. K is 1 for "l_net", else the foreground categories. CAM maps are 0 on padding
    and divided by each map's highest value on the image.

    With several views g is the finest one's, and values are means: of L-Net's probabilities, of the CAM's raw maps
    and logits.
    """
    sides = views.sides(image_size)

    def look(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """float32 [B, S, S, 3] -> maps and, for "cam", logits."""
        answer = net(inputs, training=False)
        answer = {"maps": tf.sigmoid(answer)} if kind == "l_net" else answer
        return {name: tf.cast(value, tf.float32) for name, value in answer.items()}

    def look_both_ways(inputs: tf.Tensor) -> list[dict[str, tf.Tensor]]:
        if not views.mirror:
            return [look(inputs)]
        mirrored = look(inputs[:, :, ::-1])
        return [look(inputs), {**mirrored, "maps": mirrored["maps"][:, :, ::-1]}]

    @tf.function(input_signature=[STRINGS])
    def serving_default(image_bytes):
        all_inputs, valid, orientation, _ = network_inputs(image_bytes, positions(image_bytes), sides, max_pixels)
        seen = [answer for inputs in all_inputs for answer in look_both_ways(inputs)]
        maps = _mean_map([answer["maps"] for answer in seen])
        if kind == "l_net":
            return {"maps": maps, "valid": valid, "orientation": orientation}
        inside = cells_inside(valid, tf.shape(maps)[1], image_size)[..., tf.newaxis]
        scores = tf.sigmoid(tf.add_n([answer["scores"] for answer in seen]) / len(seen))
        maps = normalise_maps(maps * inside)
        return {"maps": maps, "valid": valid, "orientation": orientation, "scores": scores}

    return {"serving_default": serving_default}


def _mean_map(maps: list[tf.Tensor]) -> tf.Tensor:
    """float32 [B, g_i, g_i, K] of the same images -> their mean on the finest grid; corners stay corners."""
    finest = tf.reduce_max([tf.shape(m)[1:3] for m in maps], 0)
    resampled = [m if len(maps) == 1 else tf.compat.v1.image.resize(m, finest, align_corners=True) for m in maps]
    return tf.add_n(resampled) / len(maps)
