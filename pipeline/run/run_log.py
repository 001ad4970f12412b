"""run.log: every log line of every library as a JSON object, with the run's id and the component that was at work."""

from __future__ import annotations

import logging
import secrets
from datetime import datetime, timezone

from pythonjsonlogger.json import JsonFormatter

_FIELDS = "%(levelname)s %(name)s %(run_id)s %(component)s %(message)s"
_NAMES = {"levelname": "level", "name": "logger", "exc_info": "exception", "stack_info": "stack"}


def new_run_id() -> str:
    """Sorts by time (UTC); unique on a shared metadata server too."""
    return f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


class RunLines(JsonFormatter):
    """A record -> one line of JSON: time (ISO 8601, UTC), level, logger, run_id, component, message, exception.

    Attributes:
      component: which one is at work, null between two; whoever runs them sets it.
    """

    def __init__(self, run_id: str):
        super().__init__(_FIELDS, timestamp="time", rename_fields=_NAMES)
        self._run_id = run_id
        self.component: str | None = None

    def format(self, record: logging.LogRecord) -> str:
        # Not a context variable: Beam's worker threads would not have it.
        record.run_id, record.component = self._run_id, self.component
        return super().format(record)
