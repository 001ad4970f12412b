"""Versions and hot reload of the local server."""

import os
import re
import shutil
import subprocess
import threading
import time

import numpy as np
import pytest
import requests
import tensorflow as tf
from commands import COMMAND, ROOT, TIMEOUT_S
from serving_samples import CATEGORIES, SIZE, build_tiny_net, draw, encode, read_mask
from tensorflow_serving.apis.model_pb2 import ModelSpec

from serving.client import SegmentationClient
from serving.export import export_segmentation
from serving.local_server.models import State, VersionManager
from serving.local_server.server import serve
from serving.saved_model import load_saved_model
from trainer.errors import UserError

pytestmark = pytest.mark.slow  # waits for servers

IMAGE = encode(draw(40, 60))


@pytest.fixture(scope="module")
def second_model(tmp_path_factory):
    """Another network's SavedModel and its mask of IMAGE."""
    directory = tmp_path_factory.mktemp("second") / "2"
    net = build_tiny_net(seed=7)
    export_segmentation(net, directory, categories=CATEGORIES, image_size=SIZE, metadata={})
    loaded = tf.saved_model.load(str(directory))
    answer = loaded.signatures["serving_default"](image_bytes=tf.constant([IMAGE]))
    return directory, read_mask(answer["mask_bytes"].numpy()[0])


@pytest.fixture
def base(saved_model, tmp_path):
    """A base folder with version 1."""
    shutil.copytree(saved_model, tmp_path / "base" / "1")
    return tmp_path / "base"


@pytest.fixture
def start():
    """serve() on free ports; stopped after the test."""
    running = []

    def run(*arguments, **options):
        running.append(serve(*arguments, grpc_port=0, rest_port=0, poll_seconds=0.05, **options))
        return running[-1]

    yield run
    for server in running:
        server.stop()


def ask(server, version=None) -> np.ndarray:
    with SegmentationClient(f"127.0.0.1:{server.grpc_port}", version=version) as client:
        return read_mask(client.predict([IMAGE])[0])


def until(condition, seconds=TIMEOUT_S) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def test_a_new_version_takes_over_under_load_without_a_lost_call(base, second_model, start):
    server = start(base)
    second, expected = second_model
    before = ask(server)
    assert not np.array_equal(before, expected)
    failures, answers, done = [], [], threading.Event()

    def load():
        with SegmentationClient(f"127.0.0.1:{server.grpc_port}", retries=0) as client:
            while not done.is_set():
                try:
                    answers.append(read_mask(client.predict([IMAGE])[0]))
                except UserError as error:
                    failures.append(error)

    clients = [threading.Thread(target=load) for _ in range(4)]
    for client in clients:
        client.start()
    shutil.copytree(second, base / "2")
    until(lambda: server.service.versions.newest() == 2)
    until(lambda: np.array_equal(answers[-1], expected))
    done.set()
    for client in clients:
        client.join()
    assert not failures
    assert all(np.array_equal(answer, before) or np.array_equal(answer, expected) for answer in answers)
    status = requests.get(f"http://127.0.0.1:{server.rest_port}/v1/models/transferseg").json()["model_version_status"]
    assert [(item["version"], item["state"]) for item in status] == [("2", "AVAILABLE"), ("1", "END")]
    with pytest.raises(UserError, match="NOT_FOUND"):
        ask(server, version=1)


def test_a_half_copied_version_waits_until_it_is_whole(base, second_model, start):
    server = start(base)
    second, expected = second_model
    before = ask(server)
    (base / "2").mkdir()
    shutil.copy(second / "saved_model.pb", base / "2")
    url = f"http://127.0.0.1:{server.rest_port}/v1/models/transferseg/versions/2"
    until(lambda: requests.get(url).json().get("model_version_status", [{}])[0].get("state") == "END")
    assert requests.get(url).json()["model_version_status"][0]["status"]["error_code"] == "UNKNOWN"
    np.testing.assert_array_equal(ask(server), before)
    shutil.copytree(second, base / "2", dirs_exist_ok=True)
    until(lambda: np.array_equal(ask(server), expected))


def test_the_command_ends_while_a_version_loads(base):
    """One whose warm-up is a pipe that nobody writes to: it loads for ever."""
    shutil.copytree(base / "1", base / ".2")
    warmup = base / ".2" / "assets.extra" / "tf_serving_warmup_requests"
    warmup.unlink()
    os.mkfifo(warmup)
    command = [*COMMAND, "serve", "--model", str(base), "--grpc-port=0", "--rest-port=0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = re.search(r"REST (http://\S+)", process.stdout.readline())[1]
            (base / ".2").rename(base / "2")
            until(lambda: "LOADING" in requests.get(url).text)
            process.terminate()
            assert process.wait(TIMEOUT_S) == 0
        finally:
            process.kill()


def test_the_last_version_stays_when_its_folder_vanishes(base, start):
    server = start(base)
    before = ask(server)
    shutil.rmtree(base / "1")
    server.service.versions.refresh()
    np.testing.assert_array_equal(ask(server), before)


class StandIn:
    """A version that takes no time to load."""

    def __init__(self, path, version):
        self.version = version
        assert (path / "saved_model.pb").read_bytes() == b"good", "damaged"


@pytest.fixture
def watch(tmp_path, monkeypatch):
    """(folder, put(version, content), start() -> VersionManager) with stand-ins for models."""
    monkeypatch.setattr("serving.local_server.models.Servable", StandIn)
    running = []

    def put(version: int, content: bytes = b"good") -> None:
        (tmp_path / f".{version}").mkdir()
        (tmp_path / f".{version}" / "saved_model.pb").write_bytes(content)
        (tmp_path / f".{version}").rename(tmp_path / str(version))

    def start() -> VersionManager:
        running.append(VersionManager("transferseg", tmp_path, 0.02))
        return running[-1]

    yield tmp_path, put, start
    for manager in running:
        manager.stop()


def test_folders_that_are_no_versions_hide_none(watch):
    folder, put, start = watch
    put(1)
    manager = start()
    for number, name in enumerate(["\u00b2", "\u0663", "9" * 19, "9" * 250, "-1", "1e3"], 2):
        (folder / name).mkdir()
        time.sleep(0.1)  # several looks at it
        put(number)
        until(lambda number=number: manager.newest() == number, 20)


def test_a_version_without_a_model_yet_is_none_that_fails(watch, caplog):
    folder, put, start = watch
    put(1)
    manager = start()
    (folder / "2" / "variables").mkdir(parents=True)
    assert not manager.refresh() and manager.newest() == 1
    assert "cannot load" not in caplog.text


def test_the_watch_outlives_whatever_goes_wrong_in_it(watch, monkeypatch):
    _, put, start = watch
    put(1)
    manager, failed = start(), threading.Event()

    def fail():
        failed.set()
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(manager, "refresh", fail)
        assert failed.wait(TIMEOUT_S)
    put(2)
    until(lambda: manager.newest() == 2, 20)


def test_a_start_with_a_broken_newest_version_serves_the_newest_good_one(watch):
    _, put, start = watch
    put(1)
    put(2)
    put(3, b"damaged")
    manager = start()
    assert manager.newest() == 2
    states = manager.status(ModelSpec(name="transferseg")).model_version_status
    assert [(state.version, State.State.Name(state.state)) for state in states] == [(3, "END"), (2, "AVAILABLE")]
    put(4, b"damaged")
    until(lambda: 4 in [s.version for s in manager.status(ModelSpec(name="transferseg")).model_version_status])
    assert manager.newest() == 2


def test_a_folder_named_like_a_pattern_is_served(saved_model, tmp_path, start, monkeypatch):
    monkeypatch.setattr("serving.local_server.models.load_saved_model", load_saved_model)  # not from memory
    shutil.copytree(saved_model, tmp_path / "a[b]*?" / "1")
    assert ask(start(tmp_path / "a[b]*?")).shape == (40, 60)


def test_a_single_saved_model_is_served_as_it_is(saved_model, tmp_path, start):
    shutil.copytree(saved_model, tmp_path / "exported")
    server = start(tmp_path / "exported")
    assert ask(server).shape == (40, 60)
    assert server.service.versions.newest() == 1


def test_folders_without_a_model_are_refused(base, tmp_path):
    with pytest.raises(UserError, match="neither saved_model.pb nor numbered"):
        serve(tmp_path / "nothing", grpc_port=0, rest_port=0)
    (base / "1" / "saved_model.pb").write_bytes(b"no model")
    with pytest.raises(UserError, match="version 1: "):
        serve(base, grpc_port=0, rest_port=0)


def test_a_taken_port_is_refused(base, start):
    server = start(base)
    with pytest.raises(UserError, match=f"gRPC: cannot listen on 127.0.0.1:{server.grpc_port}"):
        serve(base, grpc_port=server.grpc_port, rest_port=0)
    with pytest.raises(UserError, match=f"^cannot listen on 127.0.0.1:{server.rest_port}"):
        serve(base, grpc_port=0, rest_port=server.rest_port)


def test_what_a_trainer_put_out_is_served_too(saved_model, start, tmp_path):
    """`<workdir>/artifacts/p_net/model`: folders of runs, and the model in each."""
    shutil.copytree(saved_model, tmp_path / "model/14/Format-Serving")
    server = start(tmp_path / "model")
    assert ask(server, version=14).shape == (40, 60)
