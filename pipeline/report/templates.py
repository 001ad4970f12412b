"""The pages' templates, and how numbers are written, there and on screen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import jinja2
from rich.markup import escape
from rich.table import Column, Table

from trainer.data.categories import Categories

Ious = Mapping[str, float | None]  # name -> 0..1


def template(name: str) -> jinja2.Template:
    """One of this folder; a value that a page asks for and does not get is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=".html." in name,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"percent": percent, "duration": duration}
    return environment.get_template(name)


def duration(seconds: float) -> str:
    """4.2 -> '4.2 s', 83 -> '1 min 23 s', 4000 -> '1 h 7 min'."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def percent(value: float | None) -> str:
    """.5 -> '50.0'; None and nan -> 'n/a'."""
    return "n/a" if value is None or math.isnan(value) else f"{100 * value:.1f}"


def iou_table(title: str, categories: Categories, columns: Mapping[str, tuple[Ious, Ious]]) -> Table:
    """A row for each category, then one for each mean; which were learned from masks, where any category was.

    Args:
      columns: heading -> (IoU of the categories, means); the first one names all rows.
    """
    headings, kinds = ["category"], {name: "tags" for name in categories.foreground}
    if categories.strong:
        headings, kinds = [*headings, "learned from"], kinds | {name: "masks" for name in categories.strong}
    table = Table(
        *headings, *(Column(heading, justify="right") for heading in columns), title=title, title_justify="left"
    )
    per_class, means = next(iter(columns.values()))
    for name in per_class:
        values = [percent(column.get(name)) for column, _ in columns.values()]
        table.add_row(*[escape(name), kinds.get(name, "")][: len(headings)], *values)
    table.add_section()
    for name in means:
        values = [percent(column[name]) if name in column else "" for _, column in columns.values()]
        table.add_row(*[name, ""][: len(headings)], *values, style="bold" if name == "mean" else None)
    return table
