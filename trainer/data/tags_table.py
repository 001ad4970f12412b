"""The tags table: a CSV with the header `image,tags`, tags separated by `|`. One reader for every command."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from trainer.data.files import cut, read_text
from trainer.errors import ImageFault, UserError, shown, some

HEADER = ("image", "tags")
SEPARATOR = "|"
_DELIMITERS = (",", ";", "\t")  # spreadsheets write what the country's settings say
_WHAT = "a CSV with the columns image,tags"

T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """A line of the table: its number, the image as it is named there, its tags without repeats."""

    line: int
    image: str
    tags: tuple[str, ...]


@dataclass(frozen=True)
class TagsTable:
    """A table as it was read. `faults`: (line number, what is wrong) of the lines that are left out."""

    path: str
    rows: tuple[Row, ...]
    faults: tuple[tuple[int, str], ...]

    def strict(self) -> TagsTable:
        """Itself.

        Raises:
          UserError: a line is wrong; all of them are named.
        """
        if self.faults:
            raise UserError(some([f"{self.path}: line {line}: {what}" for line, what in self.faults]))
        return self

    @property
    def names(self) -> list[str]:
        """All tags in the order of their first appearance."""
        return list(dict.fromkeys(tag for row in self.rows for tag in row.tags))

    def by_image(self, find: Callable[[str], T]) -> tuple[dict[T, Row], list[tuple[Row, ImageFault]]]:
        """Rows by what `find` makes of their images' names, and those for which it raises or which come again."""
        found: dict[T, Row] = {}
        faults = []
        for row in self.rows:
            try:
                image = find(row.image)
                if image in found:
                    first = found[image].line
                    raise ImageFault("tags", f"'{shown(row.image)}' is listed twice: line {first} names that picture")
                found[image] = row
            except ImageFault as fault:
                faults.append((row, fault))
        return found, faults

    def faults_of_names(self, known: Sequence[str]) -> list[tuple[int, str]]:
        """(line number, what is wrong) of tags that are none of the known names."""
        names, folded = set(known), {name.casefold(): name for name in known}
        found = []
        for row in self.rows:
            for tag in row.tags:
                if tag not in names:
                    near = folded.get(tag.casefold())
                    hint = f"; write {near}" if near else f"; known: {', '.join(known)}"
                    found.append((row.line, f"unknown category '{cut(tag)}'{hint}"))
        return found


def is_tags_table(path: str | Path) -> bool:
    """Whether a file begins with the header."""
    try:
        return _header(read_text(path, _WHAT)) is not None
    except UserError:
        return False


def read_tags_table(path: str | Path) -> TagsTable:
    """Reads a table: UTF-8 or UTF-16, commas, semicolons or tabs, any line ends; blank lines are skipped.

    Raises:
      UserError: no such file, no text, or another header; single wrong lines become `faults`.
    """
    text = read_text(path, _WHAT)
    delimiter = _header(text)
    if delimiter is None:
        first = text.split("\n", 1)[0][:60]
        raise UserError(f"{path}: line 1 must be the header image,tags, not {shown(first)!r}")
    rows, faults = [], []
    for number, line in enumerate(text.split("\n")[1:], start=2):  # singly: an open quote costs its own line alone
        try:
            cells = next(csv.reader([line], delimiter=delimiter, strict=True), [])
            if any(cell.strip() for cell in cells):
                rows.append(_row(number, cells))
        except csv.Error as error:
            is_open = "end of data" in str(error)
            faults.append((number, "a quote is opened and not closed on the same line" if is_open else str(error)))
        except UserError as error:
            faults.append((number, str(error)))
    return TagsTable(str(path), tuple(rows), tuple(faults))


def write_tags_table(rows: Mapping[str, Iterable[str]]) -> bytes:
    """image -> tags, as a table that `read_tags_table` reads, sorted by image."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows([image, SEPARATOR.join(tags)] for image, tags in sorted(rows.items()))
    return buffer.getvalue().encode()


def _header(text: str) -> str | None:
    """The delimiter of a header line image,tags; None if line 1 is something else."""
    first = text.split("\n", 1)[0]
    for delimiter in _DELIMITERS:
        if [cell.strip().strip('"').lower() for cell in first.split(delimiter)] == list(HEADER):
            return delimiter
    return None


def _row(line: int, cells: list[str]) -> Row:
    if len(cells) != 2 or not cells[0].strip():
        raise UserError("expected image,tags with tags separated by |")
    named = (unicodedata.normalize("NFC", tag).strip() for tag in cells[1].split(SEPARATOR))
    tags = tuple(dict.fromkeys(tag for tag in named if tag))
    for tag in tags:
        if not tag.isprintable():
            raise UserError(f"tag '{cut(tag)}' holds a character that cannot be printed")
        if ";" in tag:
            raise UserError(f"tag '{cut(tag)}' holds a semicolon; tags are separated by |")
    return Row(line, cells[0].strip(), tags)
