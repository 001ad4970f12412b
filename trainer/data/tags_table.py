"""The tags table: a CSV with the header `image,tags`, tags separated by `|`. One reader for every command."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from trainer.data import csv_table
from trainer.data.category_names import is_background
from trainer.errors import ImageFault, UserError, shown

HEADER = ("image", "tags")
SEPARATOR = "|"

T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """A line of the table: its number, the image as it is named there, its tags without repeats and background."""

    line: int
    image: str
    tags: tuple[str, ...]


class TagsTable(csv_table.Table[Row]):
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
                    twice = f"'{shown(row.image)}' is listed twice: line {found[image].line} names that picture"
                    raise ImageFault("tags", f"{twice}; keep one line with all its tags")
                found[image] = row
            except ImageFault as fault:
                faults.append((row, fault))
        return found, faults

    def refuse_joined(self) -> None:
        """Raises UserError if tags look like several that something other than | separates: "cat dog" beside both, or
        tags whose words, taken alone, are fewer than they."""
        names = set(self.names)
        words = {name: re.findall(r"[^\s/+&,]+", name) for name in self.names}
        joined = [name for name in self.names if len(words[name]) > 1]
        both = [name for name in joined if names.issuperset(words[name])]
        if not both and len({word for own in words.values() for word in own}) < len(names):
            both = joined
        if both:
            raise UserError(
                f"{self.path}: the tag '{both[0]}' looks like {', '.join(words[both[0]])}; separate tags by |. "
                "If it is one name, give --categories of transferseg import folder all names"
            )

    def faults_of_names(self, known: Sequence[str]) -> list[tuple[int, str]]:
        """(line number, what is wrong) of tags that are none of the known names."""
        return csv_table.unknown(((row.line, tag) for row in self.rows for tag in row.tags), known)


def read_tags_table(path: str | Path) -> TagsTable:
    """Reads a table, see `csv_table.read_lines`.

    Raises:
      UserError: no such file, no text, or another header; single wrong lines become `faults`.
    """
    return TagsTable(str(path), *csv_table.read_lines(path, HEADER, _row))


def write_tags_table(rows: Mapping[str, Iterable[str]]) -> bytes:
    """image -> tags, as a table that `read_tags_table` reads, sorted by image."""
    return csv_table.written(HEADER, ((image, SEPARATOR.join(tags)) for image, tags in sorted(rows.items())))


def _row(line: int, cells: list[str], delimiter: str) -> Row:
    if len(cells) != 2 or not cells[0].strip():
        raise UserError("expected image,tags with tags separated by |")
    tags = dict.fromkeys(csv_table.category(tag) for tag in cells[1].split(SEPARATOR))
    return Row(line, cells[0].strip(), tuple(tag for tag in tags if tag and not is_background(tag)))
