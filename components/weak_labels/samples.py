"""A folder of images and a tags table -> what to label, and a dead letter for each record that cannot be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from components.batch.faults import dead_letter
from components.batch.images import Claims, Source, mask_key
from trainer.categories import Categories, from_lists
from trainer.data.category_names import names_by_id
from trainer.data.names import Pictures
from trainer.data.tags_table import Row, TagsTable
from trainer.errors import ImageFault, UserError, shown


@dataclass(frozen=True)
class Plan:
    """Every input is either a source or a dead letter."""

    sources: list[Source]
    dead: list[dict[str, str]]


def categories_of(table: TagsTable) -> Categories:
    """The tags of a table as categories, in the order of their first appearance.

    Raises:
      UserError: none at all, two that differ in case alone, or more than masks can hold.
    """
    names = names_by_id(table.names, table.path)
    if not names:
        raise UserError(f"{table.path}: names no category; give every image its tag")
    return from_lists(strong=[], weak=names)


def plan(files: Sequence[Path], table: TagsTable, categories: Categories, limit: int | None = None) -> Plan:
    """Joins picture files with the lines of a tags table.

    Args:
      files: all in one folder.
      table: names them, see trainer.data.names.
      categories: the known tags.
      limit: only the first so many files and lines, in the order of files, then of lines without a file.

    Returns:
      The plan. Inputs are the files, the lines that name none of them, repeated and damaged lines.

    Raises:
      UserError: the table has no line.
    """
    if not table.rows and not table.faults:
        raise UserError(f"{table.path}: lists no image; write one line image,tags for each")
    rows, odd = table.by_image(Pictures(path.name for path in files).find)
    faults = dict(reversed(table.faults_of_names(categories.foreground)))  # of a line's faults the first
    claims = Claims()
    inputs: list[Source | dict[str, str]] = []
    for path in files:
        try:
            tags = _tags(rows.get(path.name), categories, faults)
            inputs.append(Source(claims.key(path), str(path), tags))
        except ImageFault as fault:
            inputs.append(dead_letter(mask_key(path.name), fault))
    inputs += [dead_letter(shown(row.image), fault) for row, fault in odd]
    inputs += [dead_letter(f"line {line}", ImageFault("tags", f"line {line}: {what}")) for line, what in table.faults]
    chosen = inputs[:limit]
    return Plan(
        [entry for entry in chosen if isinstance(entry, Source)], [entry for entry in chosen if isinstance(entry, dict)]
    )


def _tags(row: Row | None, categories: Categories, faults: Mapping[int, str]) -> tuple[int, ...]:
    """Ascending ids of a line's tags."""
    if row is None:
        raise ImageFault("tags", "no line in the tags file")
    if not row.tags:
        raise ImageFault("tags", f"line {row.line}: no tag; give at least one")
    if row.line in faults:
        raise ImageFault("tags", f"line {row.line}: {faults[row.line]}")
    return tuple(sorted(categories.id_of(name) for name in row.tags))
