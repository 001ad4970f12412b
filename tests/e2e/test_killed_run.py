"""A run that is killed continues where it was, and comes to the same model; the short test of it is in test_reruns."""

import pytest
from commands import summary_of, transferseg
from killing import run_until_killed

pytestmark = pytest.mark.soak


@pytest.mark.parametrize("stages", [["segmentation"], ["CAM", "P-Net"]], ids=str)
def test_a_run_killed_while_a_stage_trains_continues_to_the_same_model(pushed, tmp_path, stages):
    for stage in stages:
        run_until_killed(stage, tmp_path / "run", pushed.config)
    done = transferseg("run", pushed.config, "--workdir", tmp_path / "run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert summary_of(tmp_path / "run")["per_class"] == pushed.summary["per_class"]
