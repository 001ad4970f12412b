"""Measuring in processes of their own, so that peak memory, thread pools and determinism do not mix."""

from __future__ import annotations

import json
import subprocess
import sys
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
