"""The tags table and the boxes of a dataset, joined with its pictures."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from components.image_example_gen import voc
from trainer.data.boxes import TagBox, read_boxes_table
from trainer.data.categories import Categories
from trainer.data.csv_table import refuse
from trainer.data.tags_table import read_tags_table

Tags = dict[str, tuple[int, ...]]  # key -> ascending category ids; () for an image without any category
Boxes = dict[str, tuple[TagBox, ...]]  # by key, in the table's order
Faults = list[tuple[int, str]]  # (line number, what is wrong)


def read_tags(
    path: str | Path,
    categories: Categories,
    root: str | Path,
    listed: Collection[str] = (),
    faults: Faults | None = None,
) -> Tags:
    """Reads a tags table.

    Wrong is also a line with an unknown category, without a picture, or with the picture of a line before.

    Args:
      path: the CSV.
      categories: the known names.
      root: the dataset whose pictures the rows name.
      listed: keys that a row may name without a picture: reading that image says so.
      faults: gets the wrong lines, which are left out; None: they are refused.

    Raises:
      UserError: it cannot be read, or lines are wrong and refused; they are named.
    """
    table = read_tags_table(path)
    rows, lost = table.by_image(lambda name: voc.find_key(root, name, listed))
    found = [*table.faults, *table.faults_of_names(categories.foreground)]
    found += [(row.line, f"{fault}; correct the name, or take the line out") for row, fault in lost]
    wrong = {line for line, _ in found}
    _tell(path, found, faults)
    return {key: tuple(sorted(map(categories.id_of, row.tags))) for key, row in rows.items() if row.line not in wrong}


def read_boxes(
    path: str | Path,
    categories: Categories,
    root: str | Path,
    listed: Collection[str] = (),
    faults: Faults | None = None,
) -> Boxes:
    """Reads a table of boxes; arguments and errors as for `read_tags`."""
    ids = {name: categories.id_of(name) for name in categories.foreground}
    boxes, found = read_boxes_table(path).by_image(lambda name: voc.find_key(root, name, listed), ids)
    _tell(path, found, faults)
    return boxes


def _tell(path: str | Path, found: Faults, faults: Faults | None) -> None:
    if faults is None:
        refuse(path, sorted(found))
    else:
        faults += sorted(found)
