"""Networks -> SavedModels that TF Serving, the local server and batch labelling load."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import tensorflow as tf

from serving.map_signatures import map_signatures
from serving.prediction_counts import MASKS_AND_SCORES
from serving.saved_model import METADATA, check_saved_model, plain_path, read_metadata
from serving.signatures import Signatures, segmentation_signatures
from serving.trainer_predictions import write_trainer_predictions
from serving.warmup import write_warmup
from trainer.data import features
from trainer.data.categories import Categories, palette
from trainer.data.files import read_text
from trainer.data.pictures import MAX_PIXELS
from trainer.errors import UserError
from trainer.inference.looks import Look

MODEL_NAME = "transferseg"
CATEGORIES = "assets.extra/categories.json"
Kind = Literal["cam", "l_net", "segmentation"]
_KINDS = {"cam": "a CAM classifier", "l_net": "an L-Net", "segmentation": "a segmentation network"}
_WEIGHT_KEY = "net_weights/{}/.ATTRIBUTES/VARIABLE_VALUE"


def export_segmentation(
    net: tf.keras.Model,
    directory: str | os.PathLike,
    *,
    categories: Categories,
    image_size: int,
    metadata: dict,
    warmup_images: Sequence[bytes] = (),
    predicted_images: Sequence[bytes] = (),
    look: Look | None = None,
    max_pixels: int = MAX_PIXELS,
) -> None:
    """Saves a segmentation network with the signatures of `segmentation_signatures`.

    Args:
      net: float32 [B, S, S, 3] RGB in 0..255 -> logits [B, g, g, C].
      directory: the SavedModel to write; it appears whole or not at all.
      categories: names, strong and weak go to assets.extra/categories.json, with the palette.
      image_size: S of a network whose `look` is not given.
      metadata: whatever JSON holds (config hash, metrics, lineage); goes to assets.extra/metadata.json.
      warmup_images: encoded images TF Serving replays after loading; a grey one if empty.
      predicted_images: encoded images whose masks by `net` itself are kept, see serving/trainer_predictions.py.
      look: how the network looks at pictures; if not given, at whole ones whose longer side is made `image_size`.
      max_pixels: larger images are refused.

    Raises:
      UserError: `directory` holds something already.
    """
    look = look or Look(size=image_size)
    images = list(warmup_images) or [tf.io.encode_jpeg(np.full((look.size, look.size, 3), 127, np.uint8)).numpy()]
    examples = [
        features.make_example("warm-up", image, look.size, look.size, []).SerializeToString() for image in images
    ]
    batches = [
        ("serving_default", "image_bytes", images),
        ("scores", "image_bytes", images),
        (MASKS_AND_SCORES, "image_bytes", images),
        ("examples", "examples", examples),
    ]
    signatures = segmentation_signatures(net, categories.num_classes, look, max_pixels)

    def add_assets(unfinished: Path) -> None:
        write_warmup(unfinished, MODEL_NAME, batches)
        if predicted_images:
            write_trainer_predictions(unfinished, net, predicted_images, look)

    described = {"kind": "segmentation", **_seen(look, max_pixels), **metadata}
    _save(net, signatures, directory, categories, described, add_assets)


def export_maps(
    net: tf.keras.Model,
    directory: str | os.PathLike,
    *,
    kind: Literal["cam", "l_net"],
    image_size: int,
    categories: Categories,
    metadata: dict,
    look: Look | None = None,
    max_pixels: int = MAX_PIXELS,
) -> None:
    """Saves a CAM classifier or an L-Net with the signature of `map_signatures`.

    Args:
      net: float32 [B, S, S, 3] -> {"scores": logits [B, K], "maps": [B, g, g, K]} for "cam", logits [B, g, g, 1] for
        "l_net".
      directory, image_size, categories, metadata, look, max_pixels: as in `export_segmentation`; no tiles.

    Raises:
      UserError: `directory` holds something already.
    """
    look = look or Look(size=image_size)
    signatures = map_signatures(net, kind, look, max_pixels)
    _save(net, signatures, directory, categories, {"kind": kind, **_seen(look, max_pixels), **metadata})


def _seen(look: Look, max_pixels: int) -> dict:
    """What the assets say of how a network looks at pictures: `image_size` is what its `valid` refers to."""
    return {"image_size": look.size, "look": look.model_dump(mode="json"), "max_pixels": max_pixels}


def restore_net(net: tf.keras.Model, saved_model: str | os.PathLike) -> None:
    """Sets every weight of `net` to the exported one, bit for bit.

    Args:
      net: a network built as the exported one was.
      saved_model: a folder written by `export_segmentation` or `export_maps`.

    Raises:
      UserError: no SavedModel there, or its weights are not this network's.
    """
    check_saved_model(saved_model)
    with plain_path(saved_model) as path:
        reader = tf.train.load_checkpoint(f"{path}/variables/variables")
        shapes = reader.get_variable_to_shape_map()
        saved = sum(key.startswith(_WEIGHT_KEY.partition("{")[0]) for key in shapes)
        wanted = [list(weight.shape) for weight in net.weights]
        if [shapes.get(_WEIGHT_KEY.format(i)) for i in range(saved)] != wanted:
            raise UserError(f"{saved_model}: its {saved} weights are not those of this network; use the same backbone")
        for i, weight in enumerate(net.weights):
            weight.assign(reader.get_tensor(_WEIGHT_KEY.format(i)))


def read_categories(saved_model: str | os.PathLike, kind: Kind) -> Categories:
    """The categories an exported model was trained on.

    Raises:
      UserError: the folder is no model of ours, or one of another kind.
    """
    try:
        categories = Categories.from_json(read_text(f"{saved_model}/{CATEGORIES}", "an exported model's categories"))
    except (ValueError, KeyError) as error:
        raise UserError(f"{saved_model}: cannot read its categories ({error}); give an exported model") from None
    found = read_metadata(saved_model).get("kind", "segmentation")
    if found != kind:
        raise UserError(f"{saved_model}: this is {_KINDS.get(found, found)}; give the folder of {_KINDS[kind]}")
    return categories


def _save(
    net: tf.keras.Model,
    signatures: Signatures,
    directory: str | os.PathLike,
    categories: Categories,
    metadata: dict,
    add_assets: Callable[[Path], None] = lambda unfinished: None,
) -> None:
    directory = Path(directory)
    if directory.exists() and any(directory.iterdir()):
        raise UserError(f"{directory}: not empty; export to a new folder")
    directory.parent.mkdir(parents=True, exist_ok=True)
    unfinished = directory.parent / f".{directory.name}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)  # of a killed export
    try:
        # The weights alone, not the network: Keras would trace every layer again (6 x slower to save and to load).
        module = tf.Module()
        module.net_weights = net.weights
        tf.saved_model.save(module, str(unfinished), signatures=signatures)
        (unfinished / CATEGORIES).parent.mkdir()
        described = {
            "names": categories.names,
            **categories.to_dict(),
            "weak": categories.weak,
            "palette": palette().tolist(),
        }
        (unfinished / CATEGORIES).write_text(json.dumps(described, indent=1))
        (unfinished / METADATA).write_text(json.dumps(metadata, indent=1, sort_keys=True))
        add_assets(unfinished)
        os.replace(unfinished, directory)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
