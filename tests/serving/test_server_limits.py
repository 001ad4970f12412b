"""Limits, cancelled calls, mixed good and bad calls under load, metrics and a graceful stop."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
import requests
import tensorflow as tf
from click.testing import CliRunner
from commands import TIMEOUT_S
from serving_samples import draw, encode, read_mask
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from pipeline.cli import cli
from serving.client import SegmentationClient
from serving.local_server.server import serve
from trainer.errors import UserError

pytestmark = pytest.mark.slow  # waits for servers

IMAGE = encode(draw(40, 60))


@pytest.fixture(scope="module")
def small(saved_model):
    server = serve(saved_model, grpc_port=0, rest_port=0, max_body_bytes=100_000, max_batch_size=4)
    yield server
    server.stop()


def client(server, transport="grpc", **options):
    port = server.grpc_port if transport == "grpc" else server.rest_port
    return SegmentationClient(f"127.0.0.1:{port}", transport=transport, **options)


def test_a_huge_body_is_refused_and_the_server_goes_on(small):
    for transport, code in (("grpc", "RESOURCE_EXHAUSTED"), ("rest", "HTTP 413")):
        with client(small, transport) as one, pytest.raises(UserError, match=f"{code}: .*; .*serve --max-request-mb"):
            one.predict([b"x" * 200_000])
    url = f"http://127.0.0.1:{small.rest_port}/v1/models/transferseg:predict"
    response = requests.post(url, data=b"x" * 350_000, timeout=TIMEOUT_S)
    assert response.status_code == 413
    for transport in ("grpc", "rest"):
        with client(small, transport) as good:
            assert read_mask(good.predict([IMAGE])[0]).shape == (40, 60)


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_more_images_than_a_batch_holds_are_refused(small, transport):
    with client(small, transport) as one, pytest.raises(UserError, match="a batch of 5; send 1 to 4"):
        one.predict([IMAGE] * 5)


def predict_with(server, request, serializer=predict_pb2.PredictRequest.SerializeToString) -> tuple[str, str]:
    """(code, message) of a refused gRPC call."""
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict", serializer)
        with pytest.raises(grpc.RpcError) as error:
            call(request, timeout=TIMEOUT_S)
    return error.value.code().name, error.value.details()


@pytest.mark.parametrize("dtype", [0, 14, 20, 21, 22, 29, 107, 999, -1])
def test_tensors_of_types_that_nobody_knows_are_mistakes_of_the_client(server, dtype):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "transferseg"
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([IMAGE], tf.string))
    request.inputs["image_bytes"].dtype = dtype
    assert predict_with(server, request)[0] == "INVALID_ARGUMENT"


@pytest.mark.parametrize("data", [b"\x0a\xff", b"\xff" * 9, b"\x0a\x03\x0a\x01\xff"], ids=["cut", "no tag", "no UTF-8"])
def test_bytes_that_are_no_request_are_mistakes_of_the_client(server, data):
    code, message = predict_with(server, data, serializer=None)
    assert code == "INVALID_ARGUMENT" and "not a valid Predict request" in message


def test_a_reason_too_long_for_grpc_is_cut(server):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "transferseg", "x" * 100_000
    code, message = predict_with(server, request)
    assert code == "FAILED_PRECONDITION" and message.endswith("...")


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


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_an_answer_that_takes_too_long_says_what_to_raise(saved_model, server, tmp_path, transport):
    large = tmp_path / "large.jpg"
    large.write_bytes(encode(draw(1500, 2000), "JPEG"))
    ports = {"grpc": server.grpc_port, "rest": server.rest_port}
    options = ["--server", f"127.0.0.1:{ports[transport]}", "--transport", transport, "--timeout", "0.001"]
    asked = CliRunner().invoke(cli, ["query", str(large), "--output", str(tmp_path / "mask.png"), *options])
    assert "; raise the timeout, --timeout of query and of serve" in str(asked.exception)
    impatient = serve(saved_model, grpc_port=0, rest_port=0, timeout_seconds=0.001)
    try:
        with client(impatient, transport, timeout=TIMEOUT_S) as one, pytest.raises(UserError, match="of serve$"):
            one.predict([large.read_bytes()])
    finally:
        impatient.stop()


def test_the_command_has_the_limits_as_options(monkeypatch):
    given = {}

    def start(*arguments, **options):
        given.update(options)
        raise UserError("enough")

    monkeypatch.setattr("serving.local_server.server.serve", start)
    CliRunner().invoke(cli, ["serve", "--model", "m", "--timeout", "300", "--max-request-mb", "2"])
    assert (given["timeout_seconds"], given["max_body_bytes"]) == (300, 2**21)


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
