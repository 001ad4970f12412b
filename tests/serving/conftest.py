"""The tiny network, exported once, and the servers over it."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import tensorflow as tf
from commands import TIMEOUT_S
from serving_samples import CATEGORIES, SIZE, build_tiny_net

from serving.export import export_segmentation
from serving.local_server.server import serve


@pytest.fixture(scope="session")
def net() -> tf.keras.Model:
    return build_tiny_net()


@pytest.fixture(scope="session")
def saved_model(net, tmp_path_factory, loaded_once):
    """A SavedModel as version 1 under its base folder."""
    directory = tmp_path_factory.mktemp("models") / "transferseg" / "1"
    export_segmentation(net, directory, categories=CATEGORIES, image_size=SIZE, metadata={"config_hash": "abc"})
    return directory


@pytest.fixture(scope="session")
def signatures(saved_model):
    loaded = tf.saved_model.load(str(saved_model))
    functions = dict(loaded.signatures)
    functions["keep"] = loaded  # signatures do not keep their variables alive
    return functions


@pytest.fixture(scope="session")
def server(saved_model):
    """The local server on free ports, for the whole run."""
    running = serve(saved_model.parent, grpc_port=0, rest_port=0, poll_seconds=0.1)
    yield running
    running.stop()


@dataclass(frozen=True)
class Address:
    """A server under test, HOST:PORT each; ours, or an external one whose weights we do not know."""

    grpc: str
    rest: str
    is_ours: bool


def _kinds() -> list[str]:
    """Our own server; with TF_SERVING_BIN (a path) TF Serving's; with TF_SERVING_GRPC and TF_SERVING_REST any other."""
    binary = ["tensorflow_model_server"] if os.environ.get("TF_SERVING_BIN") else []
    external = ["external"] if os.environ.get("TF_SERVING_GRPC") and os.environ.get("TF_SERVING_REST") else []
    return ["local", *binary, *external]


@pytest.fixture(scope="session", params=_kinds())
def address(request):
    """Each server at hand; an external one serves some model as `transferseg`."""
    if request.param == "external":
        yield Address(os.environ["TF_SERVING_GRPC"], os.environ["TF_SERVING_REST"], False)
    elif request.param == "local":
        running = request.getfixturevalue("server")
        yield Address(f"127.0.0.1:{running.grpc_port}", f"127.0.0.1:{running.rest_port}", True)
    else:
        with _model_server(request.getfixturevalue("saved_model").parent) as ports:
            yield Address(*(f"127.0.0.1:{port}" for port in ports), True)


@contextmanager
def _model_server(base: Path) -> Iterator[list[int]]:
    """tensorflow_model_server over a model's base folder; yields its gRPC and REST port when it is ready."""
    with socket.socket() as first, socket.socket() as second:
        for one in (first, second):
            one.bind(("127.0.0.1", 0))
        ports = [one.getsockname()[1] for one in (first, second)]
    flags = [f"--port={ports[0]}", f"--rest_api_port={ports[1]}", f"--model_base_path={base}"]
    process = subprocess.Popen([os.environ["TF_SERVING_BIN"], "--model_name=transferseg", *flags])
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            try:
                requests.get(f"http://127.0.0.1:{ports[1]}/v1/models/transferseg", timeout=5).raise_for_status()
                break
            except requests.RequestException:
                assert process.poll() is None and time.monotonic() < deadline, "the model server did not start"
                time.sleep(0.2)
        yield ports
    finally:
        process.terminate()
        process.wait(TIMEOUT_S)
