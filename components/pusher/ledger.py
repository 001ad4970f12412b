"""Which model was pushed as which version: a version that somebody took away is withdrawn, and not pushed again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from components.beam_masks.masks import write_atomic
from serving.saved_model import version_of, versions
from trainer.data.files import read_json


def read_ledger(folder: Path) -> dict[str, str]:
    """Version -> digest of its model, of all pushes to a folder of versions; {} before the first."""
    file = _file(folder)
    return read_json(file, "our own") if file.exists() else {}


def write_ledger(folder: Path, pushed: Mapping[str, str]) -> None:
    write_atomic(str(_file(folder)), f"{json.dumps(pushed, indent=0)}\n".encode())


def is_withdrawn(version: Path) -> bool:
    """Whether a version that was pushed is gone although an earlier one is there: somebody went back to that."""
    return not version.exists() and min(versions(version.parent), default=math.inf) < (version_of(version.name) or 0)


def _file(folder: Path) -> Path:
    """Beside the versions, whose folder servers watch."""
    return folder.with_name(f"{folder.name}.pushed.json")
