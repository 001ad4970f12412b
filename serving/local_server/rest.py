"""TF Serving's REST interface, with health and Prometheus pages."""

from __future__ import annotations

import asyncio
import re
from urllib.parse import unquote

from google.protobuf import json_format
from tensorflow_serving.apis import model_pb2

from serving.local_server import rest_json
from serving.local_server.http import Answer, HttpServer, Request
from serving.local_server.service import Service
from serving.local_server.status import Code, ServingError, invalid

_PATH = re.compile(
    r"/v1/models/(?P<name>[^/:]+)(/versions/(?P<version>[0-9]{1,18})|/labels/(?P<label>[^/:]+))?"
    r"(?P<metadata>/metadata)?(:(?P<verb>\w+))?"
)
_METRICS = ("/metrics", "/monitoring/prometheus/metrics")  # the second is TF Serving's own


class RestServer(HttpServer):
    """Serves until `stop`. At most `max_calls` predictions at once, further ones get 503; pages are always answered."""

    def __init__(self, address: tuple[str, int], service: Service, max_body_bytes: int, max_calls: int):
        self._service = service
        self._max_calls = max_calls
        self._calls = 0  # counted on the connections' thread alone
        super().__init__(address, max_body_bytes, max_calls)

    async def handle(self, request: Request) -> Answer:
        try:
            path = unquote(request.target.partition("?")[0])
            if request.method == "GET":
                return self._get(path)
            if request.method == "POST":
                return Answer(200, await self._predict(path, request.body))
            raise ServingError(Code.UNIMPLEMENTED, f"{request.method} is not served; use GET or POST")
        except ServingError as error:
            return Answer.json(error.http_status, {"error": error.message})

    def _get(self, path: str) -> Answer:
        service = self._service
        if path in _METRICS:
            return Answer(200, service.metrics.text(), "text/plain; version=0.0.4")
        if path == "/healthz":
            if self.draining:
                raise ServingError(Code.UNAVAILABLE, "the server is shutting down")
            return Answer.json(200, {})
        spec, parts = _parse_path("GET", path)
        if parts["verb"]:
            raise invalid(f"Malformed request: GET {path}")
        method = "GetModelMetadata" if parts["metadata"] else "GetModelStatus"
        with service.metrics.call("rest", method):
            message = service.metadata(spec) if parts["metadata"] else service.versions.status(spec)
        return Answer.json(200, json_format.MessageToDict(message, True, preserving_proto_field_name=True))

    async def _predict(self, path: str, body: bytes) -> bytes:
        spec, parts = _parse_path("POST", path)
        if parts["verb"] in ("classify", "regress"):
            raise ServingError(Code.UNIMPLEMENTED, f"{parts['verb']} is not served; use predict")
        if parts["verb"] != "predict" or parts["metadata"]:
            raise invalid(f"Malformed request: POST {path}")

        def call() -> bytes:
            request = rest_json.parse_request(body)
            spec.signature_name = request.signature_name
            _, signature = self._service.resolve(spec)
            _, outputs = self._service.predict(spec, rest_json.to_arrays(request, signature))
            return rest_json.from_arrays(outputs, by_row=request.by_row)

        with self._service.metrics.call("rest", "Predict"):
            if self._calls >= self._max_calls:
                raise ServingError(Code.UNAVAILABLE, f"{self._calls} calls are under way; try again")
            self._calls += 1
            try:
                return await asyncio.get_running_loop().run_in_executor(self.pool, call)
            finally:
                self._calls -= 1


def _parse_path(method: str, path: str) -> tuple[model_pb2.ModelSpec, dict[str, str | None]]:
    found = _PATH.fullmatch(path)
    if not found:
        if path.startswith("/v1/"):
            raise invalid(f"Malformed request: {method} {path}")
        raise ServingError(Code.NOT_FOUND, f"no page {path}")
    spec = model_pb2.ModelSpec(name=found["name"], version_label=found["label"])
    if found["version"]:
        spec.version.value = int(found["version"])
    return spec, found.groupdict()
