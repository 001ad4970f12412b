"""`python -m components.serving_validator.probe MODEL WORK CALLS`: the fresh process that loads a model and asks it.

It knows nothing of this project: TensorFlow, TF Serving's protobufs and numpy, as on a serving machine.

WORK/images holds the images, files named good-*, odd-* (must be answered) and hostile-* (must be refused).
CALLS pictures are asked for one at a time, timed.
Written: WORK/masks/<name>.png, the predictions of `serving_default`, and WORK/facts.json, see `probe`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

_WARMUP = "assets.extra/tf_serving_warmup_requests"
_PYTHON_OPS = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}  # core, but TF Serving has no Python
_GRAPH = ("Graph execution error:", "Detected at node", "<stack traces", "[[{{node")
_NOISE = 0.001  # our choice: share of pixels on a class boundary that another batch size may decide the other way


def probe(model: Path, work: Path, timed_calls: int) -> dict:
    """Everything asked of the model, as JSON.

    Returns:
      load_s: until loaded and warmed up. warmup_requests: how many there were.
      bad_weights: names of weights that are not finite. foreign_ops: ops that TF Serving has not got.
      failures: what should have been answered and was not, or the reverse; one line each.
      num_classes: length of a row of `scores`; finite_scores: none is NaN or infinite.
      latency_ms: every timed call of one image; memory_mb: peak resident memory.
    """
    failures: list[str] = []

    def attempt(what: str, call: Callable[[], object]) -> object | None:
        try:
            return call()
        except Exception as error:  # whatever the graph raises is a finding
            failures.append(f"{what}: {_first_line(error)}")
            return None

    start = time.monotonic()
    loaded = tf.saved_model.load(str(model))
    warmed = _warm_up(model, loaded.signatures, attempt)
    load_s = time.monotonic() - start

    def ask(signature: str, name: str, values: list[bytes]) -> dict[str, np.ndarray]:
        outputs = loaded.signatures[signature](**{name: tf.constant(values)})
        return {key: value.numpy() for key, value in outputs.items()}

    images = {path.name: path.read_bytes() for path in sorted((work / "images").iterdir())}
    wanted = {name: data for name, data in images.items() if not name.startswith("hostile")}
    good = [data for name, data in images.items() if name.startswith("good")]
    masks = {}
    for name, data in wanted.items():
        mask = attempt(name, lambda data=data: ask("serving_default", "image_bytes", [data])["mask_bytes"][0])
        if mask is not None:
            masks[name] = mask
    for name in images.keys() - wanted.keys():
        _must_refuse(name, lambda name=name: ask("serving_default", "image_bytes", [images[name]]), failures)
    together = attempt("one batch of all sizes", lambda: ask("serving_default", "image_bytes", list(wanted.values())))
    if together is not None and len(together["mask_bytes"]) != len(wanted):
        failures.append(f"one batch of all sizes: {len(together['mask_bytes'])} masks for {len(wanted)} images")
    scores = attempt("scores", lambda: ask("scores", "image_bytes", good))
    examples = [_example(f"good-{i}", data) for i, data in enumerate(good)]
    in_bulk = attempt("examples", lambda: ask("examples", "examples", examples))
    single = [masks.get(name) for name in wanted if name.startswith("good")]
    if in_bulk is not None and _differing(in_bulk["mask_bytes"], single) > _NOISE:
        failures.append("examples: other masks than serving_default gives for the same images")
    latency = []
    for i in range(timed_calls):
        began = time.perf_counter()
        attempt("a timed call", lambda i=i: ask("serving_default", "image_bytes", [good[i % len(good)]]))
        latency.append(1000 * (time.perf_counter() - began))
    (work / "masks").mkdir()
    for name, mask in masks.items():
        (work / "masks" / f"{name}.png").write_bytes(mask)
    return {
        "load_s": load_s,
        "warmup_requests": warmed,
        "bad_weights": _bad_weights(model),
        "foreign_ops": _foreign_ops(model),
        "failures": failures,
        "num_classes": None if scores is None else int(scores["scores"].shape[-1]),
        "finite_scores": scores is not None and all(bool(np.isfinite(value).all()) for value in scores.values()),
        "latency_ms": latency,
        "memory_mb": _peak_memory_mb(),
    }


def _peak_memory_mb() -> float:
    """Of this process alone; `getrusage` begins with what the one that started it had taken."""
    lines = Path("/proc/self/status").read_text().splitlines()
    [kilobytes] = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(kilobytes) / 1024


def _warm_up(model: Path, signatures: dict, attempt: Callable) -> int:
    """Replays the recorded requests, as TF Serving does before a version takes traffic."""
    path = model / _WARMUP
    requests = 0
    for record in tf.data.TFRecordDataset(str(path)) if path.exists() else []:
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        inputs = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
        signature = request.model_spec.signature_name
        attempt(f"warm-up request {requests} ({signature})", lambda s=signature, i=inputs: signatures[s](**i))
        requests += 1
    return requests


def _must_refuse(name: str, call: Callable[[], object], failures: list[str]) -> None:
    try:
        call()
        failures.append(f"{name}: was answered; must be INVALID_ARGUMENT")
    except tf.errors.InvalidArgumentError:
        pass
    except Exception as error:
        failures.append(f"{name}: {type(error).__name__} instead of INVALID_ARGUMENT: {_first_line(error)}")


def _bad_weights(model: Path) -> list[str]:
    reader = tf.train.load_checkpoint(str(model / "variables" / "variables"))
    bad = []
    for name, dtype in sorted(reader.get_variable_to_dtype_map().items()):
        if dtype.is_floating and not np.isfinite(reader.get_tensor(name).astype(np.float32)).all():
            bad.append(name.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE"))
    return bad


def _foreign_ops(model: Path) -> list[str]:
    saved = saved_model_pb2.SavedModel.FromString((model / "saved_model.pb").read_bytes())
    graph = saved.meta_graphs[0].graph_def
    bodies = [graph.node, *(function.node_def for function in graph.library.function)]
    ops = {node.op for body in bodies for node in body} - {f.signature.name for f in graph.library.function}
    return sorted(op for op in ops if op in _PYTHON_OPS or not hasattr(tf.raw_ops, op))


def _differing(masks: list[bytes], others: list[bytes | None]) -> float:
    """The largest share of pixels in which two masks of a pair differ."""
    if any(other is None for other in others):
        return 1.0
    pairs = [(tf.io.decode_png(a).numpy(), tf.io.decode_png(b).numpy()) for a, b in zip(masks, others, strict=True)]
    return max(float((a != b).mean()) if a.shape == b.shape else 1.0 for a, b in pairs)


def _example(key: str, image: bytes) -> bytes:
    def feature(value: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    features = {"image/key": feature(key.encode()), "image/encoded": feature(image)}
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def _first_line(error: Exception) -> str:
    """That speaks of the input; TensorFlow puts lines about its graph before it."""
    lines = [line for line in str(error).splitlines() if line.strip() and not line.strip().startswith(_GRAPH)]
    return (lines or [type(error).__name__])[0][:300]


if __name__ == "__main__":
    directory, folder, calls = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    (folder / "facts.json").write_text(json.dumps(probe(directory, folder, calls)))
