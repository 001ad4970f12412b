"""Concurrent runs on one metadata server: MariaDB from Debian's package, started here."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import yaml
from commands import ROOT, TIMEOUT_S
from programs.run_data_steps import run_data_steps

from pipeline.config.run_config import make_config
from pipeline.demo.demo_data import draw_demo_dataset
from pipeline.execution.metadata_store import connect
from trainer.errors import UserError

pytestmark = pytest.mark.e2e

PROGRAM = Path(__file__).parent / "programs" / "run_data_steps.py"
VARIABLE, PASSWORD = "TRANSFERSEG_METADATA_PASSWORD", "right"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def binary(name: str) -> str:
    """Debian keeps servers off the users' PATH."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if found is None:
        pytest.skip(f"no {name} here (Debian: apt-get install mariadb-server)")
    return found


@pytest.fixture(scope="module")
def server():
    """Settings of a running MariaDB with a user who may use one database."""
    install, program = binary("mariadb-install-db"), binary("mariadbd")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="transferseg-") as place:  # other users may not enter pytest's folders
        os.chmod(place, 0o755)
        folder = Path(place)
        data, log, init = folder / "data", folder / "log", folder / "init.sql"
        data.mkdir()
        options = ["--no-defaults", f"--datadir={data}"]
        if os.getuid() == 0:  # as which it refuses to run
            shutil.chown(data, "mysql")
            options.append("--user=mysql")
        # Without the test database there are no anonymous users either, who would stand before `runner`.
        subprocess.run([install, *options, "--skip-test-db"], check=True, capture_output=True)
        statements = [
            f"CREATE USER 'runner'@'%' IDENTIFIED BY '{PASSWORD}';",
            "GRANT ALL ON transferseg.* TO 'runner'@'%';",
        ]
        init.write_text("\n".join(statements))  # one a line, or only the first is done
        options += [f"--port={port}", "--bind-address=127.0.0.1", f"--socket={data}/socket", f"--init-file={init}"]
        with open(log, "w") as output:
            process = subprocess.Popen([program, *options], stdout=output, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + TIMEOUT_S
            while socket.socket().connect_ex(("127.0.0.1", port)):
                assert time.monotonic() < deadline and process.poll() is None, log.read_text()
                time.sleep(0.2)
            yield {"kind": "mysql", "port": port, "user": "runner"}
        finally:
            process.terminate()
            process.wait(TIMEOUT_S)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return draw_demo_dataset(tmp_path_factory.mktemp("data") / "demo", train=16, val=4, progress=False)


def settings(name, data, server, **metadata):
    categories = {"strong": ["ring", "star", "leaf", "crate"], "weak": ["gear", "flower", "fish", "house"]}
    values = {"name": name, "dataset": {"root": str(data)}, "categories": categories}
    return values | {"network": {"backbone": "tiny", "weights": None}, "metadata": server | metadata}


def start(tmp_path, name, data, server) -> subprocess.Popen:
    config = tmp_path / f"{name}.yaml"
    config.write_text(yaml.safe_dump(settings(name, data, server)))
    command = [sys.executable, str(PROGRAM), str(config), str(tmp_path / name)]
    environment = os.environ | {VARIABLE: PASSWORD, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def states(process: subprocess.Popen) -> set[str]:
    output, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, errors[-3000:]
    assert PASSWORD not in errors
    found = json.loads(output.splitlines()[-1])
    assert len(found) == 5
    return set(found.values())


def test_concurrent_runs_share_a_server_and_a_rerun_is_cached(server, data, tmp_path, monkeypatch):
    both = [start(tmp_path, name, data, server) for name in ("one", "two")]
    assert [states(process) for process in both] == [{"done"}, {"done"}]
    monkeypatch.setenv(VARIABLE, PASSWORD)
    assert set(run_data_steps(tmp_path / "one.yaml", tmp_path / "one").values()) == {"cached"}
    assert not list(tmp_path.rglob("metadata.sqlite"))


@pytest.mark.parametrize(
    ("password", "metadata", "words"),
    [
        (None, {}, "the environment has no TRANSFERSEG_METADATA_PASSWORD"),
        ("wrong", {}, "refuses user 'runner'.*check both and the password in TRANSFERSEG_METADATA_PASSWORD"),
        (PASSWORD, {"user": "nobody"}, "refuses user 'nobody'"),
        (PASSWORD, {"port": 1}, "metadata.host: no server answers at 127.0.0.1:1 \\(Connection refused\\)"),
    ],
)
def test_what_the_server_refuses_is_one_line(server, data, tmp_path, monkeypatch, password, metadata, words):
    monkeypatch.delenv(VARIABLE, raising=False)
    if password:
        monkeypatch.setenv(VARIABLE, password)
    with pytest.raises(UserError, match=words) as caught:
        connect(make_config(settings("bad", data, server, **metadata), "test").metadata, tmp_path)
    assert "\n" not in str(caught.value)
