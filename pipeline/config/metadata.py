"""Settings of the metadata store; apart from the connection, so that a config is read without loading TFX."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trainer.config import Strict


class MetadataConfig(Strict):
    """Where TFX notes what ran and what came out: a file in the work folder, or a server that concurrent runs share."""

    # Not postgresql: with ml-metadata 1.15 it fails at any value that holds a backslash, which escaped JSON does.
    kind: Literal["sqlite", "mysql"] = Field(
        "sqlite", description="sqlite: metadata.sqlite in the work folder; mysql: MariaDB too"
    )
    host: str = Field("127.0.0.1", description="of the server")
    port: int = Field(3306, ge=1, le=65535, description="of the server")
    database: str = Field("transferseg", description="made at the first run if the user may")
    user: str = Field("transferseg", description="who may make tables in it")
    password_env: str = Field("TRANSFERSEG_METADATA_PASSWORD", description="environment variable with the password")
