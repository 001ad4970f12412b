"""Which model was pushed as which version: a version that somebody took away is withdrawn, and not pushed again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from components.beam_masks.masks import write_atomic
from serving.saved_model import version_of, versions
from trainer.data.files import read_json

_WITHDRAWN = "withdrawn"  # key beside the versions: those that were seen to be


def read_ledger(folder: Path) -> dict[str, str]:
    """Version -> digest of its model, of all pushes to a folder of versions; {} before the first."""
    return {name: digest for name, digest in _read(folder).items() if name != _WITHDRAWN}


def write_ledger(folder: Path, pushed: Mapping[str, str]) -> None:
    _write(folder, {**_read(folder), **pushed})


def is_withdrawn(version: Path) -> bool:
    """Whether a version that was pushed is gone although an earlier one is there: somebody went back to that."""
    if version.exists():
        return False
    seen = version.name in _read(version.parent).get(_WITHDRAWN, [])
    return seen or min(versions(version.parent), default=math.inf) < (version_of(version.name) or 0)


def note_withdrawn(folder: Path) -> None:
    """Keeps in mind which versions are: the earlier one that shows it may be cleared away."""
    found = [name for name in read_ledger(folder) if is_withdrawn(folder / name)]
    if found != _read(folder).get(_WITHDRAWN, []):
        _write(folder, _read(folder) | {_WITHDRAWN: found})


def _read(folder: Path) -> dict:
    file = _file(folder)
    return read_json(file, "our own") if file.exists() else {}


def _write(folder: Path, content: Mapping) -> None:
    write_atomic(str(_file(folder)), f"{json.dumps(content, indent=0)}\n".encode())


def _file(folder: Path) -> Path:
    """Beside the versions, whose folder servers watch."""
    return folder.with_name(f"{folder.name}.pushed.json")
