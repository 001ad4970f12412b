"""TFX's Pusher with an executor of ours."""

from __future__ import annotations

from tfx.components.pusher import component
from tfx.dsl.components.base import executor_spec

from components.pusher.executor import Executor


class Pusher(component.Pusher):
    """Pushes a blessed model under a new number, unless it is the newest version already."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
