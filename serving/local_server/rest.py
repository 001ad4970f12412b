"""TF Serving's REST interface on the standard library's threading server, with health and Prometheus pages."""

from __future__ import annotations

import logging
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google.protobuf import json_format
from tensorflow_serving.apis import model_pb2

from serving.local_server import rest_json
from serving.local_server.service import Service
from serving.local_server.status import Code, ServingError, invalid

log = logging.getLogger(__name__)
_PATH = re.compile(
    r"/v1/models/(?P<name>[^/:]+)(/versions/(?P<version>\d{1,18})|/labels/(?P<label>[^/:]+))?"
    r"(?P<metadata>/metadata)?(:(?P<verb>\w+))?"
)
_METRICS = ("/metrics", "/monitoring/prometheus/metrics")  # the second is TF Serving's own


class RestServer(ThreadingHTTPServer):
    """Serves until `stop`; at most `max_connections` clients at once, further ones get 503."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], service: Service, max_body_bytes: int, max_connections: int):
        self.service = service
        self.max_body_bytes = max_body_bytes
        self._max_connections = max_connections
        self._connections: set[socket.socket] = set()
        self._busy = 0
        self._changed = threading.Condition()
        super().__init__(address, _Handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True, name="rest")
        self._thread.start()

    def process_request(self, request, client_address):
        with self._changed:
            full = len(self._connections) >= self._max_connections
            if not full:
                self._connections.add(request)
        if full:
            request.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        with self._changed:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request, client_address):
        log.debug("connection from %s ended", client_address, exc_info=True)  # clients may go away at any time

    def answering(self, change: int) -> None:
        with self._changed:
            self._busy += change
            self._changed.notify_all()

    def stop(self, grace_seconds: float) -> None:
        """Takes no new connections, finishes the calls under way, closes idle connections."""
        self.shutdown()
        self._thread.join()
        with self._changed:
            self._changed.wait_for(lambda: self._busy == 0, grace_seconds)
            open_connections = list(self._connections)
        for connection in open_connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                log.debug("connection was closed already")
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: RestServer
    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.0"  # not 0.9, which answers garbage without a status line
    server_version = "transferseg"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body in one write
    timeout = 60  # seconds a client may stay silent

    def do_GET(self) -> None:
        self._handle(self._get)

    def do_POST(self) -> None:
        self._handle(self._post)

    def _handle(self, answer) -> None:
        self.server.answering(+1)
        try:
            answer()
        except ServingError as error:
            self._send(error.http_status, rest_json.dump({"error": error.message}))
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        except Exception:
            log.exception("%s %s failed", self.command, self.path)
            self._send(500, rest_json.dump({"error": "internal error; the server's log has the details"}))
        finally:
            self.server.answering(-1)

    def _get(self) -> None:
        service, path = self.server.service, self.path.partition("?")[0]
        if path in _METRICS:
            return self._send(200, service.metrics.text(), "text/plain; version=0.0.4")
        if path == "/healthz":
            service.versions.find(model_pb2.ModelSpec(name=service.versions.name))
            return self._send(200, b"{}")
        spec, parts = self._parse_path(path)
        if parts["verb"]:
            raise invalid(f"Malformed request: GET {path}")
        method = "GetModelMetadata" if parts["metadata"] else "GetModelStatus"
        with service.metrics.call("rest", method):
            message = service.metadata(spec) if parts["metadata"] else service.versions.status(spec)
        fields = json_format.MessageToDict(message, True, preserving_proto_field_name=True)
        return self._send(200, rest_json.dump(fields))

    def _post(self) -> None:
        body = self._read_body()
        spec, parts = self._parse_path(self.path.partition("?")[0])
        if parts["verb"] in ("classify", "regress"):
            raise ServingError(Code.UNIMPLEMENTED, f"{parts['verb']} is not served; use predict")
        if parts["verb"] != "predict" or parts["metadata"]:
            raise invalid(f"Malformed request: POST {self.path}")
        service = self.server.service
        with service.metrics.call("rest", "Predict"):
            request = rest_json.parse_request(body)
            spec.signature_name = request.signature_name
            _, signature = service.resolve(spec)
            _, outputs = service.predict(spec, rest_json.to_arrays(request, signature))
            answer = rest_json.from_arrays(outputs, by_row=request.by_row)
        self._send(200, answer)

    def _parse_path(self, path: str) -> tuple[model_pb2.ModelSpec, dict[str, str | None]]:
        found = _PATH.fullmatch(path)
        if not found:
            if path.startswith("/v1/"):
                raise invalid(f"Malformed request: {self.command} {path}")
            raise ServingError(Code.NOT_FOUND, f"no page {path}")
        spec = model_pb2.ModelSpec(name=found["name"])
        if found["version"]:
            spec.version.value = int(found["version"])
        if found["label"]:
            spec.version_label = found["label"]
        return spec, found.groupdict()

    def _read_body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"\d{1,15}", length):
            self.close_connection = True  # without a length the next request cannot be found in the stream
            raise invalid("send a Content-Length header")
        if int(length) > self.server.max_body_bytes:
            self.close_connection = True
            self._send(413, rest_json.dump({"error": f"body of {length} bytes; limit {self.server.max_body_bytes}"}))
            self._discard(min(int(length), 4 * self.server.max_body_bytes))
            raise ConnectionAbortedError
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise ConnectionAbortedError
        return body

    def _discard(self, length: int) -> None:
        """Reads what the client still sends: closing on unread data would reset the connection and lose the answer."""
        self.wfile.flush()
        while length > 0 and (chunk := self.rfile.read(min(length, 2**16))):
            length -= len(chunk)

    def _send(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args) -> None:
        log.debug(format, *args)
