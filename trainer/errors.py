"""The two exceptions for what a person can mend: bad input of a command, and a single bad image."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence
from typing import Literal

Stage = Literal["list", "read", "decode", "size", "image", "mask", "tags", "object", "network", "label", "write"]

STOPPED = 143  # exit status of what a signal has ended, as a shell says of SIGTERM

_REASON_LENGTH = 300  # characters
_SHOWN = 5  # faults that a message names
_GRAPH = re.compile(  # lines of TensorFlow's about its graph: nodes, frames of tracebacks, their code
    r"Graph execution error:|Detected at node|Node: |<stack traces|\s*\[\[\{\{node|\d+ root error|\s+File \"|\s{4}|\s*$"
)
# What Python and TensorFlow say of a full disk, and what SQLite does.
DISK_FULL = (*(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT)), "database or disk is full")
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
    """A message, shortened and printable: of an exception the first line, or the name of its class."""
    text = str(reason).strip()
    if isinstance(reason, Exception):
        text = telling_line(text) or type(reason).__name__
    return shown(_TENSORFLOW_NOISE.sub("", text)[:_REASON_LENGTH])


def telling_line(text: str) -> str:
    """The first line of a message that speaks of the input; TensorFlow puts lines about its graph before it."""
    lines = text.splitlines()
    return next((line for line in lines if not _GRAPH.match(line)), next(iter(lines), ""))


def shown(name: str) -> str:
    """A file name as text that can be printed and written, whatever bytes it holds."""
    return "".join(c if c.isprintable() else _escaped(c) for c in name)


def _escaped(character: str) -> str:
    byte = ord(character) - 0xDC00  # Python's stand-in for a byte of a file name that is no UTF-8
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else character.encode("unicode_escape").decode()


def some(faults: Sequence[str]) -> str:
    """The first faults as one line, and how many more there are."""
    more = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
    return "; ".join(faults[:_SHOWN]) + more


def few(names: Sequence[str], most: int = _SHOWN, separator: str = ", ") -> str:
    """The first names on one line, "..." if there are more."""
    return separator.join([*names[:most], *(["..."] if len(names) > most else [])])
