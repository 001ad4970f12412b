"""Training over several hosts."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from commands import TIMEOUT_S
from loopback_hosts import two_hosts
from programs.train_both_stages import newest_checkpoint

from trainer.config import NetworkConfig
from trainer.errors import UserError
from trainer.training.devices import prepare
from trainer.training.hosts import Hosts, hosts

PROGRAM = Path(__file__).parent / "programs" / "train_both_stages.py"
SEGMENTATION_STEPS, P_NET_STEPS = 60, 0  # P-Net's stage goes the same way


def start_hosts(folder: Path, *steps: int, folder_of_other: Path | None = None) -> list[subprocess.Popen]:
    processes = []
    for index, place in enumerate(two_hosts()):
        own = folder_of_other if index and folder_of_other else folder
        own.mkdir(exist_ok=True)
        with open(own / f"log{index}.txt", "a") as log:
            command = [sys.executable, str(PROGRAM), str(own), "1", *map(str, steps)]
            environment = os.environ | place | {"TF_CPP_MIN_LOG_LEVEL": "3"}
            processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, env=environment))
    return processes


def weights(folder: Path) -> list[np.ndarray]:
    with np.load(folder / "weights.npz") as file:
        return [file[name] for name in file.files]


def finish_hosts(folder: Path, *steps: int) -> list[np.ndarray]:
    for index, process in enumerate(start_hosts(folder, *steps)):
        assert process.wait(timeout=TIMEOUT_S) == 0, (folder / f"log{index}.txt").read_text()[-2000:]
    return weights(folder)


def finish_alone(folder: Path, *steps: int) -> list[np.ndarray]:
    folder.mkdir()
    command = [sys.executable, str(PROGRAM), str(folder), "1", *map(str, steps)]
    subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT_S)
    return weights(folder)


@pytest.mark.soak
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


def start_and_reach_a_checkpoint(folder: Path) -> list[subprocess.Popen]:
    before = newest_checkpoint(folder)
    processes = start_hosts(folder, SEGMENTATION_STEPS, P_NET_STEPS)
    while newest_checkpoint(folder) == before:
        assert processes[0].poll() is None, (folder / "log0.txt").read_text()[-2000:]
        time.sleep(0.05)
    return processes


@pytest.mark.soak
def test_hosts_that_are_lost_or_stopped_continue_when_started_again(tmp_path):
    place = tmp_path / "stopped"
    chief, other = start_and_reach_a_checkpoint(place)
    other.send_signal(signal.SIGKILL)
    assert chief.wait(timeout=TIMEOUT_S) == 1
    assert "lost another of the 2 hosts at step" in (place / "log0.txt").read_text()

    chief, other = start_and_reach_a_checkpoint(place)
    other.terminate()
    assert [other.wait(timeout=TIMEOUT_S), chief.wait(timeout=TIMEOUT_S)] == [143, 143]
    last, _ = newest_checkpoint(place)
    assert last % 10 == 0 and last < SEGMENTATION_STEPS and not (place / "weights.npz").exists()

    hosts = start_hosts(place, SEGMENTATION_STEPS, P_NET_STEPS, folder_of_other=tmp_path / "unshared")
    assert [host.wait(timeout=TIMEOUT_S) for host in hosts] == [1, 1]
    assert f"begins at step {last} and another one does not" in (place / "log0.txt").read_text()
    assert "begins at step 0 and another one does not" in (tmp_path / "unshared" / "log1.txt").read_text()

    continued = finish_hosts(place, SEGMENTATION_STEPS, P_NET_STEPS)
    straight = finish_hosts(tmp_path / "straight", SEGMENTATION_STEPS, P_NET_STEPS)
    for a, b in zip(straight, continued, strict=True):
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
