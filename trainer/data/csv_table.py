"""Tables in CSV, one reading for all: UTF-8 or UTF-16, commas, semicolons or tabs, any line ends, lines fail singly."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from trainer.data.files import cut, read_text
from trainer.errors import UserError, shown, some

_DELIMITERS = (",", ";", "\t")  # spreadsheets write what the country's settings say

_NOTHING = ("nan", "none", "null", "n/a", "-")

Faults = tuple[tuple[int, str], ...]  # (line number, what is wrong) of the lines that are left out
S = TypeVar("S", bound="Table[Any]")
T = TypeVar("T")


@dataclass(frozen=True)
class Table(Generic[T]):
    """A table as it was read. `faults`: (line number, what is wrong) of the lines that are left out."""

    path: str
    rows: tuple[T, ...]
    faults: Faults

    def strict(self: S) -> S:
        """Itself; UserError if a line is wrong, all of them are named."""
        refuse(self.path, self.faults)
        return self


def read_lines(
    path: str | Path, header: Sequence[str], parse: Callable[[int, list[str], str], T]
) -> tuple[tuple[T, ...], Faults]:
    """Reads a table; blank lines are skipped.

    Args:
      path: the CSV.
      header: names of its columns, which line 1 must give in any case.
      parse: (line number, cells, delimiter) -> a row; its UserErrors become faults.

    Raises:
      UserError: no such file, no text, or another header.
    """
    text = read_text(path, f"a CSV with the columns {','.join(header)}")
    delimiter = _delimiter(text, header)
    if delimiter is None:
        first = text.split("\n", 1)[0][:60]
        raise UserError(f"{path}: line 1 must be the header {','.join(header)}, not {shown(first)!r}")
    rows, faults = [], []
    for number, line in enumerate(text.split("\n")[1:], start=2):  # singly: an open quote costs its own line alone
        try:
            cells = next(csv.reader([line], delimiter=delimiter, strict=True), [])
            if any(cell.strip() for cell in cells):
                rows.append(parse(number, cells, delimiter))
        except csv.Error as error:
            is_open = "end of data" in str(error)
            faults.append((number, "a quote is opened and not closed on the same line" if is_open else str(error)))
        except UserError as error:
            faults.append((number, str(error)))
    return tuple(rows), tuple(faults)


def has_header(path: str | Path, header: Sequence[str]) -> bool:
    """Whether a file begins with the header."""
    try:
        return _delimiter(read_text(path, "a CSV"), header) is not None
    except UserError:
        return False


def written(header: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """A table that `read_lines` reads."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue().encode()


def refuse(path: str | Path, faults: Sequence[tuple[int, str]]) -> None:
    """Raises UserError if there are faults; it names them."""
    if faults:
        raise UserError(some([f"{path}: line {line}: {what}" for line, what in faults]))


def category(text: str) -> str:
    """A category's name in a cell, trimmed, letters composed.

    Raises:
      UserError: it cannot be printed, holds a semicolon, or is what tools write for nothing.
    """
    name = unicodedata.normalize("NFC", text).strip()
    if name.casefold() in _NOTHING:
        raise UserError(f"tag '{name}' is no category; leave the cell empty where there is none")
    if not name.isprintable():
        raise UserError(f"tag '{cut(name)}' holds a character that cannot be printed")
    if ";" in name:
        raise UserError(f"tag '{cut(name)}' holds a semicolon; tags are separated by |")
    return name


def unknown(named: Iterable[tuple[int, str]], known: Sequence[str]) -> list[tuple[int, str]]:
    """(line number, what is wrong) of the categories that are none of the known ones; `named`: (line, category)."""
    names, folded = set(known), {name.casefold(): name for name in known}
    found = []
    for line, name in named:
        if name not in names:
            near = folded.get(name.casefold())
            hint = f"; write {near}" if near else f"; known: {', '.join(known)}"
            found.append((line, f"unknown category '{cut(name)}'{hint}"))
    return found


def _delimiter(text: str, header: Sequence[str]) -> str | None:
    """The delimiter of a header line; None if line 1 is something else."""
    first = text.split("\n", 1)[0]
    for delimiter in _DELIMITERS:
        if [cell.strip().strip('"').lower() for cell in first.split(delimiter)] == list(header):
            return delimiter
    return None
