"""The pages' templates, and how they write numbers."""

from __future__ import annotations

import math
from pathlib import Path

import jinja2


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
