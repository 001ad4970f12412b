"""Mutated images and requests, bombs, slow clients, reloads: every answer has the right status, nothing grows."""

import base64
import json
import random
import re
import shutil
import socket
import subprocess
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import psutil
import pytest
import requests
import tensorflow as tf
from commands import COMMAND, ROOT, TIMEOUT_S
from serving_samples import BAD_IMAGES, ODD_IMAGES, draw, encode, read_mask
from tensorflow_serving.apis import predict_pb2

from serving.client import SegmentationClient

SEEDS = [data for data, _ in ODD_IMAGES.values()] + list(BAD_IMAGES.values())
IMAGE = encode(draw(40, 60))
PATH = "/v1/models/transferseg:predict"


def mutate(original: bytes, rng: random.Random) -> bytes:
    """Flips, cuts, doubles, or fills a stretch of bytes, once or several times."""
    data = bytearray(original)
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


class Fuzz:
    """Sends mutated requests of every kind to the server at (host, port)s; counts what came back."""

    def __init__(self, grpc_port: int, rest_port: int, seed: int):
        self.rng = random.Random(seed)
        self.outcomes: Counter = Counter()
        self._rest_port = rest_port
        self._session = requests.Session()
        self._channel = grpc.insecure_channel(f"127.0.0.1:{grpc_port}")
        self._call = self._channel.unary_unary("/tensorflow.serving.PredictionService/Predict")

    def run(self, count: int) -> None:
        for _ in range(count):
            kind = self.rng.choice([self.image, self.image, self.message, self.body, self.body, self.connection])
            self.outcomes[kind.__name__, kind()] += 1
        self._session.close()
        self._channel.close()

    def image(self) -> str:
        """A mutated image in a sound request: a mask or INVALID_ARGUMENT, nothing else."""
        request = self._request(mutate(self.rng.choice(SEEDS), self.rng))
        code, data = self._grpc(request.SerializeToString())
        assert code in ("OK", "INVALID_ARGUMENT"), (code, data)
        outputs = predict_pb2.PredictResponse.FromString(data).outputs if code == "OK" else {}
        if "mask_bytes" in outputs:
            read_mask(outputs["mask_bytes"].string_val[0])
        return code

    def message(self) -> str:
        """A mutated protobuf: whatever it now asks for, the client's own mistake."""
        code, data = self._grpc(mutate(self._request(IMAGE).SerializeToString(), self.rng))
        assert code in ("OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION"), (code, data)
        return code

    def body(self) -> int:
        """A mutated body: 200 with JSON or 400 with a reason."""
        image = base64.b64encode(self.rng.choice(SEEDS)).decode()
        body = mutate(json.dumps({"signature_name": "scores", "instances": [{"b64": image}]}).encode(), self.rng)
        response = self._session.post(f"http://127.0.0.1:{self._rest_port}{PATH}", data=body, timeout=TIMEOUT_S)
        assert response.status_code in (200, 400), (response.status_code, response.text)
        assert ("error" in response.json()) == (response.status_code == 400)
        return response.status_code

    def connection(self) -> int:
        """Mutated bytes of a whole request: an answer in JSON, or none where the request ended too early."""
        head = f"POST {PATH} HTTP/1.1\r\nContent-Length: 19\r\nConnection: close\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self._rest_port), timeout=TIMEOUT_S) as connection:
            connection.sendall(mutate(head.encode() + b'{"instances": ["x"]}'[:19], self.rng))
            connection.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        if not answer:
            return 0
        head, _, body = answer.partition(b"\r\n\r\n")
        status = int(head.split(b" ")[1])
        assert status in (400, 404, 413, 431, 501), answer
        if b"\r\n\r\n" not in body:  # the mutation may have made two requests of one
            assert json.loads(body)["error"]
        return status

    def _request(self, image: bytes) -> predict_pb2.PredictRequest:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "transferseg"
        request.model_spec.signature_name = self.rng.choice(["serving_default", "scores"])
        request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([image], tf.string))
        return request

    def _grpc(self, data: bytes) -> tuple[str, bytes | str]:
        try:
            return "OK", self._call(data, timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            return error.code().name, error.details()


def check_answers(grpc_port: int) -> None:
    with SegmentationClient(f"127.0.0.1:{grpc_port}", timeout=TIMEOUT_S) as client:
        assert read_mask(client.predict([IMAGE])[0]).shape == (40, 60)


@pytest.mark.slow
def test_300_mutated_requests(server):
    fuzz = Fuzz(server.grpc_port, server.rest_port, seed=0)
    fuzz.run(300)
    seen = {kind: {outcome for name, outcome in fuzz.outcomes if name == kind} for kind in ("image", "body")}
    assert seen == {"image": {"OK", "INVALID_ARGUMENT"}, "body": {200, 400}}  # or the fuzz says nothing
    check_answers(server.grpc_port)


@contextmanager
def served(base):
    """`transferseg serve` as a process: (process, gRPC port, REST port)."""
    command = [*COMMAND, "serve", "--model", str(base), "--grpc-port=0", "--rest-port=0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            ports = re.search(r"gRPC \S+?:(\d+), REST http://\S+?:(\d+)/", process.stdout.readline())
            yield psutil.Process(process.pid), int(ports[1]), int(ports[2])
        finally:
            process.terminate()
            assert process.wait(TIMEOUT_S) == 0


DRIPPING = 80  # slow clients; the server closes their connections, and they come again


@pytest.mark.soak
def test_10_000_mutated_requests_beside_slow_clients_and_reloads(saved_model, tmp_path):
    base, ended, versions = tmp_path / "transferseg", threading.Event(), [1]
    shutil.copytree(saved_model, base / "1")

    def reload(rest_port: int) -> None:
        versions.append(versions[-1] + 1)
        shutil.copytree(saved_model, tmp_path / "incoming")
        (tmp_path / "incoming").rename(base / str(versions[-1]))
        url = f"http://127.0.0.1:{rest_port}/v1/models/transferseg/versions/{versions[-1]}"
        while b"AVAILABLE" not in requests.get(url).content:
            time.sleep(0.1)
        shutil.rmtree(base / str(versions[-2]))

    def drip(rest_port: int) -> None:
        clients = [socket.create_connection(("127.0.0.1", rest_port), timeout=TIMEOUT_S) for _ in range(DRIPPING)]
        while not ended.wait(1):
            for i, client in enumerate(clients):
                try:
                    client.send(b"GET /"[i % 5 : i % 5 + 1])
                except OSError:
                    clients[i] = socket.create_connection(("127.0.0.1", rest_port), timeout=TIMEOUT_S)
        for client in clients:
            client.close()

    def check_health(rest_port: int) -> None:
        while not ended.wait(0.5):
            assert requests.get(f"http://127.0.0.1:{rest_port}/healthz", timeout=TIMEOUT_S).status_code == 200

    def fuzz(count: int, seed: int) -> tuple[Fuzz, list[int]]:
        """Reloads all the while; the server's memory, open files and threads afterwards."""
        one, loads = Fuzz(grpc_port, rest_port, seed), versions[-1] + 3
        fuzzing = pool.submit(one.run, count)
        while not fuzzing.done() or versions[-1] < loads:
            reload(rest_port)
        fuzzing.result()
        return one, [process.memory_info().rss, process.num_fds(), process.num_threads()]

    with served(base) as (process, grpc_port, rest_port), ThreadPoolExecutor(3) as pool:
        beside = [pool.submit(drip, rest_port), pool.submit(check_health, rest_port)]
        try:
            with SegmentationClient(f"127.0.0.1:{grpc_port}", timeout=TIMEOUT_S) as client:
                client.predict([encode(draw(5000, 8000), "JPEG")] * 4)  # allocators keep the room of the largest
            _, before = fuzz(5_000, seed=1)
            start = time.monotonic()
            one, after = fuzz(10_000, seed=2)
            took = time.monotonic() - start
            check_answers(grpc_port)
        finally:
            ended.set()
        for task in beside:
            task.result()
    print(f"{took:.0f} s, {versions[-1]} versions, before {before}, after {after}, {dict(one.outcomes)}")
    assert after[0] < 1.1 * before[0] and after[1] <= before[1] + DRIPPING + 20 and after[2] <= before[2] + 20
