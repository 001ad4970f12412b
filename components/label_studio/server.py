"""The ML backend's HTTP server: /health, /setup, /predict."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from components.label_studio.backend import Backend
from serving.local_server.http import Answer, HttpServer, Request
from trainer.errors import UserError

_MAX_BODY = 32_000_000  # bytes; our choice
_CALLS = 8  # our choice: at the same time; the backend answers one after the other


class LabelStudioServer(HttpServer):
    """Serves until `stop`."""

    def __init__(self, address: tuple[str, int], backend: Backend):
        self._backend = backend
        super().__init__(address, _MAX_BODY, _CALLS)

    async def handle(self, request: Request) -> Answer:
        path = request.target.partition("?")[0].rstrip("/") or "/"
        posts = {"/predict": self._backend.predict, "/setup": self._backend.setup, "/webhook": _ignored}
        try:
            if request.method == "GET" and path in ("/", "/health"):
                return Answer.json(200, self._backend.health())
            if request.method not in ("GET", "POST"):
                return Answer.json(501, {"error": f"{request.method} is not served; use GET or POST"})
            if request.method == "GET" or path not in posts:
                return Answer.json(404, {"error": f"no such page: {path}"})
            loop = asyncio.get_running_loop()
            return Answer.json(200, await loop.run_in_executor(self.pool, lambda: posts[path](_parsed(request.body))))
        except UserError as error:
            return Answer.json(400, {"error": str(error)})


def start(model: Path, host: str, port: int) -> LabelStudioServer:
    """Starts the ML backend over a model.

    Raises:
      UserError: no model there, or it cannot listen there.
    """
    return LabelStudioServer((host, port), Backend(model))


def _ignored(_: dict[str, Any]) -> dict[str, Any]:
    return {"status": "ignored: corrected masks are brought in with `transferseg review import`"}


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        request = None
    if not isinstance(request, dict):
        raise UserError("the request is no JSON object")
    return request
