"""Calls that must come back: one image that hangs may not stop the job."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class OutOfTime(Exception):
    """The call was given up. Its thread cannot be stopped; as a daemon it ends with the process."""


def within(seconds: float, function: Callable[..., T], *arguments: object) -> T:
    """function(*arguments), on a thread of its own.

    Raises:
      OutOfTime: it did not return in time.
      Exception: whatever the function raises.
    """
    outcome: list[tuple[T | None, Exception | None]] = []

    def run() -> None:
        try:
            outcome.append((function(*arguments), None))
        except Exception as error:
            outcome.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise OutOfTime(f"gave up after {seconds:g} s")
    value, error = outcome[0]
    if error is not None:
        raise error
    return value
