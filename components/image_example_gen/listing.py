"""The files of a dataset's folder by key, listed once: 100,000 pictures are one call, not 300,000 looks."""

from __future__ import annotations

import os
import time
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

from trainer.data.files import is_remote
from trainer.data.names import Pictures, stem_of, suffix_of
from trainer.errors import ImageFault, shown

_SETTLED = 1e9  # ns: a folder that changed more recently may change again without a new time
_listings: dict[tuple[str, Sequence[str]], tuple[int, Listing]] = {}  # with the folder's time


class Listing:
    """Files by key.

    Attributes:
      files: key -> files with one of the suffixes in any case; a sound dataset has one of each key.
      others: key -> pictures with another suffix.
    """

    def __init__(self, names: Iterable[str], suffixes: Sequence[str]):
        self.suffixes = suffixes
        self.files: dict[str, list[str]] = {}
        self.others: dict[str, list[str]] = {}
        self._keys: dict[str, str] = {}
        for name in sorted(names):
            if not name.startswith(".") and suffix_of(name):
                key = unicodedata.normalize("NFC", shown(stem_of(name)))
                group = self.files if suffix_of(name, suffixes) else self.others
                group.setdefault(key, []).append(name)
                self._keys[name] = key

    def key(self, name: str) -> str:
        """The key that a name means: that of a file, a key itself, or what `Pictures.find` makes of it.

        Raises:
          ImageFault: no file, several, or one with another suffix.
        """
        composed = unicodedata.normalize("NFC", name)
        if name not in self._keys and composed in self.files:
            return composed
        file = self._pictures.find(name)
        if not suffix_of(file, self.suffixes):
            raise ImageFault(
                "read",
                f"'{shown(file)}' is none of {' '.join(self.suffixes)}; transferseg import folder converts such files",
            )
        return self._keys[file]

    def file(self, key: str) -> str | None:
        """The file of a key; None without one.

        Raises:
          ImageFault: there are two.
        """
        files = self.files.get(key, ())
        if len(files) > 1:
            raise ImageFault(
                "read", f"{' and '.join(map(shown, files))} have the same name; keep one of them, or rename it"
            )
        return files[0] if files else None

    def like(self, key: str) -> list[str]:
        """Keys that differ in case alone."""
        return self._folded.get(key.casefold(), [])

    @cached_property
    def _pictures(self) -> Pictures:
        return Pictures(self._keys)

    @cached_property
    def _folded(self) -> dict[str, list[str]]:
        folded = defaultdict(list)
        for key in self.files:
            folded[key.casefold()].append(key)
        return dict(folded)


def listing(folder: str | Path, suffixes: Sequence[str]) -> Listing:
    """The listing of a folder, empty without one; made anew when the folder changes, of a remote one once a process."""
    place = (os.fspath(folder), suffixes)
    changed = 0 if is_remote(folder) else _changed(place[0])
    known = _listings.get(place)
    if known and known[0] == changed:
        return known[1]
    found = Listing(_names(place[0]), suffixes)
    if is_remote(folder) or abs(time.time_ns() - changed) > _SETTLED:
        _listings[place] = changed, found
    return found


def _changed(folder: str) -> int:
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return 0


def _names(folder: str) -> list[str]:
    if is_remote(folder):
        import tensorflow as tf

        return tf.io.gfile.listdir(folder) if tf.io.gfile.isdir(folder) else []
    return os.listdir(folder) if os.path.isdir(folder) else []
