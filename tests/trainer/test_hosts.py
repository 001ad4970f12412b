"""Training over several hosts: two processes that meet over loopback, as hosts do over a network."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from trainer.config import NetworkConfig
from trainer.errors import UserError
from trainer.hosts import Hosts, hosts
from trainer.runtime import prepare

PROGRAM = Path(__file__).parent / "programs" / "train_both_stages.py"
BOUND_S = 120  # a host that is gone is noticed in seconds if its socket closes, by its heartbeat else


def free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("localhost", 0)) for _ in range(number)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def start_hosts(folder: Path, *steps: int) -> list[subprocess.Popen]:
    folder.mkdir(exist_ok=True)
    cluster = {"worker": [f"localhost:{port}" for port in free_ports(2)]}
    processes = []
    for index in range(2):
        task = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
        with open(folder / f"log{index}.txt", "a") as log:
            command = [sys.executable, str(PROGRAM), str(folder), "1", *map(str, steps)]
            environment = os.environ | {"TF_CONFIG": task, "TF_CPP_MIN_LOG_LEVEL": "3"}
            processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, env=environment))
    return processes


def weights(folder: Path) -> list[np.ndarray]:
    with np.load(folder / "weights.npz") as file:
        return [file[name] for name in file.files]


def finish_hosts(folder: Path, *steps: int) -> list[np.ndarray]:
    for index, process in enumerate(start_hosts(folder, *steps)):
        assert process.wait(timeout=400) == 0, (folder / f"log{index}.txt").read_text()[-2000:]
    return weights(folder)


def finish_alone(folder: Path, *steps: int) -> list[np.ndarray]:
    folder.mkdir()
    command = [sys.executable, str(PROGRAM), str(folder), "1", *map(str, steps)]
    subprocess.run(command, check=True, capture_output=True, timeout=400)
    return weights(folder)


@pytest.mark.slow
def test_two_hosts_train_like_one_and_the_chief_alone_writes(tmp_path):
    # Few steps: sums in another order part the weights further with each. Hosts that read the same images give 6e-2.
    one, two = finish_alone(tmp_path / "one", 2, 1), finish_hosts(tmp_path / "two", 2, 1)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-4)
    assert any((a != b).any() for a, b in zip(one, two, strict=True)), "equal to the last bit: were there two hosts?"
    history = (tmp_path / "two" / "segmentation" / "history.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in history] == ["step", "2"]
    assert len(list((tmp_path / "two" / "p_net").glob("events.*"))) == 1
    assert "step/s" not in (tmp_path / "two" / "log1.txt").read_text()


@pytest.mark.slow
def test_a_lost_host_ends_the_others_and_all_continue_when_started_again(tmp_path):
    straight = finish_hosts(tmp_path / "straight", 40, 2)
    chief, other = start_hosts(tmp_path / "lost", 40, 2)
    checkpoints = tmp_path / "lost" / "segmentation.state"
    while not list(checkpoints.glob("ckpt-*.index")):
        assert chief.poll() is None, (tmp_path / "lost" / "log0.txt").read_text()[-2000:]
        time.sleep(0.05)
    other.send_signal(signal.SIGKILL)
    began = time.monotonic()
    assert chief.wait(timeout=BOUND_S) == 1
    print(f"the chief noticed after {time.monotonic() - began:.1f} s")
    assert "lost another of the 2 hosts at step" in (tmp_path / "lost" / "log0.txt").read_text()
    assert not (tmp_path / "lost" / "weights.npz").exists()
    for a, b in zip(straight, finish_hosts(tmp_path / "lost", 40, 2), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


def test_tf_config_says_which_host_this_is(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert hosts() == Hosts(1, 0) and hosts().chief
    cluster = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 1}}))
    assert hosts() == Hosts(3, 2) and not hosts().chief
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {}, "task": {}}))
    assert hosts() == Hosts(1, 0)


def test_one_device_and_several_hosts_exclude_each_other(monkeypatch):
    cluster = {"worker": ["a:1", "b:1"]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 0}}))
    with pytest.raises(UserError, match="devices: one, but TF_CONFIG names 2 hosts"):
        prepare(NetworkConfig(backbone="tiny", weights=None, devices="one"))


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"cluster": {"worker": ["a:1"]}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "ps", "index": 0}}',
    ],
)
def test_a_wrong_tf_config_is_explained(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UserError, match="cannot find this process among the workers; write"):
        hosts()
