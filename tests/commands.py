"""The `transferseg` command as tests call it: in this process, or as one of its own."""

import io
import json
import logging
import os
import signal
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).parents[1]
COMMAND = [sys.executable, "-m", "pipeline.cli"]
TIMEOUT_S = 1800  # for hangs alone: ten times what the longest command needs on an idle machine


def transferseg(*arguments: object) -> subprocess.CompletedProcess:
    """Calls the command's `main` here: a process would first spend seconds on importing TFX.

    What the command sets for its process (log files, environment, precision, determinism) is undone afterwards.
    """
    from pipeline.cli import main

    words = ["transferseg", *map(str, arguments)]
    out, err = io.StringIO(), io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with (
        mock.patch.object(sys, "argv", words),
        mock.patch.dict(os.environ),
        warnings.catch_warnings(),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
            status = 0
        except SystemExit as end:
            status = end.code or 0
        finally:
            for number, before in signals.items():
                signal.signal(number, before)
            for handler in set(root.handlers) - set(handlers):
                handler.close()
            root.handlers, root.level = handlers, level
            logging.captureWarnings(False)
            if "tensorflow" in sys.modules:
                _reset_tensorflow()
    return subprocess.CompletedProcess(words, status, out.getvalue(), err.getvalue())


def _reset_tensorflow() -> None:
    import tensorflow as tf
    from tensorflow.python.framework import config

    tf.keras.mixed_precision.set_global_policy("float32")
    config.disable_op_determinism()


def transferseg_process(*arguments: object, **options: object) -> subprocess.CompletedProcess:
    """Runs the command in a process of its own, as a person does; `options` of `subprocess.run`."""
    words = [*COMMAND, *map(str, arguments)]
    options = {"cwd": ROOT, "timeout": TIMEOUT_S} | options
    return subprocess.run(words, capture_output=True, text=True, **options)


def process_from_an_empty_home(*arguments: object) -> subprocess.CompletedProcess:
    """A process in the current folder, which is its home too, with nothing of this one's environment."""
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": os.getcwd()}
    return transferseg_process(*arguments, cwd=None, env=environment)


def summary_of(workdir: Path) -> dict:
    """What the last run in that work folder came to."""
    return json.loads((workdir / "summary.json").read_text())
