"""Runs that are killed, and where the next one began."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from commands import COMMAND, ROOT, TIMEOUT_S

from trainer.training.session import Session


def run_until_killed(stage: str, workdir: Path, *arguments: object) -> None:
    """`transferseg run` as a process, killed when that stage has written its first checkpoint."""
    command = [*COMMAND, "run", *map(str, arguments), "--workdir", str(workdir)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + TIMEOUT_S
    while not list(workdir.glob(f"checkpoints/{stage}-*/checkpoint")):  # TensorFlow's note of the newest, written last
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


@contextmanager
def first_steps() -> Iterator[list[int]]:
    """Of each training in this process: the step at which it began."""
    enter, found = Session.__enter__, []

    def entered(session: Session) -> Session:
        enter(session)
        found.append(session.step)
        return session

    with mock.patch.object(Session, "__enter__", entered):
        yield found
