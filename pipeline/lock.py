"""One run at a time in a work folder."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainer.errors import UserError


@contextmanager
def locked(workdir: Path, holder: str) -> Iterator[None]:
    """Holds the lock of a work folder, which must exist; the system lets go of it when the process ends, however.

    Args:
      workdir: the folder; gets the file `lock`, which stays.
      holder: what others are told is going on.

    Raises:
      UserError: somebody else holds it.
    """
    with open(workdir / "lock", "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise UserError(
                f"{workdir}: {file.read() or 'a run'} is going on in this folder; wait for its end or give another "
                "--workdir"
            ) from None
        file.truncate(0)
        file.write(holder)
        file.flush()
        yield
