"""A folder of images and a tags table -> what to label, and a dead letter for each record that cannot be."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from components.beam_masks.faults import dead_letter, faults_to
from components.beam_masks.images import Source, claim, mask_key
from trainer.data.boxes import BoxesTable, TagBox
from trainer.data.categories import Categories, from_lists
from trainer.data.category_names import names_by_id
from trainer.data.csv_table import refuse
from trainer.data.names import Pictures
from trainer.data.tags_table import Row, TagsTable
from trainer.errors import ImageFault, UserError, shown


def categories_of(table: TagsTable) -> Categories:
    """The tags of a table as categories, in the order of their first appearance.

    Raises:
      UserError: none at all, two that differ in case alone, or more than masks can hold.
    """
    names = names_by_id(table.names, table.path)
    if not names:
        raise UserError(f"{table.path}: names no category; give every image its tag")
    return from_lists(strong=[], weak=names)


def plan(
    files: Sequence[Path],
    table: TagsTable,
    categories: Categories,
    boxes_table: BoxesTable | None = None,
) -> tuple[list[Source], list[dict[str, str]]]:
    """Joins picture files with the lines of a tags table, and of a table of boxes.

    Args:
      files: all in one folder.
      table: names them, see trainer.data.names.
      categories: the known tags.
      boxes_table: each box is a tag of its picture too.

    Returns:
      (what to label, dead letters): one of both for each input. Inputs are the files, the tags' lines that name none of
      them, repeated and damaged lines.

    Raises:
      UserError: the table has no line, or lines of the boxes are wrong; they are named.
    """
    if not table.rows and not table.faults:
        raise UserError(f"{table.path}: lists no image; write one line image,tags for each")
    find = Pictures(path.name for path in files).find
    rows, odd = table.by_image(find)
    boxes = _boxes(boxes_table, find, categories) if boxes_table else {}
    faults = dict(reversed(table.faults_of_names(categories.foreground)))  # of a line's faults the first
    claims, sources, dead = {}, [], []
    for path in files:
        with faults_to(dead, mask_key(path.name)):
            own = boxes.get(path.name, ())
            tags = _tags(rows.get(path.name), categories, faults, {box.tag for box in own})
            sources.append(Source(claim(path, claims), str(path), tags, own))
    dead += [dead_letter(shown(row.image), fault) for row, fault in odd]
    dead += [dead_letter(f"line {line}", ImageFault("tags", f"line {line}: {what}")) for line, what in table.faults]
    return sources, dead


def _boxes(table: BoxesTable, find: Callable[[str], str], categories: Categories) -> dict[str, tuple[TagBox, ...]]:
    found, faults = table.by_image(find, {name: categories.id_of(name) for name in categories.foreground})
    refuse(table.path, faults)
    return found


def _tags(
    row: Row | None, categories: Categories, faults: Mapping[int, str], boxed: Collection[int]
) -> tuple[int, ...]:
    """Ascending ids of a line's tags, and of the picture's boxes."""
    if row is None and not boxed:
        raise ImageFault("tags", "no line in the tags file")
    if row and not row.tags and not boxed:
        raise ImageFault("tags", f"line {row.line}: no tag; give at least one")
    if row and row.line in faults:
        raise ImageFault("tags", f"line {row.line}: {faults[row.line]}")
    return tuple(sorted({*map(categories.id_of, row.tags if row else ()), *boxed}))
