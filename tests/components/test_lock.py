"""One run at a time in a work folder."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from components.beam_masks.lock import locked
from pipeline.config.run_config import make_config
from pipeline.demo.demo_data import draw_demo_dataset
from pipeline.demo.demo_run import demo_config
from pipeline.run.local_run import run_local
from trainer.errors import UserError

HOLD = "import sys, time, pathlib; from components.beam_masks.lock import locked\n"
HOLD += "with locked(pathlib.Path(sys.argv[1]), 'run 7'): print('held', flush=True); time.sleep(3600)"


def test_a_second_run_is_told_and_writes_nothing(tmp_path):
    data = draw_demo_dataset(tmp_path / "data", train=8, val=2, progress=False)
    workdir = tmp_path / "run"
    workdir.mkdir()
    with (
        locked(workdir, "run 20300101T000000Z-abcdef"),
        pytest.raises(UserError, match="run 20300101T000000Z-abcdef is going on in this folder; wait for its end"),
    ):
        run_local(make_config(demo_config(data), "test"), workdir, Console(quiet=True))
    assert [path.name for path in workdir.iterdir()] == ["lock"]


def test_a_killed_run_lets_go(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(UserError, match="run 7"), locked(tmp_path, "run 8"):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    with locked(tmp_path, "run 8"):
        assert (tmp_path / "lock").read_text() == "run 8"
