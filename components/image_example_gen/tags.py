"""The tags table of a dataset, joined with its pictures."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from etils import epath

from components.image_example_gen import voc
from trainer.categories import Categories
from trainer.data.tags_table import read_tags_table
from trainer.errors import UserError, some

Tags = dict[str, tuple[int, ...]]  # key -> ascending category ids; () for an image without any category


def read_tags(
    path: str | Path, categories: Categories, root: str | Path | None = None, listed: Collection[str] = ()
) -> Tags:
    """Reads a tags table.

    Args:
      path: the CSV.
      categories: the known names.
      root: the dataset whose pictures the rows name; None: the table's folder.
      listed: keys that a row may name without a picture: reading that image says so.

    Raises:
      UserError: it cannot be read, or lines are wrong; they are named.
    """
    found, faults = read_tags_and_faults(path, categories, root, listed)
    if faults:
        raise UserError(some([f"{path}: line {line}: {what}" for line, what in faults]))
    return found


def read_tags_and_faults(
    path: str | Path, categories: Categories, root: str | Path | None = None, listed: Collection[str] = ()
) -> tuple[Tags, list[tuple[int, str]]]:
    """As `read_tags`, but wrong lines are left out and described: (line number, what is wrong), all of them.

    Wrong is also a line with an unknown category, without a picture, or with the picture of a line before.

    Raises:
      UserError: it cannot be read at all.
    """
    place = epath.Path(path).parent if root is None else root
    table = read_tags_table(path)
    rows, lost = table.by_image(lambda name: voc.find_key(place, name, listed))
    faults = [*table.faults, *table.faults_of_names(categories.foreground)]
    faults += [(row.line, f"{fault}; correct the name, or take the line out") for row, fault in lost]
    wrong = {line for line, _ in faults}
    tags = {key: tuple(sorted(map(categories.id_of, row.tags))) for key, row in rows.items() if row.line not in wrong}
    return tags, sorted(faults)
