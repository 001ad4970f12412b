"""A folder of images and a tags CSV -> what to label, and a dead letter for each record that cannot be."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from components.batch.faults import dead_letter
from components.batch.images import Source, list_images
from trainer.categories import Categories, from_lists
from trainer.errors import ImageFault, UserError


@dataclass(frozen=True)
class Row:
    """A line of the tags file. `names` is None if the line has not two cells."""

    line: int
    image: str
    names: tuple[str, ...] | None


@dataclass(frozen=True)
class Plan:
    """Every input is either a source or a dead letter."""

    sources: list[Source]
    dead: list[dict[str, str]]


def read_rows(path: str | Path) -> list[Row]:
    """Reads `image,tags` (tags separated by |), blank lines skipped; faults of single lines are left to `plan`.

    Raises:
      UserError: no such file, no text, another header, or no line below it.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise UserError(f"{path}: no such tags file; give a CSV with the columns image,tags") from None
    except (UnicodeDecodeError, IsADirectoryError):
        raise UserError(f"{path}: not a text file; give a CSV with the columns image,tags in UTF-8") from None
    reader = csv.reader(lines)
    try:
        header = [cell.strip() for cell in next(reader, [])]
        if header != ["image", "tags"]:
            raise UserError(f"{path}: line 1 must be the header image,tags, not {','.join(header)[:60]!r}")
        rows = []
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            names = tuple(name.strip() for name in cells[1].split("|") if name.strip()) if len(cells) == 2 else None
            rows.append(Row(reader.line_num, cells[0].strip(), names))
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num}: not CSV ({error})") from None
    if not rows:
        raise UserError(f"{path}: lists no image; write one line image,tags for each")
    return rows


def categories_of(rows: list[Row]) -> Categories:
    """The tags of a file as categories, in the order of their first appearance.

    Raises:
      UserError: none at all, or more than masks can hold.
    """
    names = dict.fromkeys(name for row in rows for name in row.names or ())
    if not names:
        raise UserError("the tags file names no category; give every image its tag")
    return from_lists(strong=[], weak=list(names))


def plan(images: str | Path, rows: list[Row], categories: Categories, limit: int | None = None) -> Plan:
    """Joins the image files of a folder with the lines of the tags file.

    Args:
      images: folder; only files directly in it count.
      rows: its images by file name, with or without suffix.
      categories: the known tags.
      limit: only the first so many files and lines, in the order of files, then of lines without a file.

    Returns:
      The plan. Inputs are the image files, the lines that name no such file, and repeated lines.
    """
    files = list_images(images)
    by_name = {path.stem: path for path in reversed(files)} | {path.name: path for path in files}
    rows_of: dict[Path, Row] = {}
    inputs: list[Source | dict[str, str]] = []
    odd: list[dict[str, str]] = []
    for row in rows:
        path = by_name.get(row.image)
        if path is None:
            odd.append(dead_letter(row.image or f"line {row.line}", ImageFault("read", f"no such image in {images}")))
        elif path in rows_of:
            first = rows_of[path].line
            odd.append(
                dead_letter(path.stem, ImageFault("tags", f"line {row.line} repeats line {first}, which is used"))
            )
        else:
            rows_of[path] = row
    claimed: dict[str, Path] = {}
    for path in files:
        try:
            tags = _tags(rows_of.get(path), categories)
            if path.stem in claimed:
                first = claimed[path.stem].name
                raise ImageFault("write", f"{path.name}: its mask would overwrite that of {first}; rename it")
            claimed[path.stem] = path
            inputs.append(Source(path.stem, str(path), tags))
        except ImageFault as fault:
            inputs.append(dead_letter(path.stem, fault))
    chosen = [*inputs, *odd][:limit]
    return Plan(
        [entry for entry in chosen if isinstance(entry, Source)], [entry for entry in chosen if isinstance(entry, dict)]
    )


def _tags(row: Row | None, categories: Categories) -> tuple[int, ...]:
    """Ascending ids of a line's tags."""
    if row is None:
        raise ImageFault("tags", "no line in the tags file")
    if row.names is None:
        raise ImageFault("tags", f"line {row.line}: expected image,tags with tags separated by |")
    if not row.names:
        raise ImageFault("tags", f"line {row.line}: no tag; give at least one")
    try:
        return tuple(sorted({categories.id_of(name) for name in row.names}))
    except UserError as error:
        raise ImageFault("tags", f"line {row.line}: {error}") from None
