"""Connects to TFX's metadata store: a SQLite file of the work folder, or a server."""

from __future__ import annotations

import os
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata

from pipeline.config.run_config import MetadataConfig
from trainer.errors import UserError, one_line

FILE = "metadata.sqlite"
_TIMEOUT = 10.0  # seconds until a server counts as unreachable


def connect(config: MetadataConfig, workdir: Path) -> metadata_store_pb2.ConnectionConfig:
    """The store's connection, tried once; makes database and tables where there are none.

    Raises:
      UserError: no password in the environment, no server there, or it refuses the user.
    """
    if config.kind == "sqlite":
        return metadata.sqlite_metadata_connection_config(str(workdir / FILE))
    password = os.environ.get(config.password_env)
    if password is None:
        raise UserError(f"metadata.password_env: the environment has no {config.password_env}; put the password there")
    host = "127.0.0.1" if config.host == "localhost" else config.host  # which MySQL's client takes for a socket file
    where = f"{config.host}:{config.port}"
    try:
        socket.create_connection((host, config.port), _TIMEOUT).close()
    except (OSError, UnicodeError) as error:  # the latter: no name of a host
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"metadata.host: no server answers at {where} ({reason})") from None
    connection = metadata.mysql_metadata_connection_config(host, config.port, config.database, config.user, password)
    try:
        with metadata.Metadata(connection):
            return connection
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"metadata: the server at {where} refuses user {config.user!r} for database {config.database!r}; check "
            f"both and the password in {config.password_env} ({reason})"
        ) from None


def check_file(config: MetadataConfig, workdir: Path) -> None:
    """Looks at a SQLite file before TFX does, which would stumble over it or not notice its loss.

    Raises:
      UserError: it is damaged, cannot be written to now, or lost although there are artifacts.
    """
    if config.kind != "sqlite":
        return
    file, artifacts = workdir / FILE, workdir / "artifacts"
    remedy = (
        f"put a copy of it back. Without one, take {artifacts} and {file} away: all is made again then, and the next "
        "model is compared with no earlier one"
    )
    if not file.exists() or not file.stat().st_size:
        if any(artifacts.glob("*/[!.]*/*")):  # numbers would begin at 1 again, in folders that are full
            raise UserError(f"{file}: is lost, which says what the artifacts are; {remedy}")
        return
    if not os.access(file, os.W_OK):
        raise UserError(f"{file}: cannot be written to; it is another user's, or read-only")
    try:
        with closing(sqlite3.connect(file, timeout=_TIMEOUT)) as store:
            [(found,)] = store.execute("PRAGMA quick_check(1)")
    except sqlite3.OperationalError as error:  # another program has it open, or the file system fails
        raise UserError(f"{file}: cannot be read now ({error}); close what has it open, and try again") from None
    except sqlite3.DatabaseError as error:
        found = str(error)
    if found != "ok":
        raise UserError(f"{file}: is damaged ({one_line(found.splitlines()[-1])}); {remedy}")
