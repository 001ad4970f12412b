"""Mutated images and mutated requests: every answer has the right status, the server stays up and does not grow."""

import base64
import gc
import json
import os
import random

import grpc
import psutil
import pytest
import requests
import tensorflow as tf
from commands import TIMEOUT_S
from PIL import Image
from serving_samples import BAD_IMAGES, ODD_IMAGES, draw, encode, read_mask
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.client import SegmentationClient

SEEDS = [data for data, _ in ODD_IMAGES.values()] + list(BAD_IMAGES.values())


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Flips, cuts, doubles, or fills a stretch of bytes, once or several times."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        at, length = rng.randrange(len(data) + 1), rng.choice([1, 2, 4, 64])
        match rng.randrange(5):
            case 0:
                del data[at : at + length]
            case 1:
                data[at:at] = data[at : at + length]
            case 2:
                data[at : at + length] = bytes([rng.choice([0, 0x7F, 0xFF])]) * len(data[at : at + length])
            case 3 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case _:
                del data[at:]
    return bytes(data)


def fuzz_grpc(stub, rng: random.Random) -> str:
    """One mutated image in a sound request: a mask or INVALID_ARGUMENT, nothing else."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "transferseg"
    request.model_spec.signature_name = rng.choice(["serving_default", "scores"])
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([mutate(rng.choice(SEEDS), rng)], tf.string))
    try:
        response = stub.Predict(request, timeout=TIMEOUT_S)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
        return "refused"
    if "mask_bytes" in response.outputs:
        read_mask(response.outputs["mask_bytes"].string_val[0])
    return "answered"


def fuzz_rest(session: requests.Session, url: str, rng: random.Random) -> str:
    """A mutated body: 200 with JSON or 400 with a reason (404 if the mutation hit nothing but the model)."""
    image = base64.b64encode(rng.choice(SEEDS)).decode()
    body = mutate(json.dumps({"signature_name": "scores", "instances": [{"b64": image}]}).encode(), rng)
    response = session.post(url, data=body, timeout=TIMEOUT_S)
    assert response.status_code in (200, 400), (response.status_code, response.text)
    assert ("error" in response.json()) == (response.status_code == 400)
    return "answered" if response.ok else "refused"


def run(server, count: int, seed: int) -> None:
    rng = random.Random(seed)
    outcomes = {"answered": 0, "refused": 0}
    url = f"http://127.0.0.1:{server.rest_port}/v1/models/transferseg:predict"
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel, requests.Session() as session:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for i in range(count):
            outcomes[fuzz_rest(session, url, rng) if i % 3 == 0 else fuzz_grpc(stub, rng)] += 1
    assert min(outcomes.values()) > count / 20, outcomes  # both kinds occurred, or the fuzz says nothing
    with SegmentationClient(f"127.0.0.1:{server.grpc_port}") as client:
        image = encode(Image.fromarray(draw(40, 60)))
        assert read_mask(client.predict([image])[0]).shape == (40, 60)


def test_300_mutated_requests(server):
    run(server, 300, seed=0)


@pytest.mark.soak
def test_10_000_mutated_requests_without_growth(server):
    with SegmentationClient(f"127.0.0.1:{server.grpc_port}", timeout=TIMEOUT_S) as client:
        client.predict([encode(Image.new("RGB", (8000, 5000)))])  # the largest one: allocators keep its room for reuse
    run(server, 2_000, seed=1)
    gc.collect()
    process = psutil.Process(os.getpid())
    memory, files, threads = process.memory_info().rss, process.num_fds(), process.num_threads()
    run(server, 8_000, seed=2)
    gc.collect()
    assert process.memory_info().rss < memory + 100 * 2**20  # open: a leak of one 40 x 60 image a request is 55 MB
    assert process.num_fds() <= files + 10
    assert process.num_threads() <= threads + 20
