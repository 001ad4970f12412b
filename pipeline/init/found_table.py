"""What `init` tells a person at its end: a row for each category, what is held out, and what is worth their time."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from components.image_example_gen.inspection import near_duplicates, thumbnail
from pipeline.init.dataset import Found
from pipeline.init.pictures import count
from pipeline.validate import FEW
from trainer.errors import few

_LOOKED_AT = 5000  # our choice: pictures among which look-alikes are searched; `validate` searches all
_NAMED = 3  # our choice: pictures that a warning names
_first = partial(few, most=_NAMED)
_SOURCES = {"given": "your list", "there": "the list that was there", "held out": "held out here"}


def print_found(found: Found, root: Path, console: Console) -> None:
    """The table of categories, the lists, and the warnings."""
    masks, tags = count(found.trained)
    table = Table(title="What there is to learn from", title_justify="left")
    for name in ("category", "learned from"):
        table.add_column(name, overflow="fold")
    for name in ("pictures", "with its mask", "tagged only", "held out"):
        table.add_column(name, justify="right")
    for name in found.names:
        kind = "masks" if name in found.strong else "tags"
        if found.images[name] or found.scored[name]:
            numbers = (found.images[name], masks[name], tags[name], found.scored[name])
            table.add_row(Text(name), kind, *map(str, numbers))
    table.add_section()
    usable = (sum(bool(p.pixels) for p in found.trained), sum(not p.pixels for p in found.trained))
    table.add_row("pictures", "", *map(str, (len(found.trained), *usable, len(found.evaluated))))
    console.print(table)
    console.print(
        f"Trained on: {len(found.trained)} pictures (list {found.train}). Judged by: {len(found.evaluated)} pictures "
        f"with masks (list {found.val}, {_SOURCES[found.source]}).",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )
    for line in warnings(found, root):
        console.print(Text.assemble(("warning ", "yellow"), line), soft_wrap=True)


def warnings(found: Found, root: Path) -> Iterator[str]:
    """What costs quality or makes scores flatter, with what to do; worst first."""
    if found.left_out:
        reasons: dict[str, list[str]] = {}
        for key, reason in found.left_out:
            reasons.setdefault(reason, []).append(key)
        for reason, keys in reasons.items():
            yield f"{_pictures(len(keys))} left out of the training list: {reason} ({_first(keys)})"
    scarce = sorted((number, name) for name, number in found.images.items() if 0 < number < FEW)
    better = f"{FEW} are little, a few dozen are better"
    if len(scarce) > _NAMED:
        least = _first([f"{name} ({number})" for number, name in scarce])
        yield f"fewer than {FEW} pictures to learn {len(scarce)} categories from: {least}; {better}"
    else:
        yield from (f"{name}: only {_pictures(number)} to learn from; {better}" for number, name in scarce)
    unseen = [name for name in found.names if not found.images[name]]
    if unseen:
        yield f"no training picture shows {_first(unseen)} ({len(unseen)}): the model will never predict it"
    unscored = [name for name in found.names if found.images[name] and not found.scored[name]]
    if unscored:
        yield (
            f"no picture to judge by shows {_first(unscored)} ({len(unscored)}): no score, so no gate; draw masks of "
            "two or three"
        )
    empty = [picture.key for picture in found.trained if picture.pixels is not None and not picture.names]
    if empty:
        yield f"{len(empty)} training masks show no category ({_first(empty)}): right only if there is nothing to see"
    untold = [p.key for p in found.trained if p.tags.intersection(found.weak) and (p.pixels or p.tags) - p.tags]
    if untold:
        yield (
            f"the masks of {_pictures(len(untold))} learned from tags show categories that the tags do not "
            f"({_first(untold)}): what is there counts as background; add them to the tags"
        )
    for key, other in _look_alikes(found, root)[:_NAMED]:
        yield f"{key} is trained on and looks like {other}, which it is judged by: the scores would flatter; drop one"


def _look_alikes(found: Found, root: Path) -> list[tuple[str, str]]:
    if len(found.trained) + len(found.evaluated) > _LOOKED_AT:
        return []
    train, evaluated = (
        [{"key": picture.key, "thumbnail": thumbnail(str(root), picture.key)} for picture in pictures]
        for pictures in (found.trained, found.evaluated)
    )
    return near_duplicates(train, evaluated)


def _pictures(number: int) -> str:
    return f"{number} picture{'' if number == 1 else 's'}"
