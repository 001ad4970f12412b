"""A run that is killed continues where it was, and comes to the same model."""

import signal
import subprocess
import time

import pytest
from commands import COMMAND, ROOT, TIMEOUT_S, summary_of, transferseg

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("stages", [["segmentation"], pytest.param(["CAM", "P-Net"], marks=pytest.mark.soak)], ids=str)
def test_a_run_killed_while_a_stage_trains_continues_to_the_same_model(pushed, tmp_path, stages):
    arguments = ["run", str(pushed.config), "--workdir", str(tmp_path / "run")]
    for stage in stages:
        process = subprocess.Popen(
            [*COMMAND, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + TIMEOUT_S
        while not list(tmp_path.glob(f"run/checkpoints/{stage}-*/*.index")):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    done = transferseg(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert summary_of(tmp_path / "run")["per_class"] == pushed.summary["per_class"]
