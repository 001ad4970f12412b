"""Calls that must come back: one image that hangs may not stop the job."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

T = TypeVar("T")
GAVE_UP = "gave up after"


class OutOfTime(Exception):
    """The call was given up. Its thread cannot be stopped; as a daemon it ends with the process."""


def within(seconds: float, function: Callable[..., T], *arguments: object) -> T:
    """function(*arguments), on a thread of its own.

    Raises:
      OutOfTime: it did not return in time.
      Exception: whatever the function raises.
    """
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(function(*arguments))
        except Exception as error:
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    if not wait([outcome], seconds).done:
        raise OutOfTime(f"{GAVE_UP} {seconds:g} s")
    return outcome.result()
