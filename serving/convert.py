"""The bare network of an exported model as TFLite or ONNX, for phones and other runtimes, and how well it agrees.

Decoding, resizing and drawing stay with the caller: input float32 [1, S, S, 3], RGB in 0..255 as
trainer.data.preprocessing.to_network_input makes it; output float32 [1, g, g, C], logits with aligned corners.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import tensorflow as tf

from serving.export import restore_net
from serving.model import Model, load_model
from serving.trainer_predictions import read_trainer_predictions
from trainer.config import STRIDE, Backbone
from trainer.data.categories import palette
from trainer.data.orientation import exif_orientation, upright
from trainer.data.preprocessing import MEAN_COLOUR, decode_image, to_network_input
from trainer.errors import UserError
from trainer.graphs import graph_function
from trainer.inference.looks import Look, look_of
from trainer.inference.one_image import predict_on_pixels
from trainer.models.backbones import grid_size
from trainer.models.large_fov import build_segmentation

Format = Literal["tflite", "onnx"]
Precision = Literal["float32", "float16", "int8"]
_OPSET = 17  # of ONNX; our choice
Network = Callable[[np.ndarray], np.ndarray]  # float32 [1, S, S, 3] -> float32 [1, g, g, C]


@dataclass(frozen=True)
class Converted:
    """A network in another format.

    Attributes:
      data: the file's bytes.
      about: what a program must know to use it, JSON-ready.
      agreement: share of pixels, 0..1, where its masks say what the SavedModel says.
      pictures: over how many pictures.
      views: of each picture the SavedModel averages; the file holds the network for the first.
    """

    data: bytes
    about: dict[str, Any]
    agreement: float
    pictures: int
    views: int


def convert(path: Path, format: Format, precision: Precision, pictures: Sequence[bytes] = ()) -> Converted:
    """Converts a segmentation model and compares its masks with the SavedModel's.

    Args:
      path: see `load_model`.
      precision: of the weights; "int8" also of what flows between layers. ONNX keeps float32.
      pictures: encoded; their masks are compared. For int8 every second one calibrates instead. By default those whose
        masks the export keeps.

    Raises:
      UserError: no such model, no picture, no tf2onnx, or a precision that the format has not got here.
    """
    if format == "onnx" and precision != "float32":
        raise UserError(
            f"--precision {precision}: ONNX is written in float32; quantize it with onnxruntime's own tools"
        )
    if format == "onnx":
        _onnx()
    model = load_model(path)
    look = _look(model)
    pictures = list(pictures) or [data for data, _ in read_trainer_predictions(model.path)]
    if not pictures:
        raise UserError(f"{model.path}: keeps no pictures to compare masks on; give --images")
    with _in_float32():
        net = network_of(model)
        if format == "onnx":
            data, run = _to_onnx(net, look)
        else:
            data, run = _to_tflite(net, look, precision, pictures[::2])
    compared = (pictures[1::2] if precision == "int8" else []) or pictures  # those that int8 was not calibrated on
    shares = [np.mean(_mask(run, picture, look) == model(picture)) for picture in compared]
    views = look_of(model.metadata).views
    return Converted(data, _about(model, net, look), float(np.mean(shares)), len(compared), views)


def _look(model: Model) -> Look:
    """How the model looks at pictures, one view of them: the file holds one network with one input."""
    look = look_of(model.metadata)
    if look.overlap is not None:
        raise UserError(f"{model.path}: looks at pictures in tiles, one file cannot; train with inference.size")
    return look.one_view


def network_of(model: Model) -> tf.keras.Model:
    """The Keras network behind an exported segmentation model: the one of our backbones that its weights fit."""
    known = model.metadata.get("backbone")
    for backbone in [known] if known else get_args(Backbone):
        net = build_segmentation(backbone, model.categories.num_classes, None, 0)
        try:
            restore_net(net, model.path)
        except UserError:
            continue
        return net
    raise UserError(f"{model.path}: its weights fit none of the networks that this version builds; train it anew")


def _to_tflite(
    net: tf.keras.Model, look: Look, precision: Precision, samples: Sequence[bytes]
) -> tuple[bytes, Network]:
    function = _fixed(net, look.size)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], net)
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if precision == "int8":
        converter.representative_dataset = lambda: ([_input(sample, look)] for sample in samples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    data = converter.convert()
    interpreter = tf.lite.Interpreter(model_content=data)
    interpreter.allocate_tensors()
    [source], [target] = interpreter.get_input_details(), interpreter.get_output_details()

    def run(image: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(source["index"], image)
        interpreter.invoke()
        return interpreter.get_tensor(target["index"])

    return data, run


def _onnx() -> tuple[Any, Any]:
    """tf2onnx and onnxruntime, which are optional."""
    try:
        import onnxruntime
        import tf2onnx
    except ImportError as error:
        raise UserError(
            f"--format onnx: {error.name} is not installed; in the checkout: build/uv/bin/uv pip install -e '.[onnx]' "
            "-c requirements.lock"
        ) from None
    return tf2onnx, onnxruntime


def _to_onnx(net: tf.keras.Model, look: Look) -> tuple[bytes, Network]:
    tf2onnx, onnxruntime = _onnx()
    signature = [tf.TensorSpec([1, look.size, look.size, 3], tf.float32, name="images")]
    function = graph_function(lambda images: net(images, training=False), input_signature=signature)
    proto, _ = tf2onnx.convert.from_function(function, signature, opset=_OPSET)
    data = proto.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return data, lambda image: session.run(None, {session.get_inputs()[0].name: image})[0]


def _fixed(net: tf.keras.Model, size: int) -> Any:
    spec = tf.TensorSpec([1, size, size, 3], tf.float32, name="images")
    return graph_function(lambda images: net(images, training=False)).get_concrete_function(spec)


def _input(picture: bytes, look: Look) -> np.ndarray:
    image = upright(decode_image(tf.constant(picture)), exif_orientation(tf.constant(picture)))
    return to_network_input(image, look.size, look.least_side)[0].numpy()[np.newaxis]


def _mask(run: Network, picture: bytes, look: Look) -> np.ndarray:
    _, logits = predict_on_pixels(lambda image: tf.constant(run(image.numpy())), picture, look)
    return tf.argmax(logits, -1).numpy().astype(np.uint8)


def _about(model: Model, net: tf.keras.Model, look: Look) -> dict[str, Any]:
    size, cells = look.size, grid_size(look.size)
    larger = "if it is larger, " if look.native else ""
    return {
        "input": {"shape": [1, size, size, 3], "dtype": "float32", "range": [0, 255], "channels": "RGB"},
        "fit": f"{larger}resize (bilinear, antialiased) the longer side to {size}; pad at the bottom and right",
        "padding_rgb": list(MEAN_COLOUR),
        "output": {"shape": [1, cells, cells, net.output_shape[-1]], "dtype": "float32", "meaning": "logits by id"},
        "grid": f"cell i lies on input pixel i * {STRIDE}; arg max after bilinear enlarging",
        "names": list(model.categories.names),
        "palette": palette()[: model.categories.num_classes].tolist(),
        "config_hash": model.metadata.get("config_hash"),
    }


@contextmanager
def _in_float32():
    """Other runtimes know no bfloat16, whatever precision the network was trained in."""
    policy = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy("float32")
    try:
        yield
    finally:
        tf.keras.mixed_precision.set_global_policy(policy)


def check_free(output: Path) -> Path:
    """Where the description beside the output goes.

    Raises:
      UserError: one of the two is there already, or the folder is not.
    """
    about = output.with_suffix(".json")
    for path in (output, about):
        if path.exists():
            raise UserError(f"--output {path}: is there already; give another name")
    if about == output or not output.absolute().parent.is_dir():
        raise UserError(f"--output {output}: give the name of a file in a folder that is there, such as model.tflite")
    return about


def write(converted: Converted, output: Path) -> None:
    """Writes the file, and beside it one of the same name with .json that says how to use it.

    Raises:
      UserError: see `check_free`; or they cannot be written.
    """
    about = check_free(output)
    try:
        about.write_text(json.dumps(converted.about, indent=1) + "\n")
        output.write_bytes(converted.data)
    except OSError as error:
        for path in (about, output):
            path.unlink(missing_ok=True)  # cut off, it would be in the way of the next try
        raise UserError(f"--output {output}: cannot be written ({error.strerror})") from None
