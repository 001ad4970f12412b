"""Entry point of the `transferseg` command."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import traceback
from typing import NoReturn

import click

from pipeline.cli import (  # noqa: F401 - their commands join the group
    batch,
    cleaning,
    exporting,
    importing,
    pushing,
    review,
    runs,
    serving,
)
from pipeline.cli.common import EXIT_BAD_INPUT, EXIT_CRASHED, cli
from pipeline.run.quiet import hush
from trainer.errors import DISK_FULL, STOPPED, UserError, shown

_AGAIN_S = 0.05  # seconds
_STOPPING = (signal.SIGINT, signal.SIGTERM)
_REFUSALS = [os.strerror(number) for number in (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR)]


def main() -> None:
    """What a person can mend becomes one line and exit status 2, never a traceback."""
    hush()
    _stop_at_signals()
    try:
        status = cli(standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except SystemExit as ended:
        if ended.code == STOPPED:
            _end_stopped()
        raise
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort as error:  # click's word for a signal, and for the end of a file
        if isinstance(error.__cause__, EOFError):
            _crash()
        _end_stopped()
    except KeyboardInterrupt:
        _end_stopped()
    except UserError as error:
        _refuse(str(error))
    except Exception as error:
        if reason := _of_the_file_system(error):
            logging.getLogger("transferseg").info("ended by the file system", exc_info=True)  # for run.log
            _refuse(reason)
        _crash()


def _of_the_file_system(error: Exception) -> str | None:
    """What a file system refused, which a person can mend; None for other errors."""
    full = next((words for words in DISK_FULL if words in str(error)), None)
    advice = full and f"{full}: make room, then give the same command again"
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {advice or error.strerror}"
    path, _, reason = str(error).partition("\n")[0].rpartition("; ")  # as TensorFlow says it
    if path and reason in _REFUSALS:
        return f"{path}: {reason}"
    return advice


def _stop_at_signals() -> None:
    """SIGTERM and Ctrl-C end what goes on by an exception, so that all is left in order; a second one at once.

    A training takes the signals over, to save its state first.
    """

    def stop(*_: object) -> None:
        for number in _STOPPING:
            signal.signal(number, signal.SIG_DFL)
        raise KeyboardInterrupt("stopped")  # without a word, Beam would raise it again as a RuntimeError

    def lost(unraisable: sys.UnraisableHookArgs) -> None:
        """A finaliser or a weak reference's callback was at work, where Python swallows exceptions."""
        if isinstance(unraisable.exc_value, KeyboardInterrupt):
            signal.signal(signal.SIGALRM, stop)
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)
        else:
            sys.__unraisablehook__(unraisable)

    sys.unraisablehook = lost
    for number in _STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as a shell starts what is in the background
            signal.signal(number, stop)


def _end_stopped() -> NoReturn:
    click.echo("transferseg: stopped; what is finished is kept, the same command goes on from there", err=True)
    sys.exit(STOPPED)


def _crash() -> NoReturn:
    traceback.print_exc()
    click.echo("transferseg: this is a fault of transferseg, not yours; report it with the lines above", err=True)
    sys.exit(EXIT_CRASHED)


def _refuse(reason: str) -> NoReturn:
    """Names in it may hold anything, also what a terminal obeys or cannot print."""
    text = "\n".join(map(shown, reason.split("\n")))
    click.echo(f"transferseg: {text}", err=True)
    sys.exit(EXIT_BAD_INPUT)
