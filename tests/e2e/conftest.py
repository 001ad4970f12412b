"""One pushed run of the discs for all files here: made once, whichever of pytest's processes needs it first."""

import fcntl
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from commands import summary_of, transferseg
from discs import config_of, draw_dataset


@dataclass(frozen=True)
class Pushed:
    """A run that ended in a pushed model.

    Attributes:
      data: the dataset.
      config: its config file.
      workdir: its work folder; one file of tests alone may run in it again.
      kept: a copy of the work folder as the run left it, to read.
      summary: its summary.json, with the pushed model in `kept`.
    """

    data: Path
    config: Path
    workdir: Path
    kept: Path
    summary: dict


@pytest.fixture(scope="session")
def pushed(tmp_path_factory, request) -> Pushed:
    base = tmp_path_factory.getbasetemp()
    place = (base.parent if hasattr(request.config, "workerinput") else base) / "pushed"  # xdist's workers share it
    place.mkdir(exist_ok=True)
    data, config, workdir, kept = (place / name for name in ("data", "config.yaml", "run", "kept"))
    with open(place / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            draw_dataset(data)
            config.write_text(yaml.safe_dump(config_of(data)))
            done = transferseg("run", config, "--workdir", workdir)
            assert done.returncode == 0, done.stdout + done.stderr
            shutil.copytree(workdir, kept)
    summary = summary_of(kept)
    model = kept / Path(summary["pushed_model"]).relative_to(workdir.resolve())
    return Pushed(data, config, workdir, kept, summary | {"pushed_model": str(model)})
