"""Keeps the libraries' chatter off the screen and in a log file. Import and call before TensorFlow or TFX."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from contextlib import suppress
from pathlib import Path

_SCREEN_FORMAT = "%(asctime)s %(levelname).1s %(name)s: %(message)s"

_shown = False  # whether log lines go to the screen too


def show_logs() -> None:
    """Log lines of every library on the standard error."""
    global _shown
    _shown = True
    logging.basicConfig(format=_SCREEN_FORMAT, level=logging.INFO, force=True)


def hush() -> None:
    """No C++ start-up lines, no warnings, no INFO lines."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    os.environ.setdefault("GLOG_minloglevel", "3")  # ml-metadata's
    warnings.filterwarnings("ignore")
    logging.getLogger().setLevel(logging.ERROR)


class _LogFile(logging.FileHandler):
    """Says nothing where a line cannot be written: whoever meets a full disk in the work itself tells of it."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def log_to_file(path: Path, formatter: logging.Formatter) -> None:
    """Sends every Python log line (absl's, TFX's, Beam's too) to the end of a file instead of the screen."""
    from absl import logging as absl_logging

    path.parent.mkdir(parents=True, exist_ok=True)
    handler = _LogFile(path)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    for before in root.handlers:
        if isinstance(before, logging.FileHandler):
            with suppress(OSError):  # lines that found no room
                before.close()
    root.handlers = [*root.handlers, handler] if _shown else [handler]
    root.setLevel(logging.INFO)
    absl_logging.use_python_logging(quiet=True)
    absl_logging.set_verbosity(absl_logging.INFO)
    logger = logging.getLogger("tensorflow")
    logger.handlers, logger.propagate = [], True
    logging.captureWarnings(True)
