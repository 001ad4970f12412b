"""Whether the graph that a network is being called in becomes an XLA program: some layers have another form for it."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

_FOR_XLA = contextvars.ContextVar("for_xla", default=False)


@contextlib.contextmanager
def building_for_xla(xla: bool = True) -> Iterator[None]:
    """Around the call of a network in a function that XLA compiles, if `xla`."""
    token = _FOR_XLA.set(xla)
    try:
        yield
    finally:
        _FOR_XLA.reset(token)


def is_for_xla() -> bool:
    """Whether the caller is within `building_for_xla`."""
    return _FOR_XLA.get()
