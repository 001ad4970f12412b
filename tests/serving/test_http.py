"""The REST port as a network sees it: odd and hostile requests, slow clients and many, and the end of the server."""

import base64
import gzip
import json
import socket
import threading
import time
from contextlib import ExitStack, closing

import pytest
import requests
from commands import TIMEOUT_S
from serving_samples import draw, encode, read_mask

from serving.client import SegmentationClient
from serving.local_server.http import HttpServer
from serving.local_server.server import serve
from trainer.errors import UserError

IMAGE = encode(draw(40, 60))
STATUS = "/v1/models/transferseg"
PREDICT = f"POST {STATUS}:predict HTTP/1.1\r\n".encode()
GET = f"GET {STATUS} HTTP/1.1\r\n".encode()


@pytest.fixture(scope="module")
def small(saved_model):
    server = serve(saved_model, grpc_port=0, rest_port=0, max_body_bytes=100_000)
    yield server
    server.stop()


def connect(server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.rest_port), timeout=TIMEOUT_S)


def raw(server, request: bytes) -> bytes:
    """Sends bytes as they are and reads until the server closes."""
    with connect(server) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def check_well(server) -> None:
    assert requests.get(f"http://127.0.0.1:{server.rest_port}/healthz", timeout=TIMEOUT_S).status_code == 200
    with SegmentationClient(f"127.0.0.1:{server.rest_port}", transport="rest", timeout=TIMEOUT_S) as client:
        assert read_mask(client.predict([IMAGE])[0]).shape == (40, 60)


@pytest.mark.parametrize(
    "request_bytes, status",
    [
        (PREDICT + b"\r\n", 400),
        (PREDICT + b"Content-Length: -5\r\n\r\n", 400),
        (PREDICT + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400),
        (PREDICT + b"Content-Length: 2, 2\r\n\r\n{}", 400),
        (PREDICT + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (PREDICT + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (PREDICT + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b", 415),
        (PREDICT + b"Content-Encoding: br\r\n\r\n", 415),
        (PREDICT + b"Content-Length: 2\r\n folded: yes\r\n\r\n{}", 400),
        (PREDICT + b"Content-Length : 2\r\n\r\n{}", 400),
        (PREDICT + b"Content-Length: 999999999999\r\n\r\n", 413),
        (GET + b"Content-Length: 5\r\nContent-Length: 0\r\n\r\n", 400),
        (GET + b"X: " + b"x" * 70_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET /nowhere HTTP/1.1\r\nConnection: close\r\n\r\n", 404),
        (b"GET /v1/models/transferseg/versions/99999999999999999999 HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
        (b"GET /v1/models/transferseg/versions/%D9%A3 HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
        (b"BREW /coffee HTTP/1.1\r\n\r\n", 501),
        (b"\x00\x01\x02 \xff\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 400),
    ],
    ids=lambda value: str(value)[:90],
)
def test_odd_requests_get_a_status_a_reason_and_no_second_reading(small, request_bytes, status):
    smuggled = b"GET /metrics HTTP/1.1\r\n\r\n"
    head, _, body = raw(small, request_bytes + smuggled).partition(b"\r\n\r\n")
    assert int(head.split(b" ")[1]) == status
    assert json.loads(body)["error"]
    assert b"Connection: close" in head


def test_a_body_cut_short_is_dropped(small):
    assert raw(small, PREDICT + b"Content-Length: 50\r\n\r\n{") == b""
    check_well(small)


def test_one_connection_serves_many_calls_good_and_bad(small):
    url = f"http://127.0.0.1:{small.rest_port}{STATUS}"
    with requests.Session() as session:
        for _ in range(3):
            assert session.post(url + ":predict", data=b"{").status_code == 400
            assert session.get(url, data=b"x" * 5_000).status_code == 200  # the body of a GET is no next request
            assert session.get(url).status_code == 200


def test_a_compressed_body_is_refused_with_the_reason_and_a_plain_one_may_say_that_it_is(small):
    url = f"http://127.0.0.1:{small.rest_port}{STATUS}:predict"
    answer = requests.post(url, data=gzip.compress(b"{}"), headers={"Content-Encoding": "gzip"}, timeout=TIMEOUT_S)
    assert answer.status_code == 415 and "Content-Encoding gzip: send it uncompressed" in answer.json()["error"]
    answer = requests.post(url, data=b"{}", headers={"Content-Encoding": "identity"}, timeout=TIMEOUT_S)
    assert answer.status_code == 400 and "instances" in answer.json()["error"]


def test_a_name_in_a_path_may_be_quoted(small):
    assert requests.get(f"http://127.0.0.1:{small.rest_port}/v1/models/trans%66erseg").status_code == 200


def test_a_client_that_asks_before_it_sends_a_body_is_told_to_go_on(small):
    with connect(small) as connection:
        connection.sendall(PREDICT + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"{}")
        assert connection.recv(100).startswith(b"HTTP/1.1 400")


def test_a_signature_named_by_half_a_character_is_a_mistake_of_the_client(small):
    for name in (b"\\ud800", b"\\udc00x", b"\\udce9"):
        body = b'{"signature_name": "%s", "instances": ["x"]}' % name
        answer = requests.post(f"http://127.0.0.1:{small.rest_port}{STATUS}:predict", data=body)
        assert answer.status_code == 400 and "signature_name" in answer.json()["error"]


def test_idle_and_dripping_clients_keep_nobody_waiting(small):
    with ExitStack() as stack:
        clients = [stack.enter_context(closing(connect(small))) for _ in range(99)]
        for client in clients[33:66]:
            client.sendall(GET)
        for client in clients[66:]:
            client.sendall(PREDICT + b"Content-Length: 50\r\n\r\n{")
        check_well(small)


@pytest.mark.parametrize("sent", [GET, PREDICT + b"Content-Length: 99\r\n\r\n"], ids=["head", "body"])
def test_a_request_that_drips_in_is_given_up_as_a_whole(small, monkeypatch, sent):
    monkeypatch.setattr("serving.local_server.http._HEAD_S", 0.5)
    monkeypatch.setattr("serving.local_server.http._BODY_S", 0.5)
    with connect(small) as connection:
        connection.sendall(sent)
        connection.settimeout(0.05)
        end = time.monotonic() + TIMEOUT_S
        while True:
            connection.sendall(b"X")
            try:
                answer = connection.recv(65536)
                break
            except TimeoutError:
                assert time.monotonic() < end
    assert answer.startswith(b"HTTP/1.1 408") and b'"error"' in answer


def test_clients_that_take_no_answer_or_say_nothing_are_let_go(small, monkeypatch):
    monkeypatch.setattr("serving.local_server.http._SILENT_S", 0.1)
    with connect(small) as connection:
        assert connection.recv(1) == b""


def test_beyond_all_connections_the_one_that_waits_longest_goes(small, monkeypatch):
    monkeypatch.setattr("serving.local_server.http._CONNECTIONS", 4)
    with ExitStack() as stack:
        clients = [stack.enter_context(closing(connect(small))) for _ in range(6)]
        check_well(small)
        assert clients[0].recv(1) == b""


@pytest.mark.slow
def test_too_many_predictions_at_once_are_refused(saved_model):
    server = serve(saved_model, grpc_port=0, rest_port=0, max_calls=1)
    large = encode(draw(1500, 2000), "JPEG")
    try:
        with SegmentationClient(f"127.0.0.1:{server.rest_port}", transport="rest", timeout=TIMEOUT_S) as client:
            first = threading.Thread(target=client.predict, args=([large],))
            first.start()
            url, codes = f"http://127.0.0.1:{server.rest_port}", set()
            while first.is_alive():
                answer = requests.post(f"{url}{STATUS}:predict", data=b'{"instances": []}', timeout=TIMEOUT_S)
                codes.add((answer.status_code, "try again" in answer.json()["error"]))
                assert requests.get(f"{url}/healthz").status_code == 200
            first.join()
    finally:
        server.stop()
    assert (503, True) in codes and codes <= {(503, True), (400, False)}


@pytest.mark.slow
def test_clients_that_ask_on_while_the_server_stops_lose_no_answer(saved_model):
    server = serve(saved_model, grpc_port=0, rest_port=0)
    url = f"http://127.0.0.1:{server.rest_port}{STATUS}"
    asked, outcomes = threading.Barrier(13), []

    def ask_on() -> None:
        with requests.Session() as session:
            session.get(url)
            asked.wait()
            try:
                while session.get(url, timeout=TIMEOUT_S).headers.get("Connection") != "close":
                    pass
                outcomes.append("told to go")
            except requests.RequestException as error:
                outcomes.append(str(error))

    clients = [threading.Thread(target=ask_on) for _ in range(12)]
    for client in clients:
        client.start()
    idle = connect(server)
    asked.wait()
    server.stop(grace_seconds=TIMEOUT_S)
    for client in clients:
        client.join()
    assert outcomes == ["told to go"] * 12
    with closing(idle), pytest.raises(OSError):
        idle.sendall(b"x")
        idle.recv(1)
        connect(server)


@pytest.mark.slow
def test_a_server_that_stops_says_so_to_health_checks(saved_model):
    server = serve(saved_model, grpc_port=0, rest_port=0)
    with connect(server) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        while not server._rest.draining:
            time.sleep(0.01)
        connection.sendall(b"\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 503")
        stopping.join()


@pytest.mark.parametrize(
    "transport, port, message",
    [
        ("grpc", "rest_port", "this port speaks HTTP, not gRPC; choose --transport rest"),
        ("rest", "grpc_port", "this port does not speak HTTP; choose --transport grpc"),
    ],
)
def test_the_port_of_the_other_transport_is_told(small, transport, port, message):
    address = f"127.0.0.1:{getattr(small, port)}"
    with SegmentationClient(address, transport=transport) as client, pytest.raises(UserError, match=message):
        client.predict([IMAGE])


def test_ports_are_blamed_where_they_are_taken_alone():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"cannot listen on 127.0.0.1:{port} \(.*in use\); choose another port$"):
            HttpServer(("127.0.0.1", port), 1, 1)
    for host, shown in (("host.invalid", "host.invalid:8500"), ("2001:db8::1", r"\[2001:db8::1\]:8500")):
        with pytest.raises(UserError, match=rf"cannot listen on {shown} \([^()]*\); is --host an address of this mach"):
            HttpServer((host, 8500), 1, 1)


@pytest.mark.slow
def test_a_server_on_ipv6(saved_model):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    server = serve(saved_model, host="::1", grpc_port=0, rest_port=0)
    try:
        for transport, port in (("grpc", server.grpc_port), ("rest", server.rest_port)):
            with SegmentationClient(f"[::1]:{port}", transport=transport, timeout=TIMEOUT_S) as client:
                assert read_mask(client.predict([IMAGE])[0]).shape == (40, 60)
    finally:
        server.stop()


def test_base64_may_have_line_breaks_and_no_padding(small):
    """As many programs write it, and TF Serving's decoder takes it."""
    image = next(data for data in (IMAGE + bytes(n) for n in range(1, 4)) if len(data) % 3 == 1)
    text = base64.encodebytes(image).decode().replace("=", "")
    url = f"http://127.0.0.1:{small.rest_port}/v1/models/transferseg:predict"
    answer = requests.post(url, json={"instances": [{"b64": text}]}, timeout=TIMEOUT_S)
    assert answer.status_code == 200, answer.text
    assert read_mask(base64.b64decode(answer.json()["predictions"][0]["b64"])).shape == (40, 60)
    answer = requests.post(url, json={"instances": [{"b64": "####"}]}, timeout=TIMEOUT_S)
    assert answer.status_code == 400 and "base64" in answer.text
