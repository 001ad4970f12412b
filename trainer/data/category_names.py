"""Names of categories as people write them -> names that ids can rely on."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from trainer.data.files import cut, read_text
from trainer.errors import UserError, few

MOST = 254  # ids of 8-bit masks, without background (0) and void (255)

AS_IDS = "a table for transferseg import folder --colours, lines name:id,id,id such as background:1,1,1 or void:3,3,3"

_LONGEST = 100  # our choice: characters; names go into tables, legends and file names
_BACKGROUND = ("background", "bg")
_VOID = ("void", "ignore", "ignored", "unlabeled", "unlabelled")


def is_background(name: str) -> bool:
    """Whether a name means id 0: background, _background_, __background__, in any case."""
    return name.strip("_ ").casefold() in _BACKGROUND


def is_void(name: str) -> bool:
    """Whether a name means id 255."""
    return name.strip("_ ").casefold() in _VOID


def clean_name(name: object, where: str) -> str:
    """One name, trimmed, its letters composed; numbers become text.

    Raises:
      UserError: empty, no text, or with a character that tables or terminals cannot take.
    """
    if not isinstance(name, str | int | float) or isinstance(name, bool):
        raise UserError(f"{where}: {cut(name)} is no name of a category; give text, in quotes")
    text = unicodedata.normalize("NFC", str(name)).strip()
    if not text:
        raise UserError(f"{where}: a category's name is empty; give it one")
    if not text.isprintable():
        raise UserError(f"{where}: the category '{cut(text)}' holds a character that cannot be printed; rename it")
    if "|" in text:
        raise UserError(f"{where}: the category '{cut(text)}' holds a |, which separates tags; rename it")
    if len(text) > _LONGEST:
        raise UserError(f"{where}: the category '{cut(text)}' has more than {_LONGEST} letters; give it a shorter name")
    return text


def check_distinct(names: Sequence[str], where: str) -> None:
    """Raises UserError if names mean background or void, are the same or differ in case alone, or are too many."""
    if odd := next((name for name in names if is_background(name) or is_void(name)), None):
        if is_background(odd):
            what = "background is id 0; put it first, or take it off"
        else:
            what = "in masks it is 255, and ids do not count it; take it off"
        raise UserError(f"{where}: '{odd}' is no category: {what}. If masks count it as an id, say so by {AS_IDS}")
    seen: dict[str, str] = {}
    for name in names:
        other = seen.get(name.casefold())
        if other is not None:
            how = "is listed twice" if other == name else f"and '{other}' differ in case alone"
            raise UserError(f"{where}: category '{name}' {how}; keep one of them")
        seen[name.casefold()] = name
    if len(names) > MOST:
        raise UserError(f"{where}: {len(names)} categories; 8-bit masks hold at most {MOST}")


def order_fault(here: Sequence[str], there: Sequence[str], where: object) -> str | None:
    """Which id means one thing here and another there, names by id from 1; None where all that both name agree.

    Args:
      where: the file that says what the ids of its masks mean.
    """
    for number, (name, known) in enumerate(zip(here, there, strict=False), start=1):
        if name.casefold() != known.casefold():
            return f"id {number} is '{name}' here but '{known}' in {where}, which says what the masks' ids mean"
    return None


def names_by_id(names: Sequence[object], where: str) -> list[str]:
    """A list of names by id, from 1 -> the same, clean; a background at its head (id 0) is taken off, and labelme's
    __ignore__ (-1) before it.

    Raises:
      UserError: a bad name, background or void in another place, a name twice, or too many.
    """
    found = [clean_name(name, where) for name in names]
    if len(found) > 1 and is_void(found[0]) and is_background(found[1]):
        found = found[1:]
    if found and is_background(found[0]):
        found = found[1:]
    check_distinct(found, where)
    return found


def read_names(path: str | Path) -> list[str]:
    """The names in a text file, one a line, in the order of their ids.

    Raises:
      UserError: it cannot be read, has an empty line between names (ids would shift), or see `names_by_id`.
    """
    lines = [line.strip() for line in read_text(path, "one name a line").rstrip().split("\n")]
    for number, line in enumerate(lines, start=1):
        if not line and any(lines):
            raise UserError(f"{path}: line {number} is empty, so ids below it are in doubt; take the line out")
    return names_in_lines(lines, path) if any(lines) else []


def names_in_lines(lines: Sequence[str], where: str | Path) -> list[str]:
    """Names by id, also where each begins with its number; see `names_by_id`."""
    return names_by_id(_without_numbers(lines, where), str(where)) if lines else []


def check_as_lines(names: Sequence[str], where: str) -> None:
    """Raises UserError if a file of these names, one a line, would be read as others."""
    try:
        is_same = list(_without_numbers(names, where)) == list(names)
    except UserError:
        is_same = False
    if not is_same:
        raise UserError(
            f"{where}: the categories {few(names)} would be read as numbered lines or rows of a table; rename them, "
            "or let --prefix put something before them"
        )


def _without_numbers(lines: Sequence[str], path: str | Path) -> Sequence[str]:
    """Lines of which each begins with its id, e.g. "1: cat", without it; other lines as they are.

    Raises:
      UserError: ids begin in another place than names by id do, or the lines are a table's.
    """
    if len(lines) == 1 or max(map(len, lines)) > 2 * _LONGEST:  # is refused as a name
        return lines
    numbered = [re.match(r"(\d+)\s*[:;,.\t ]\s*(.+)", line) for line in lines]
    if all(numbered):
        first, rest = int(numbered[0][1]), [match[2] for match in numbered]
        counted = [int(match[1]) for match in numbered] == list(range(first, first + len(lines)))
        if counted and len(set(rest)) == len(rest) and not any(map(_holds_numbers, rest)):
            if first == 1 or (first == 0 and is_background(rest[0])):
                return rest
            raise UserError(
                f"{path}: its first line gives '{rest[0]}' the id {first}; names begin at id 1, and 0 is background. "
                f"If that is what masks hold, say so by {AS_IDS}"
            )
    if all(map(_holds_numbers, lines[1:])):
        raise UserError(
            f"{path}: line 2 is a row of a table, not a name; give names alone, one a line, that of id 1 first. "
            "Colours, as name:r,g,b, are for --colours"
        )
    return lines


def _holds_numbers(line: str) -> bool:
    """Whether a line is a row with a number in it, as "wall 120 120 120" or "1,0.15,wall" are."""
    cells = re.split(r"[,;\t]\s*", line)
    return (len(cells) > 1 and any(cell.strip().isdigit() for cell in cells)) or bool(re.search(r"(\s\d+){3}$", line))
