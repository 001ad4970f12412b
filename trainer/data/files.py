"""Files of any file system: which there are below a folder, their bytes, their text, JSON."""

from __future__ import annotations

import json
import os
import reprlib
import stat
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from trainer.errors import ImageFault, UserError, one_line, shown

UNREADABLE = "cannot read"  # how reasons begin that are the file system's, not the file's
LOCK = ".transferseg.lock"  # in each folder that an import, `label` or `predict` writes
_RUN = "metadata.sqlite"  # in the work folder of a run
_FOLDERS_OF_TOOLS = ("__MACOSX", "@eaDir")  # copies and thumbnails that archivers and file servers leave


def is_remote(path: str | Path) -> bool:
    return "://" in str(path)


def join(folder: str | Path, name: str) -> str:
    """A path in a folder; both may be URLs such as gs://bucket/images."""
    return f"{str(folder).rstrip('/')}/{name.lstrip('/')}"


def cut(text: object, most: int = 80) -> str:
    """What a message quotes from a file: printable, and never longer than the message itself."""
    text = shown((text if isinstance(text, str) else reprlib.repr(text))[: most + 1])  # YAML's may be endless
    return text if len(text) <= most else f"{text[:most]}..."


def is_dir(path: str | Path) -> bool:
    if not is_remote(path):
        return os.path.isdir(path)
    import tensorflow as tf

    return tf.io.gfile.isdir(str(path))


def read_bytes(path: str | Path) -> bytes:
    """Any regular file's bytes.

    Raises:
      ImageFault: "read": it is not there, cannot be read, or is a pipe or a device, which might never end.
    """
    try:
        if is_remote(path):
            return _read_remote(str(path))
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ImageFault("read", f"not a regular file: {shown(str(path))}")
            return file.read()
    except FileNotFoundError:
        raise ImageFault("read", f"no such file: {shown(str(path))}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or one_line(error)
        raise ImageFault("read", f"{UNREADABLE} {shown(str(path))}: {reason}") from None


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe would wait for its writer


def _read_remote(path: str) -> bytes:
    import tensorflow as tf

    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            return file.read()
    except tf.errors.NotFoundError:
        raise FileNotFoundError from None
    except tf.errors.OpError as error:
        raise OSError(one_line(error)) from None


def decode_text(data: bytes, where: str | Path, what: str) -> str:
    """Text in UTF-8 or UTF-16, with or without a byte order mark, line ends as \\n.

    Args:
      data: the file's bytes.
      where, what: the file, and what it should hold, for the message.

    Raises:
      UserError: another encoding, or a NUL byte; the message names the file and the line.
    """
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(f"{where}: line {line} is not a text in UTF-8; save {what} as UTF-8") from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise UserError(f"{where}: line {line} holds a NUL byte; {what} is damaged, write it anew")
    return text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def read_text(path: str | Path, what: str) -> str:
    """A text file, see `decode_text`.

    Raises:
      UserError: it cannot be read, or is no text.
    """
    try:
        return decode_text(read_bytes(path), path, what)
    except ImageFault as fault:
        raise UserError(f"{fault}; give {what}") from None


def refuse_pattern(folder: Path, option: str) -> None:
    """Raises UserError if a folder's whole path holds what TensorFlow and Beam take for a pattern of names."""
    if found := set("*?[\\").intersection(str(folder)):
        what = f"holds {' '.join(sorted(found))}, which TensorFlow and Beam take for a pattern of names"
        raise UserError(f"{option} {folder}: {what}; give another folder")


def read_json(path: str | Path, what: str) -> Any:
    """A JSON file.

    Raises:
      UserError: it cannot be read, or is no JSON.
    """
    try:
        return json.loads(read_text(path, what))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({one_line(error)}); give {what}") from None


def to_lines(records: Iterable[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(record, ensure_ascii=False, sort_keys=True) + "\n" for record in records).encode()


def from_lines(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]  # bytes: text would be split at U+2028 within a name too


def read_lines(path: str | Path) -> list[dict[str, Any]]:
    """The records of a file on any file system; an ImageFault if it cannot be read."""
    return from_lines(read_bytes(path))


def walk(folder: str | Path, follow_links: bool = False) -> tuple[list[str], list[tuple[str, str]]]:
    """The files below a folder, sorted, hidden ones and tools' own folders passed over.

    Ours too: what an earlier import, job or run has written below the folder is none of its pictures.

    Args:
      folder: local or remote.
      follow_links: take files and folders that links lead to, wherever those lie.

    Returns:
      (paths relative to the folder with /, [(relative path, why it was left out)] of links that lead out of it).
    """
    if is_remote(folder):
        import tensorflow as tf

        base = str(folder).rstrip("/")
        folders = {place[len(base) :].strip("/"): names for place, _, names in tf.io.gfile.walk(base)}
        ours = tuple(f"{place}/" for place, names in folders.items() if place and _is_ours(names))
        found = (f"{place}/{name}" for place, names in folders.items() for name in names)
        return sorted(path.strip("/") for path in found if not _is_hidden(path) and not path.startswith(ours)), []
    root, out = os.path.realpath(folder), []
    seen = {root}

    def inside(place: str, prefix: str) -> Iterator[str]:
        with os.scandir(place) as scanned:
            entries = sorted(scanned, key=lambda entry: entry.name)
        if prefix and _is_ours([entry.name for entry in entries]):
            return
        for entry in entries:
            if _is_hidden(entry.name):
                continue
            target = os.path.realpath(entry.path) if entry.is_symlink() else entry.path
            leads_out = entry.is_symlink() and not f"{target}{os.sep}".startswith(root + os.sep)
            if leads_out and not follow_links:
                out.append((prefix + entry.name, "a link that leads out of the folder; --follow-links takes it"))
            elif entry.is_dir():
                real = os.path.realpath(entry.path)
                if real not in seen and not (entry.is_symlink() and not leads_out):
                    seen.add(real)
                    yield from inside(entry.path, f"{prefix}{entry.name}/")
            else:
                yield prefix + entry.name

    return sorted(inside(str(folder), "")) if os.path.isdir(folder) else [], out


def _is_ours(names: Collection[str]) -> bool:
    return LOCK in names or _RUN in names


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") or part in _FOLDERS_OF_TOOLS for part in path.strip("/").split("/"))
