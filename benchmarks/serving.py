"""The local server against the same SavedModel called in process: `rows()` for `make bench`.

The server is a process of its own, asked over real sockets by clients in this process, all on the machine's own cores.
The model is MobileNetV2 with random weights at 225 pixels and 21 classes; images are from TRANSFERSEG_DATA, or drawn.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from benchmarks.process import served
from benchmarks.rows import real_files, row
from serving.export import export_segmentation
from trainer.data.categories import named_split
from trainer.inference.looks import Look
from trainer.inference.one_image import predict_on_pixels
from trainer.models.large_fov import build_segmentation

IMAGE_SIZE, IMAGES = 225, 16
CALLS, SECONDS, CONCURRENCY, LOAD = 150, 20.0, 8, 0.8
MAX_OVER_DIRECT, MIN_GAIN, MAX_P99, MAX_BYTES = 1.15, 1.2, 3.0, 1 / 50
Call = Callable[[bytes], bytes]


def rows() -> list[dict]:
    """Latency, batching, tail and size; each ratio is measured side by side in this run."""
    net = build_segmentation("mobilenet_v2", 21, None, 0)
    images = _images()
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "1"
        categories = named_split("voc-split-1")
        export_segmentation(net, model, categories=categories, image_size=IMAGE_SIZE, metadata={}, warmup_images=images)
        loaded = tf.saved_model.load(str(model))
        function = loaded.signatures["serving_default"]

        def direct(image: bytes) -> bytes:
            return function(image_bytes=tf.constant([image]))["mask_bytes"].numpy()[0]

        with served(Path(folder)) as address, grpc.insecure_channel(address) as channel:
            call = _caller(channel)
            own, over_grpc = _alternating([direct, call], images)
            sequential = _throughput(call, images, 1)
            together = _throughput(call, images, CONCURRENCY)
            latency = _under_load(call, images, LOAD * together)
            mask = call(images[0])
        batch_gain = _batch_gain(function, images)
    p50, p99 = np.percentile(latency, [50, 99])
    ratio, gain, tail = np.median(over_grpc) / np.median(own), together / sequential, p99 / p50
    floats = _float_list_bytes(net, images[0])
    size = len(mask) / floats
    own_ms, served_ms = (1000 * float(np.median(times)) for times in (own, over_grpc))
    return [
        row("serving.p50_over_direct", served_ms, "ms", own_ms, ratio, MAX_OVER_DIRECT, bool(ratio <= MAX_OVER_DIRECT)),
        row("serving.batching_gain", together, "images/s", sequential, gain, MIN_GAIN, bool(gain >= MIN_GAIN)),
        row("serving.batching_ceiling", batch_gain, "ratio"),
        row("serving.p99_over_p50", 1000 * p99, "ms", 1000 * p50, tail, MAX_P99, bool(tail <= MAX_P99)),
        row("serving.bytes_ratio", len(mask), "bytes", floats, size, MAX_BYTES, size <= MAX_BYTES),
    ]


def _caller(channel: grpc.Channel) -> Call:
    """A call over gRPC."""
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def call(image: bytes) -> bytes:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "transferseg"
        request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([image], tf.string, [1]))
        return stub.Predict(request, timeout=60).outputs["mask_bytes"].string_val[0]

    return call


def _timed(call: Call, image: bytes) -> float:
    start = time.perf_counter()
    call(image)
    return time.perf_counter() - start


def _alternating(calls: list[Call], images: list[bytes]) -> list[list[float]]:
    """Seconds of each call; they take turns, so that a busy moment meets all of them."""
    for i in range(20):
        calls[i % len(calls)](images[i % len(images)])
    times: list[list[float]] = [[] for _ in calls]
    for i in range(CALLS):
        for call, taken in zip(calls, times, strict=True):
            taken.append(_timed(call, images[i % len(images)]))
    return times


def _throughput(call: Call, images: list[bytes], concurrency: int) -> float:
    """Images a second of so many clients that each wait for their answer."""
    done = [0] * concurrency
    end = time.perf_counter() + SECONDS / 2

    def client(number: int) -> None:
        while time.perf_counter() < end:
            call(images[(number + done[number]) % len(images)])
            done[number] += 1

    start = time.perf_counter()
    threads = [threading.Thread(target=client, args=[i]) for i in range(concurrency)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - start)


def _under_load(call: Call, images: list[bytes], rate: float) -> list[float]:
    """Seconds from the moment a request was due, at `rate` evenly spaced requests a second, answered or not."""
    count = round(rate * SECONDS)
    start = time.perf_counter() + 0.1

    def request(i: int) -> float:
        due = start + i / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        call(images[i % len(images)])
        return time.perf_counter() - due

    with ThreadPoolExecutor(4 * CONCURRENCY) as pool:
        return list(pool.map(request, range(count)))


def _batch_gain(function: Callable, images: list[bytes]) -> float:
    """What batching can give on this machine: images a second in process, eight in a call over one in a call."""
    seconds = {1: [], CONCURRENCY: []}
    for _ in range(10):
        for size, taken in seconds.items():
            taken.append(_timed(lambda batch: function(image_bytes=tf.constant(batch)), images[:size]) / size)
    return float(np.median(seconds[1]) / np.median(seconds[CONCURRENCY]))


def _float_list_bytes(net: tf.keras.Model, data: bytes) -> int:
    """What the same answer takes as a JSON list of probabilities, [H, W, C], as TF Serving's REST would send it."""
    scores = tf.nn.softmax(predict_on_pixels(net, data, Look(size=IMAGE_SIZE))[1])
    return len(json.dumps({"predictions": [np.round(scores.numpy().astype(float), 8).tolist()]}))


def _images() -> list[bytes]:
    if paths := real_files("JPEGImages")[:IMAGES]:
        return [path.read_bytes() for path in paths]
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (IMAGES, 8, 10, 3)).astype(np.uint8)
    return [cv2.imencode(".jpg", cv2.resize(image, (500, 375)))[1].tobytes() for image in small]
