"""The two exceptions for what a person can mend: bad input of a command, and a single bad image."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

Stage = Literal["list", "read", "decode", "size", "image", "mask", "tags", "object", "network", "label", "write"]

_REASON_LENGTH = 300  # characters
_SHOWN = 5  # faults that a message names
_TENSORFLOW_NOISE = re.compile(r"\{\{.*?\}\} ?| \[Op:.*$")  # where in the graph: nothing a person can use


class UserError(Exception):
    """Bad input: a config value, a file, a folder. The message is one line that says which, what is wrong, what to do.

    The command line prints the message and exits with status 2; it never shows a traceback.
    """


class ImageFault(Exception):
    """One image cannot be used: a dead letter, never the end of the job.

    `stage` says where it failed, str() is the reason on one line.
    """

    def __init__(self, stage: Stage, reason: str | Exception):
        super().__init__(one_line(reason))
        self.stage = stage


def one_line(reason: str | Exception) -> str:
    """First line of a message, shortened; the class name of an exception without one."""
    lines = str(reason).strip().splitlines() or [type(reason).__name__]
    return _TENSORFLOW_NOISE.sub("", lines[0])[:_REASON_LENGTH]


def some(faults: Sequence[str]) -> str:
    """The first faults as one line, and how many more there are."""
    more = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
    return "; ".join(faults[:_SHOWN]) + more
