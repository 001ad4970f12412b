"""Connects to TFX's metadata store: a SQLite file of the work folder, or a server."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata

from pipeline.config.run_config import MetadataConfig
from trainer.errors import UserError

_TIMEOUT = 10.0  # seconds until a server counts as unreachable


def connect(config: MetadataConfig, workdir: Path) -> metadata_store_pb2.ConnectionConfig:
    """The store's connection, tried once; makes database and tables where there are none.

    Raises:
      UserError: no password in the environment, no server there, or it refuses the user.
    """
    if config.kind == "sqlite":
        return metadata.sqlite_metadata_connection_config(str(workdir / "metadata.sqlite"))
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
