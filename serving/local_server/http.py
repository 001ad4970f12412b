"""HTTP/1.1 on asyncio: strict about what a request is, patient for a limited time, JSON for every error.

A connection costs no thread, so clients that send nothing, or little at a time, keep nobody waiting.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import re
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import formatdate
from http.client import responses
from typing import Any

from trainer.errors import UserError

log = logging.getLogger(__name__)
_REQUEST_LINE = re.compile(r"([A-Z]+) (/[^\s\0]*) HTTP/1\.([01])")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\r\n\0]*)")
_HEAD_BYTES = 2**16
# All our choice:
_SILENT_S = 60.0  # a connection without a request
_HEAD_S = 10.0  # from the first byte of a request to the end of its head
_BODY_S = 60.0  # for the body, and for taking an answer
_LINGER_S = 5.0  # for what a refused client still sends: closing on unread data would lose it the answer
_LAST_CALL_S = 0.5  # for requests that are on their way when the server stops
_CONNECTIONS = 512  # beyond, the client that lets the server wait longest is dropped


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    body: bytes
    is_last: bool  # on this connection


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    kind: str = "application/json"

    @classmethod
    def json(cls, status: int, value: Any) -> Answer:
        return cls(status, json.dumps(value).encode())


class _Refused(Exception):
    """(status, message): not a request; what follows it on the connection cannot be told apart."""


def host_port(host: str, port: int) -> str:
    """As an address is written: an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class HttpServer:
    """Listens until `stop`. A subclass answers: `handle` runs on the one thread that all connections share."""

    def __init__(self, address: tuple[str, int], max_body_bytes: int, threads: int):
        """`threads`: of `pool`, for what would hold up all connections.

        Raises:
          UserError: it cannot listen there.
        """
        self.draining = False
        self.pool = ThreadPoolExecutor(threads, "http")
        self._max_body_bytes = max_body_bytes
        self._connections: set[asyncio.Task] = set()
        self._waiting: dict[asyncio.StreamWriter, bool] = {}  # for the client, longest first -> whether it is silent
        listening = _listening(*address)
        self.port = listening.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="http")
        self._thread.start()
        started = asyncio.start_server(self._converse, sock=listening, limit=_HEAD_BYTES)
        self._server = asyncio.run_coroutine_threadsafe(started, self._loop).result()

    async def handle(self, request: Request) -> Answer:
        raise NotImplementedError

    def stop(self, grace_seconds: float = 10.0) -> None:
        """Takes no new connections, answers what was asked or is on its way, then ends; after the grace in any case."""
        asyncio.run_coroutine_threadsafe(self._drain(grace_seconds), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self.pool.shutdown(wait=False)

    async def _drain(self, grace_seconds: float) -> None:
        self.draining = True
        self._server.close()
        await self._ended(min(_LAST_CALL_S, grace_seconds))
        for writer in [writer for writer, is_silent in self._waiting.items() if is_silent]:
            writer.transport.abort()
        await self._ended(grace_seconds)
        for connection in self._connections:
            connection.cancel()
        await self._ended(None)

    async def _ended(self, timeout: float | None) -> None:
        if self._connections:
            await asyncio.wait(self._connections, timeout=timeout)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its first request to its last."""
        connection = asyncio.current_task()
        self._connections.add(connection)
        writer.transport.set_write_buffer_limits(0)  # "drained" then means: taken by the client's machine
        if len(self._connections) > _CONNECTIONS and self._waiting:
            next(iter(self._waiting)).transport.abort()
        try:
            await self._answer_requests(reader, writer)
        except (OSError, EOFError, asyncio.TimeoutError, asyncio.CancelledError):
            log.debug("a client went away, or took too long, or the server ends")
        finally:
            self._waiting.pop(writer, None)
            self._connections.discard(connection)
            writer.transport.abort()

    async def _answer_requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_last = False
        while not is_last:
            self._waiting[writer] = True
            first = await asyncio.wait_for(reader.read(1), _SILENT_S)
            self._waiting[writer] = False
            if not first:
                return
            try:
                request = await self._read_request(first, reader, writer)
            except _Refused as refused:
                status, message = refused.args
                await _send(writer, Answer.json(status, {"error": message}), is_last=True)
                writer.write_eof()
                await asyncio.wait_for(_discard(reader), _LINGER_S)
                return
            del self._waiting[writer]
            try:
                answer = await self.handle(request)
            except Exception:
                log.exception("%s %s failed", request.method, request.target)
                answer = Answer.json(500, {"error": "internal error; the server's log has the details"})
            self._waiting[writer] = False
            is_last = request.is_last or self.draining
            await _send(writer, answer, is_last)
            del self._waiting[writer]

    async def _read_request(self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request:
        try:
            head = first + await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _HEAD_S)
        except asyncio.TimeoutError:
            raise _Refused(408, f"the head of the request took over {_HEAD_S:g} s") from None
        except asyncio.LimitOverrunError:
            raise _Refused(431, f"the head of the request has over {_HEAD_BYTES} bytes") from None
        line, *lines = head.decode("latin-1").strip("\r\n").split("\r\n")
        start, headers = _REQUEST_LINE.fullmatch(line), [_HEADER.fullmatch(text) for text in lines]
        if not start or not all(headers):
            raise _Refused(400, "Malformed request: not HTTP/1.1")
        found: dict[str, list[str]] = {}
        for header in headers:
            found.setdefault(header[1].lower(), []).append(header[2].strip(" \t"))
        length = self._body_length(start[1], found)
        if found.get("expect") and length:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            body = await asyncio.wait_for(reader.readexactly(length), _BODY_S)
        except asyncio.TimeoutError:
            raise _Refused(408, f"the body of the request took over {_BODY_S:g} s") from None
        wishes = ",".join(found.get("connection", [])).lower()
        return Request(
            start[1], start[2], body, start[3] == "0" or start[1] not in ("GET", "POST") or "close" in wishes
        )

    def _body_length(self, method: str, headers: dict[str, list[str]]) -> int:
        encoding = ",".join(headers.get("content-encoding", []))
        if method == "POST" and encoding.lower() not in ("", "identity"):
            raise _Refused(415, f"Content-Encoding {encoding}: send it uncompressed")
        lengths = headers.get("content-length", [] if method == "POST" else ["0"])
        if "transfer-encoding" in headers or len(lengths) != 1 or not re.fullmatch("[0-9]{1,15}", lengths[0]):
            raise _Refused(400, "send one Content-Length header, and no Transfer-Encoding")
        if int(lengths[0]) > self._max_body_bytes:
            raise _Refused(413, f"body of {lengths[0]} bytes; limit {self._max_body_bytes}")
        return int(lengths[0])


def _listening(host: str, port: int) -> socket.socket:
    options = {"family": socket.AF_INET6, "dualstack_ipv6": socket.has_dualstack_ipv6()} if ":" in host else {}
    try:
        return socket.create_server((host, port), backlog=128, **options)
    except OSError as error:
        reason = str(error.strerror).partition(" (while")[0]
        of_port = error.errno in (errno.EADDRINUSE, errno.EACCES)
        remedy = "choose another port" if of_port else "is --host an address of this machine?"
        raise UserError(f"cannot listen on {host_port(host, port)} ({reason}); {remedy}") from None


async def _send(writer: asyncio.StreamWriter, answer: Answer, is_last: bool) -> None:
    last = "Connection: close\r\n" if is_last else ""
    head = (
        f"HTTP/1.1 {answer.status} {responses.get(answer.status, '')}\r\nDate: {formatdate(usegmt=True)}\r\n"
        f"Content-Type: {answer.kind}\r\nContent-Length: {len(answer.body)}\r\n{last}\r\n"
    )
    writer.write(head.encode() + answer.body)
    await asyncio.wait_for(writer.drain(), _BODY_S)


async def _discard(reader: asyncio.StreamReader) -> None:
    while await reader.read(_HEAD_BYTES):
        pass
