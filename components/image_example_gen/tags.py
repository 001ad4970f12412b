"""The tags file: CSV with the header `image,tags`, tags separated by `|`."""

from __future__ import annotations

import csv
from pathlib import Path

from etils import epath

from components.image_example_gen.voc import IMAGE_SUFFIXES
from trainer.categories import Categories
from trainer.errors import UserError


def read_tags(path: str | Path, categories: Categories) -> dict[str, tuple[int, ...]]:
    """Reads a tags file.

    Args:
      path: the CSV; `image` is a file name with or without its suffix.
      categories: the known names.

    Returns:
      Image key -> ascending category ids; () for an image without any category.

    Raises:
      UserError: no such file, no header, an unknown tag or an image listed twice; the line number is given.
    """
    found, faults = read_tags_and_faults(path, categories)
    if faults:
        raise UserError(faults[0])
    return found


def read_tags_and_faults(path: str | Path, categories: Categories) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    """As `read_tags`, but wrong lines are left out and described, all of them.

    Raises:
      UserError: no such file or no header.
    """
    path = epath.Path(path)
    try:
        lines = path.read_bytes().decode("utf-8-sig").splitlines()
    except FileNotFoundError:
        raise UserError(f"{path}: no such tags file; give a CSV with the columns image,tags") from None
    except (UnicodeDecodeError, IsADirectoryError):
        raise UserError(f"{path}: not a text file; give a CSV with the columns image,tags in UTF-8") from None
    rows = csv.reader(lines)
    if [cell.strip() for cell in next(rows, [])] != ["image", "tags"]:
        raise UserError(f"{path}: line 1 must be the header image,tags")
    found: dict[str, tuple[int, ...]] = {}
    faults: list[str] = []
    for row in rows:
        if not any(cell.strip() for cell in row):
            continue
        try:
            key, ids = _parse(row, categories)
            if key in found:
                raise UserError(f"image '{key}' is listed twice; keep one line")
            found[key] = ids
        except UserError as error:
            faults.append(f"{path}: line {rows.line_num}: {error}")
    return found, faults


def _parse(row: list[str], categories: Categories) -> tuple[str, tuple[int, ...]]:
    if len(row) != 2 or not row[0].strip():
        raise UserError("expected image,tags with tags separated by |")
    names = [name.strip() for name in row[1].split("|") if name.strip()]
    return _key(row[0].strip()), tuple(sorted({categories.id_of(name) for name in names}))


def _key(name: str) -> str:
    suffix = Path(name).suffix
    return name[: -len(suffix)] if suffix.lower() in IMAGE_SUFFIXES else name
