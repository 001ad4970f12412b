"""Limits, cancelled calls, mixed good and bad calls under load, metrics and a graceful stop."""

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
import requests
import tensorflow as tf
from commands import TIMEOUT_S
from serving_samples import draw, encode, read_mask
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.client import SegmentationClient
from serving.local_server.server import serve
from trainer.errors import UserError

IMAGE = encode(draw(40, 60))


@pytest.fixture(scope="module")
def small(saved_model):
    server = serve(saved_model, grpc_port=0, rest_port=0, max_body_bytes=100_000, max_batch_size=4, max_connections=4)
    yield server
    server.stop()


def client(server, transport="grpc", **options):
    port = server.grpc_port if transport == "grpc" else server.rest_port
    return SegmentationClient(f"127.0.0.1:{port}", transport=transport, **options)


def raw(server, request: bytes) -> bytes:
    """Sends bytes as they are and reads until the server closes."""
    with socket.create_connection(("127.0.0.1", server.rest_port), timeout=TIMEOUT_S) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_a_huge_body_is_refused_and_the_server_goes_on(small):
    with client(small) as by_grpc, pytest.raises(UserError, match="RESOURCE_EXHAUSTED"):
        by_grpc.predict([b"x" * 200_000])
    url = f"http://127.0.0.1:{small.rest_port}/v1/models/transferseg:predict"
    response = requests.post(url, data=b"x" * 350_000, timeout=TIMEOUT_S)
    assert response.status_code == 413
    assert raw(small, b"POST / HTTP/1.1\r\nContent-Length: 999999999999\r\n\r\n").startswith(b"HTTP/1.1 413")
    for transport in ("grpc", "rest"):
        with client(small, transport) as good:
            assert read_mask(good.predict([IMAGE])[0]).shape == (40, 60)


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_more_images_than_a_batch_holds_are_refused(small, transport):
    with client(small, transport) as one, pytest.raises(UserError, match="a batch of 5; send 1 to 4"):
        one.predict([IMAGE] * 5)


@pytest.mark.parametrize(
    "request_bytes, status",
    [
        (b"POST /v1/models/transferseg:predict HTTP/1.1\r\n\r\n", b"400"),
        (b"POST /v1/models/transferseg:predict HTTP/1.1\r\nContent-Length: -5\r\n\r\n", b"400"),
        (b"GET /nowhere HTTP/1.1\r\nConnection: close\r\n\r\n", b"404"),
        (b"GET /v1/models/transferseg/versions/99999999999999999999 HTTP/1.1\r\nConnection: close\r\n\r\n", b"400"),
        (b"BREW /coffee HTTP/1.1\r\n\r\n", b"501"),
        (b"\x00\x01\x02 \xff\r\n\r\n", b"400"),
    ],
)
def test_odd_http_gets_a_status(small, request_bytes, status):
    assert raw(small, request_bytes).split(b" ")[1] == status


def test_a_body_cut_short_is_dropped(small):
    assert raw(small, b"POST /v1/models/transferseg:predict HTTP/1.1\r\nContent-Length: 50\r\n\r\n{") == b""
    with client(small, "rest") as good:
        assert good.predict([IMAGE])


def test_one_connection_serves_many_calls_good_and_bad(small):
    url = f"http://127.0.0.1:{small.rest_port}/v1/models/transferseg"
    with requests.Session() as session:
        for _ in range(3):
            assert session.post(url + ":predict", data=b"{").status_code == 400
            assert session.get(url).status_code == 200


def test_too_many_connections_get_503(small):
    held = [socket.create_connection(("127.0.0.1", small.rest_port)) for _ in range(4)]
    for connection in held:
        connection.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
    assert raw(small, b"").startswith(b"HTTP/1.1 503")
    for connection in held:
        connection.close()


def test_bad_images_never_hurt_the_good_ones_beside_them(server):
    def call(i: int) -> str:
        with client(server, "grpc" if i % 2 else "rest", retries=0) as one:
            try:
                return str(read_mask(one.predict([b"text" if i % 3 == 0 else IMAGE])[0]).shape)
            except UserError as error:
                return "refused" if "image_bytes[0]: not a JPEG" in str(error) else str(error)

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(call, range(48)))
    assert outcomes == ["refused" if i % 3 == 0 else "(40, 60)" for i in range(48)]


def test_cancelled_and_expired_calls_leave_the_server_well(server):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "transferseg"
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([IMAGE] * 16, tf.string))
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        calls = [predict.future(request, timeout=TIMEOUT_S) for _ in range(10)]
        for call in calls:
            call.cancel()
        with pytest.raises(grpc.RpcError) as error:
            predict(request, timeout=1e-4)
        assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert predict(request, timeout=TIMEOUT_S).outputs["mask_bytes"].string_val
    assert server.service.batcher.waiting() == 0


def test_metrics_and_health(server):
    with client(server) as one:
        one.predict([IMAGE])
    url = f"http://127.0.0.1:{server.rest_port}"
    for path in ("/metrics", "/monitoring/prometheus/metrics"):
        text = requests.get(url + path).text
        assert 'transferseg_requests_total{code="OK",method="Predict",transport="grpc"}' in text
        assert "transferseg_queue_length 0.0" in text and "transferseg_model_version 1.0" in text
    assert requests.get(url + "/healthz").status_code == 200


def test_stopping_finishes_calls_under_way(saved_model):
    server = serve(saved_model, grpc_port=0, rest_port=0)
    large = encode(draw(1500, 2000), "JPEG")  # slow enough to be under way
    answers = []
    url = f"http://127.0.0.1:{server.rest_port}/v1/models/transferseg:predict"

    def ask(transport):
        with client(server, transport, retries=0) as one:
            answers.append(one.predict([large]))

    threads = [threading.Thread(target=ask, args=(transport,)) for transport in ("grpc", "rest")]
    for thread in threads:
        thread.start()
    while b"transferseg_batch_size_sum 2.0" not in server.service.metrics.text():  # until the model has both
        time.sleep(0.001)
    server.stop(grace_seconds=TIMEOUT_S)
    for thread in threads:
        thread.join()
    assert len(answers) == 2
    with pytest.raises(requests.ConnectionError):
        requests.post(url, data=json.dumps({"instances": []}), timeout=TIMEOUT_S)
