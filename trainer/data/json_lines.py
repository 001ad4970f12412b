"""Files of a JSON object a line: dead letters, records of labels."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from trainer.data.files import read_bytes


def to_lines(records: Iterable[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(record, ensure_ascii=False, sort_keys=True) + "\n" for record in records).encode()


def from_lines(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]  # bytes: text would be split at U+2028 within a name too


def read_lines(path: str | Path) -> list[dict[str, Any]]:
    """The records of a file on any file system; an ImageFault if it cannot be read."""
    return from_lines(read_bytes(path))
