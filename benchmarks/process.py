"""Measuring in processes of their own, so that peak memory, thread pools and determinism do not mix; peak memory."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any


def in_process(module: str, function: str, *arguments: object) -> Any:
    """What benchmarks.<module>.<function> returns, as JSON carries it, called in a fresh process.

    Raises:
      RuntimeError: it failed; with the last lines it wrote.
    """
    code = f"import json; from benchmarks.{module} import {function} as f; print(json.dumps(f(*{arguments!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"benchmarks.{module}.{function}: {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def peak_memory_mb(process: int | str = "self") -> float:
    """Peak resident memory of a running process, in MB of 2^20 bytes; by its number, or "self".

    `getrusage` would not do: its figure begins with that of the process that started this one, which Linux keeps over
    fork and exec.
    """
    [kilobytes] = re.findall(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text(), re.MULTILINE)
    return int(kilobytes) / 1024
