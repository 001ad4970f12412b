"""How much memory a process has used."""

from __future__ import annotations

import re
from pathlib import Path


def peak_memory_mb(process: int | str = "self") -> float:
    """Peak resident memory of a running process, in MB of 2^20 bytes; by its number, or "self".

    `getrusage` would not do: its figure begins with that of the process that started this one, which Linux keeps over
    fork and exec.
    """
    [kilobytes] = re.findall(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text(), re.MULTILINE)
    return int(kilobytes) / 1024
