"""Measuring in processes of their own, so that peak memory, thread pools and determinism do not mix; peak memory."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def in_process(module: str, function: str, *arguments: object, environment: Mapping[str, str] | None = None) -> Any:
    """What benchmarks.<module>.<function> returns, as JSON carries it, in a fresh process; `environment` joins ours.

    Raises:
      RuntimeError: it failed; with the last lines it wrote.
    """
    code = f"import json; from benchmarks.{module} import {function} as f; print(json.dumps(f(*{arguments!r})))"
    variables = os.environ | (environment or {})
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=variables)
    if done.returncode:
        raise RuntimeError(f"benchmarks.{module}.{function}: {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def served(models: Path) -> Iterator[str]:
    """A server of a folder of versions, in a process of its own -> host:port of its gRPC.

    Raises:
      RuntimeError: it did not start; with the last lines it wrote.
    """
    command = [sys.executable, "-m", "pipeline.cli", "serve", "--model", str(models), "--grpc-port=0", "--rest-port=0"]
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            found = next(filter(None, (re.search(r"gRPC \S+:(\d+)", line) for line in process.stdout)), None)
            if not found:
                log.seek(0)
                raise RuntimeError(f"the server did not start: {log.read()[-2000:]}")
            yield f"localhost:{found[1]}"
        finally:
            process.terminate()


def peak_memory_mb(process: int | str = "self") -> float:
    """Peak resident memory of a running process, in MB of 2^20 bytes; by its number, or "self".

    `getrusage` would not do: its figure begins with that of the process that started this one, which Linux keeps over
    fork and exec.
    """
    [kilobytes] = re.findall(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text(), re.MULTILINE)
    return int(kilobytes) / 1024
