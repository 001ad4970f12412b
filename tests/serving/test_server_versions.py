"""Versions, labels and hot reload of the local server."""

import shutil
import threading
import time

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from commands import TIMEOUT_S
from google.protobuf import text_format
from serving_samples import CATEGORIES, SIZE, build_tiny_net, draw, encode, read_mask
from tensorflow_serving.apis import model_management_pb2, model_service_pb2_grpc

from serving.client import SegmentationClient
from serving.export import export_segmentation
from serving.local_server.server import serve
from trainer.errors import UserError

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


def test_the_last_version_stays_when_its_folder_vanishes(base, start):
    server = start(base)
    before = ask(server)
    shutil.rmtree(base / "1")
    server.service.versions.refresh()
    np.testing.assert_array_equal(ask(server), before)


def test_labels_and_policy_come_by_a_reload_request(base, second_model, start):
    server = start(base)
    before = ask(server)
    second, expected = second_model
    shutil.copytree(second, base / "2")
    config = f"""config {{ model_config_list {{ config {{
        name: "transferseg" base_path: "{base}" model_version_policy {{ all {{}} }}
        version_labels {{ key: "stable" value: 1 }} version_labels {{ key: "canary" value: 2 }} }} }} }}"""
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        reload_config = model_service_pb2_grpc.ModelServiceStub(channel).HandleReloadConfigRequest
        reload_config(text_format.Parse(config, model_management_pb2.ReloadConfigRequest()), timeout=TIMEOUT_S)
        for bad, code in [
            (config.replace('"transferseg"', '"other"'), grpc.StatusCode.INVALID_ARGUMENT),
            (config.replace("value: 2", "value: 9"), grpc.StatusCode.FAILED_PRECONDITION),
            ("config { model_config_list {} }", grpc.StatusCode.INVALID_ARGUMENT),
        ]:
            with pytest.raises(grpc.RpcError) as error:
                reload_config(text_format.Parse(bad, model_management_pb2.ReloadConfigRequest()), timeout=TIMEOUT_S)
            assert error.value.code() == code
    np.testing.assert_array_equal(ask(server, version=1), before)
    np.testing.assert_array_equal(ask(server, version=2), expected)
    for label, version in [("stable", "1"), ("canary", "2")]:
        url = f"http://127.0.0.1:{server.rest_port}/v1/models/transferseg/labels/{label}"
        assert requests.get(url).json()["model_version_status"][0]["version"] == version


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
    with pytest.raises(UserError, match=f"REST: cannot listen on 127.0.0.1:{server.rest_port}"):
        serve(base, grpc_port=0, rest_port=server.rest_port)
