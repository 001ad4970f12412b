"""The boxes of a dataset, joined with its pictures."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from components.image_example_gen import voc
from trainer.categories import Categories
from trainer.data.boxes import TagBox, read_boxes_table
from trainer.data.csv_table import refuse

Boxes = dict[str, tuple[TagBox, ...]]  # by key, in the table's order


def read_boxes(path: str | Path, categories: Categories, root: str | Path, listed: Collection[str] = ()) -> Boxes:
    """Reads a table of boxes.

    Args:
      path: the CSV.
      categories: the known names.
      root: the dataset whose pictures the lines name.
      listed: keys that a line may name without a picture: reading that image says so.

    Raises:
      UserError: it cannot be read, or lines are wrong; they are named.
    """
    found, faults = read_boxes_and_faults(path, categories, root, listed)
    refuse(path, faults)
    return found


def read_boxes_and_faults(
    path: str | Path, categories: Categories, root: str | Path, listed: Collection[str] = ()
) -> tuple[Boxes, list[tuple[int, str]]]:
    """As `read_boxes`, but wrong lines are left out and described: (line number, what is wrong), all of them.

    Raises:
      UserError: it cannot be read at all.
    """
    ids = {name: categories.id_of(name) for name in categories.foreground}
    return read_boxes_table(path).by_image(lambda name: voc.find_key(root, name, listed), ids)
