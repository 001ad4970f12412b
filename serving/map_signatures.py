"""The signature of exported CAM classifiers and L-Nets: image bytes in, maps out, for labelling."""

from __future__ import annotations

import tensorflow as tf

from serving.signatures import Signatures, positions
from serving.whole_pictures import STRINGS, cells_inside, network_inputs
from trainer.data import keys
from trainer.graphs import graph_function
from trainer.inference.looks import Look
from trainer.inference.views import all_views, mean_map
from trainer.models.cam import normalise_maps


def map_signatures(net: tf.keras.Model, kind: str, look: Look, max_pixels: int) -> Signatures:
    """Signature `serving_default` of a CAM classifier or an L-Net.

    image_bytes string [B] -> maps float32 [B, g, g, K] in 0..1 of the upright picture, valid int32 [B, 2] (the part of
    S x S that is image), orientation int32 [B] (EXIF: how the stored pixels lie), and for "cam" also scores float32
    [B, K], the probability of each tag. K is 1 for "l_net", else the foreground categories. CAM maps are 0 on padding
    and divided by each map's highest value on the image.

    With several views g is the finest one's, and values are means: of L-Net's probabilities, of the CAM's raw maps
    and logits.
    """

    def network(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """float32 [B, S, S, 3] -> maps and, for "cam", logits."""
        outputs = net(inputs, training=False)
        outputs = {keys.MAPS: tf.sigmoid(outputs)} if kind == "l_net" else outputs
        return {name: tf.cast(value, tf.float32) for name, value in outputs.items()}

    @graph_function(input_signature=[STRINGS])
    def serving_default(image_bytes):
        inputs, valid, orientation, _ = network_inputs(image_bytes, positions(image_bytes), look, max_pixels)
        seen = all_views(network, inputs, look.mirror)
        maps = mean_map([outputs[keys.MAPS] for outputs in seen])
        if kind == "l_net":
            return {keys.MAPS: maps, keys.VALID: valid, keys.ORIENTATION: orientation}
        inside = cells_inside(valid, tf.shape(maps)[1], look.size)[..., tf.newaxis]
        scores = tf.sigmoid(tf.add_n([outputs[keys.SCORES] for outputs in seen]) / len(seen))
        maps = normalise_maps(maps * inside)
        return {keys.MAPS: maps, keys.VALID: valid, keys.ORIENTATION: orientation, keys.SCORES: scores}

    return {"serving_default": serving_default}
