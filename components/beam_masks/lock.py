"""One command at a time in a folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trainer.errors import UserError


@contextmanager
def locked(folder: Path, holder: str, option: str = "--workdir", name: str = "lock") -> Iterator[None]:
    """Holds the lock of a folder, which must exist; the system lets go of it when the process ends, however.

    Args:
      folder: gets the file `name`, which stays.
      holder: what others are told is going on.
      option: with which they can give another folder.
      name: of the file.

    Raises:
      UserError: somebody else holds it.
    """
    with open(folder / name, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise UserError(
                f"{folder}: {file.read() or 'a run'} is going on in this folder; wait for its end or give another "
                f"{option}"
            ) from None
        with suppress(OSError):  # a full disk: others are told of "a run"
            os.ftruncate(file.fileno(), 0)
            os.write(file.fileno(), holder.encode())
        yield
