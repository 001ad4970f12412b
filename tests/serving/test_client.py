"""The client's retries, deadlines and messages, against stand-ins for a server; overlays."""

import base64
import io
import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import grpc
import numpy as np
import pytest
from PIL import Image
from serving_samples import draw, encode
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.client import SegmentationClient
from serving.overlay import overlay_png
from trainer.errors import UserError


class Servicer(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, codes):
        self.codes, self.calls = list(codes), 0

    def Predict(self, request, context):
        self.calls += 1
        code = self.codes.pop(0) if self.codes else None
        if code:
            context.abort(code, "says no")
        response = predict_pb2.PredictResponse()
        response.outputs["mask_bytes"].string_val.append(b"mask")
        return response


@contextmanager
def grpc_server(codes):
    servicer, server = Servicer(codes), grpc.server(ThreadPoolExecutor(1))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}", servicer
    server.stop(0)


@contextmanager
def rest_server(answers):
    """Answers (status, body bytes) in order, then a mask."""
    calls = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            mask = json.dumps({"predictions": [{"b64": base64.b64encode(b"mask").decode()}]}).encode()
            status, body = answers[len(calls)] if len(calls) < len(answers) else (200, mask)
            calls.append(status)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_address[1]}", calls
    server.shutdown()
    server.server_close()


def test_unavailable_is_tried_again_over_grpc():
    busy = grpc.StatusCode.UNAVAILABLE
    with grpc_server([busy, busy]) as (address, servicer), SegmentationClient(address) as client:
        assert client.predict([b"image"]) == [b"mask"]
        assert servicer.calls == 3


def test_unavailable_is_tried_again_over_rest():
    with rest_server([(503, b"busy")] * 2) as (address, calls), SegmentationClient(address, transport="rest") as client:
        assert client.predict([b"image"]) == [b"mask"]
        assert calls == [503, 503, 200]


def test_retries_end():
    with grpc_server([grpc.StatusCode.UNAVAILABLE] * 9) as (address, servicer):
        with SegmentationClient(address, retries=1) as client, pytest.raises(UserError, match="unavailable: says no"):
            client.predict([b"image"])
        assert servicer.calls == 2
        with SegmentationClient(address, timeout=0.15) as client, pytest.raises(UserError, match="unavailable"):
            client.predict([b"image"])  # the deadline leaves no room for all three retries
        assert servicer.calls < 2 + 3


@pytest.mark.parametrize("code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL])
def test_other_errors_are_not_tried_again(code):
    with grpc_server([code]) as (address, servicer), SegmentationClient(address) as client:
        with pytest.raises(UserError, match=f"{code.name}: says no"):
            client.predict([b"image"])
        assert servicer.calls == 1


@pytest.mark.parametrize("status, body", [(400, b'{"error": "bad"}'), (500, b"<html>"), (200, b"[]"), (200, b"{}")])
def test_other_answers_are_errors_over_rest(status, body):
    with rest_server([(status, body)]) as (address, calls), SegmentationClient(address, transport="rest") as client:
        with pytest.raises(UserError, match=f"HTTP {status}"):
            client.predict([b"image"])
        assert len(calls) == 1


def test_a_server_of_other_models_is_told_apart():
    message = "1 masks for 2 images; does it serve a segmentation model"
    with (
        grpc_server([]) as (address, _),
        SegmentationClient(address) as client,
        pytest.raises(UserError, match=message),
    ):
        client.predict([b"image"] * 2)


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_nobody_there(transport):
    client = SegmentationClient("127.0.0.1:1", transport=transport, retries=1)  # port 1: nothing listens
    with client, pytest.raises(UserError, match="127.0.0.1:1: unavailable: .*is it running"):
        client.predict([b"image"])


@pytest.mark.parametrize(
    "address",
    [
        "localhost",
        "localhost:",
        ":8500",
        "localhost:http",
        "localhost:8501/v1",
        "http://localhost:8501",
        "::1:8500",
        "[::1]",
    ],
)
def test_addresses_need_host_and_port(address):
    with pytest.raises(UserError, match="give HOST:PORT without http://, .*; of IPv6 .::1.:8500"):
        SegmentationClient(address)
    SegmentationClient("[::1]:8500").close()
    with pytest.raises(UserError, match="choose grpc or rest"):
        SegmentationClient("localhost:8500", transport="http")


def test_overlay_colours_the_foreground_only():
    image = draw(20, 30)
    mask = Image.fromarray(np.zeros((20, 30), np.uint8), "P")
    mask.putpalette([0, 0, 0, 200, 100, 50])
    mask.paste(1, (0, 0, 10, 20))
    drawn = np.asarray(Image.open(io.BytesIO(overlay_png(encode(image), encode(mask)))))
    np.testing.assert_array_equal(drawn[:, 10:], image[:, 10:])
    np.testing.assert_allclose(drawn[:, :10], image[:, :10] * 0.5 + np.array([200, 100, 50]) * 0.5, atol=1)


def test_the_client_does_without_tensorflow():
    code = "import sys, serving.client; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
