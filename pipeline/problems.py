"""What `transferseg validate` finds, and its page with thumbnails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jinja2

from components.image_example_gen import voc
from pipeline.config import RunConfig
from pipeline.report.images import photo
from trainer.data.files import read_bytes
from trainer.data.pictures import decode
from trainer.errors import ImageFault, shown

_THUMBNAILS = 500  # open: problems that get one


@dataclass(frozen=True)
class Problem:
    """An error makes the run fail or leave the image out; a warning lets it go on. `what` says what to do."""

    severity: Literal["error", "warning"]
    where: str
    what: str

    @classmethod
    def error(cls, where: object, what: str) -> Problem:
        return cls("error", shown(str(where)), shown(what))

    @classmethod
    def warning(cls, where: object, what: str) -> Problem:
        return cls("warning", shown(str(where)), shown(what))


def write_page(path: Path, config: RunConfig, problems: Sequence[Problem], counts: dict[str, int]) -> None:
    """Writes a self-contained page: counts, and a row for each problem with a thumbnail if it is about an image."""
    root = config.dataset.root
    rows = [
        (problem, thumbnail(root, problem.where) if i < _THUMBNAILS else None) for i, problem in enumerate(problems)
    ]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "report"), autoescape=True, trim_blocks=True
    )
    page = environment.get_template("problems.html.jinja").render(
        name=config.name, root=root, rows=rows, counts=counts, errors=sum(p.severity == "error" for p in problems)
    )
    path.write_text(page, encoding="utf-8")


def thumbnail(root: str, key: str) -> str | None:
    """Data URI of a small JPEG; None if there is no picture of that key, or none that can be shown."""
    try:
        return photo(decode(read_bytes(voc.image_path(root, key))))
    except ImageFault:  # the problem's text says what is wrong
        return None
