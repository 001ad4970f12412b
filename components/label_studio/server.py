"""The ML backend's HTTP server: /health, /setup, /predict, on the standard library's threading server."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from components.label_studio.backend import Backend
from trainer.errors import UserError

log = logging.getLogger(__name__)
_MAX_BODY = 32_000_000  # bytes; open
_TIMEOUT_S = 60  # for a request to come in whole


class LabelStudioServer(ThreadingHTTPServer):
    """Serves until `stop`."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], backend: Backend):
        self.backend = backend
        super().__init__(address, _Handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True, name="label-studio")
        self._thread.start()

    @property
    def port(self) -> int:
        return self.server_address[1]

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()


def start(model: Path, host: str, port: int) -> LabelStudioServer:
    """Starts the ML backend over a model.

    Raises:
      UserError: no model there, or the port is taken.
    """
    backend = Backend(model)
    try:
        return LabelStudioServer((host, port), backend)
    except OSError as error:
        raise UserError(f"--label-studio {port}: {error.strerror} on {host}; give another port") from None


class _Handler(BaseHTTPRequestHandler):
    timeout = _TIMEOUT_S

    def do_GET(self) -> None:
        self._answer({"/": self._backend.health, "/health": self._backend.health})

    def do_POST(self) -> None:
        def ignored(_: dict[str, Any]) -> dict[str, Any]:
            return {"status": "ignored: corrected masks are brought in with `transferseg review import`"}

        posts = {"/predict": self._backend.predict, "/setup": self._backend.setup, "/webhook": ignored}
        self._answer({path: lambda work=work: work(self._body()) for path, work in posts.items()})

    @property
    def _backend(self) -> Backend:
        return self.server.backend  # type: ignore[attr-defined]

    def _answer(self, works: dict[str, Callable[[], dict[str, Any]]]) -> None:
        path = self.path.partition("?")[0]
        work = works.get(path.rstrip("/") or "/")
        if work is None:
            self._send(404, {"error": f"no such page: {path}"})
            return
        try:
            self._send(200, work())
        except UserError as error:
            self._send(400, {"error": str(error)})
        except OSError:  # the client has gone
            self.close_connection = True
        except Exception:
            log.exception("%s failed", path)
            self._send(500, {"error": "internal error; the server's log has the details"})

    def _body(self) -> dict[str, Any]:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > _MAX_BODY:
            self.close_connection = True
            raise UserError(f"a request needs a Content-Length of at most {_MAX_BODY} bytes")
        try:
            body = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            raise UserError("the request is no JSON object")
        return body

    def _send(self, status: int, value: dict[str, Any]) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        log.debug(format, *args)
