"""A dataset or a split of one, as `recognise` finds it, or what it lacks; and which split a name says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from components.dataset_import.items import Contents
from components.dataset_import.yolo import SPLITS
from trainer.errors import UserError

_DEPTH = 3  # our choice: folders of folders that an archive may have been unpacked into


@dataclass(frozen=True)
class Part:
    """A dataset or one split of it; `split` "train", "val" or "test"."""

    kind: str
    split: str
    read: Callable[[], Contents]


class NamesMissing(UserError):
    """Masks or records hold ids and nobody says what they mean. `number`: how many names are wanted, at least."""

    def __init__(self, text: str, number: int):
        super().__init__(text)
        self.number = number


def split_said(name: str) -> str | None:
    """The split that a name says: "instances_val2017.json" -> "val"; None if it says none."""
    return next((SPLITS[word] for word in words_of(name) if word in SPLITS), None)


def words_of(name: str) -> list[str]:
    return re.split(r"[^a-z]+", name.lower())


def split_of(path: Path, folder: Path) -> str | None:
    """The split that a file's folder or name says."""
    if path.parent != folder and path.parent.name in SPLITS:
        return SPLITS[path.parent.name]
    return split_said(path.stem)


def below(folder: Path) -> Iterator[Path]:
    """Folders at most _DEPTH below, nearest first, those of tools left out."""
    level = [folder]
    for _ in range(_DEPTH):
        level = [
            path
            for above in level
            for path in sorted(above.iterdir())
            if path.is_dir() and not path.is_symlink() and not path.name.startswith((".", "__"))
        ]
        yield from level
