"""Starts and stops the local server."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from serving.local_server.batching import Batcher
from serving.local_server.grpc_service import ModelServicer, PredictionServicer, Statuses
from serving.local_server.http import host_port
from serving.local_server.metrics import Metrics
from serving.local_server.models import VersionManager
from serving.local_server.rest import RestServer
from serving.local_server.service import Service
from trainer.errors import UserError


@dataclass(frozen=True)
class Server:
    """A running server."""

    grpc_port: int
    rest_port: int
    service: Service
    _grpc: grpc.Server
    _rest: RestServer

    def stop(self, grace_seconds: float = 10.0) -> None:
        """Refuses new calls, finishes those under way for up to `grace_seconds`, then lets everything go.

        What takes longer, a call or the load of a version, goes on in its thread until the process ends.
        """
        end = time.monotonic() + grace_seconds
        ended = self._grpc.stop(grace_seconds)
        self._rest.stop(grace_seconds)
        ended.wait()
        for stop in (self.service.batcher.close, self.service.versions.stop):
            stop(max(end - time.monotonic(), 0.0))


def serve(
    model_dir: str | os.PathLike,
    model_name: str = "transferseg",
    *,
    host: str = "127.0.0.1",
    grpc_port: int = 8500,
    rest_port: int = 8501,
    poll_seconds: float = 1.0,
    max_batch_size: int = 16,
    max_queue: int = 64,
    batch_workers: int = 2,
    max_body_bytes: int = 64 * 2**20,
    max_calls: int = 64,
    timeout_seconds: float = 60.0,
) -> Server:
    """Serves one model over gRPC and REST until `.stop()`. All limits are our choice.

    Args:
      model_dir: a base folder with numeric version folders, watched for new ones, or one SavedModel.
      model_name: the name clients ask for.
      host: address to listen on; "0.0.0.0" opens the server to the network (it has no access control).
      grpc_port, rest_port: 0 takes any free port; the Server says which.
      poll_seconds: how often the folder is looked at.
      max_batch_size, max_queue, batch_workers: see Batcher.
      max_body_bytes: largest request.
      max_calls: predictions over REST, and calls over gRPC, at the same time.
      timeout_seconds: longest a call may take.

    Raises:
      UserError: no model there, a port is taken, or the host is none of this machine.
    """
    metrics = Metrics()
    versions = VersionManager(model_name, Path(model_dir), poll_seconds)
    batcher = Batcher(max_batch_size, max_queue, batch_workers, metrics.batch_size.observe)
    service = Service(versions, batcher, metrics, timeout_seconds)
    metrics.watch("transferseg_queue_length", "Requests that wait for the model.", batcher.waiting)
    metrics.watch("transferseg_model_version", "Newest version served.", versions.newest)
    metrics.collect(versions)
    rest = None
    try:
        rest = RestServer((host, rest_port), service, max_body_bytes, max_calls)
        grpc_server, bound_port = _start_grpc(host, grpc_port, service, max_body_bytes, max_calls)
    except UserError:
        if rest:
            rest.stop(0)
        batcher.close()
        versions.stop()
        raise
    return Server(bound_port, rest.port, service, grpc_server, rest)


def _start_grpc(host: str, port: int, service: Service, max_body_bytes: int, max_calls: int) -> tuple[grpc.Server, int]:
    options = [
        ("grpc.max_receive_message_length", max_body_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", 0),  # a taken port is an error, not a share
    ]
    # Threads only wait for the batcher; one per call keeps status calls answered while predictions queue.
    pool, statuses = ThreadPoolExecutor(max_calls), [Statuses(service.metrics)]
    server = grpc.server(pool, interceptors=statuses, options=options, maximum_concurrent_rpcs=max_calls)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionServicer(service), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelServicer(service), server)
    try:
        bound_port = server.add_insecure_port(host_port(host, port))
    except RuntimeError:
        bound_port = 0
    if not bound_port:
        raise UserError(f"gRPC: cannot listen on {host_port(host, port)}; choose another port")
    server.start()
    return server, bound_port
