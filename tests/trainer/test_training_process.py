"""Both training loops as real processes: killed at any moment, spread over devices."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from commands import TIMEOUT_S
from programs.train_both_stages import KILLED, MOMENTS, newest_checkpoint

PROGRAM = Path(__file__).parent / "programs" / "train_both_stages.py"
KILLS = 20


def start(folder: Path, devices: int, *more: int | str) -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    with open(folder / "log.txt", "a") as log:
        return subprocess.Popen(
            [sys.executable, str(PROGRAM), str(folder), str(devices), *map(str, more)],
            stdout=subprocess.PIPE,
            stderr=log,
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        )


def finish(folder: Path, devices: int, *steps: int) -> list[np.ndarray]:
    assert start(folder, devices, *steps).wait(timeout=TIMEOUT_S) == 0, (folder / "log.txt").read_text()[-2000:]
    with np.load(folder / "weights.npz") as file:
        return [file[name] for name in file.files]


@pytest.mark.soak
def test_two_mirrored_devices_train_like_one(tmp_path):
    one, two = (finish(tmp_path / str(devices), devices, 6, 3) for devices in (1, 2))
    for a, b in zip(one, two, strict=True):
        assert np.sqrt(np.mean((a - b) ** 2)) <= 2e-4  # rounded in another order; biases alone move by 1e-3
    assert any((a != b).any() for a, b in zip(one, two, strict=True)), "equal to the last bit: were there two devices?"


@pytest.mark.slow
def test_a_run_killed_at_the_moments_that_matter_ends_with_bit_identical_weights(tmp_path):
    steps = 12, 6
    killed, reached = tmp_path / "killed", {}
    for moment in MOMENTS:
        assert start(killed, 1, *steps, moment).wait(TIMEOUT_S) == KILLED, (killed / "log.txt").read_text()[-2000:]
        reached[moment] = newest_checkpoint(killed)
    assert reached == {
        "in a step": (5, 0),
        "restoring": (5, 0),
        "saving": (10, 0),  # its files are there; the next start goes on from 5 all the same
        "between the stages": (12, 0),
        "in the joint phase": (12, 5),
    }
    assert_the_same(tmp_path, *steps)


@pytest.mark.soak
def test_a_run_killed_twenty_times_ends_with_bit_identical_weights(tmp_path):
    steps = 30, 400
    killed, reached, rng = tmp_path / "killed", [], np.random.default_rng(7)
    while len(reached) < KILLS:
        process = start(killed, 1, *steps)
        assert process.stdout.readline() == b"ready\n"
        if len(reached) % 2:  # while it builds, restores or trains
            time.sleep(rng.uniform(0, 3))
        else:  # while it trains or saves
            wait_for_progress(process, killed)
            time.sleep(rng.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "the run was over before it could be killed: give it more steps"
        reached.append(newest_checkpoint(killed))
    print("newest checkpoint at each kill:", reached)
    assert reached[-1][1] > 0, "no kill came in the second stage: give the first fewer steps"
    assert_the_same(tmp_path, *steps)


def assert_the_same(folder: Path, *steps: int) -> None:
    """What is in `folder/killed`, finished, equals a run that nothing happened to."""
    straight, killed = (finish(folder / name, 1, *steps) for name in ("straight", "killed"))
    for a, b in zip(straight, killed, strict=True):
        np.testing.assert_array_equal(a, b)
    for name in ("segmentation", "p_net"):
        histories = [(folder / run / name / "history.csv").read_text() for run in ("straight", "killed")]
        assert histories[0] == histories[1]


def wait_for_progress(process: subprocess.Popen, folder: Path) -> None:
    before = newest_checkpoint(folder)
    while newest_checkpoint(folder) == before and process.poll() is None:
        time.sleep(0.02)
