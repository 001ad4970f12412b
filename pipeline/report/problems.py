"""What `transferseg validate` finds, and its page with thumbnails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from components.image_example_gen import voc
from pipeline.config.run_config import RunConfig
from pipeline.report.images import photo
from pipeline.report.templates import template
from trainer.data.files import read_bytes
from trainer.data.pictures import decode
from trainer.errors import ImageFault, shown

_THUMBNAILS = 500  # our choice: problems that get one


@dataclass(frozen=True)
class Kind:
    """Problems of one sort: what they are called together, and what they cost ("high", "some", "little")."""

    title: str
    cost: Literal["high", "some", "little"]
    meaning: str


KINDS = {
    "setup": Kind("The run cannot start", "high", "Mend these first."),
    "weights": Kind("Weights that this machine lacks", "high", "A run stops at once if its machine lacks them too."),
    "picture": Kind("Pictures that are left out", "high", "Nothing is learned from them, and they judge nothing."),
    "flattering": Kind("Scores that flatter", "some", "The model is judged by pictures it has learned by heart."),
    "few": Kind("Few pictures to learn from", "some", "These categories will be poor; more pictures help most."),
    "unscored": Kind("No score", "some", "Nobody will know how good these categories are; the gate cannot see them."),
    "blank": Kind("Masks that show nothing", "some", "All of the picture teaches background."),
    "copy": Kind("The same picture twice", "little", "It counts double."),
    "name": Kind("Names that differ in case alone", "little", "Some file systems take them for one."),
    "unseen": Kind("Categories that nothing shows", "little", "The model will never predict them."),
    "unused": Kind("Lines that are not used", "little", "They name pictures that are on no list."),
}


@dataclass(frozen=True)
class Problem:
    """An error makes the run fail or leave the image out; a warning lets it go on. `what` says what to do.

    `kind`: key of KINDS.
    """

    severity: Literal["error", "warning"]
    where: str
    what: str
    kind: str

    @classmethod
    def error(cls, where: object, what: str, kind: str = "setup") -> Problem:
        return cls("error", shown(str(where)), shown(what), kind)

    @classmethod
    def warning(cls, where: object, what: str, kind: str) -> Problem:
        return cls("warning", shown(str(where)), shown(what), kind)


def grouped(problems: Sequence[Problem]) -> list[tuple[Kind, list[Problem]]]:
    """The problems of each kind, the kinds that cost most first."""
    groups = [(kind, [problem for problem in problems if problem.kind == name]) for name, kind in KINDS.items()]
    return [(kind, several) for kind, several in groups if several]


def write_page(path: Path, config: RunConfig, problems: Sequence[Problem], counts: dict[str, int]) -> None:
    """Writes a self-contained page: counts, and by kind a row for each problem, with a thumbnail of its image."""
    root = config.dataset.root
    pictures = {problem.where: None for problem in problems}
    pictures |= {where: thumbnail(root, where) for where in list(pictures)[:_THUMBNAILS]}
    page = template("problems.html.jinja").render(
        name=config.name,
        root=root,
        number=len(problems),
        groups=grouped(problems),
        pictures=pictures,
        counts=counts,
        errors=sum(p.severity == "error" for p in problems),
    )
    path.write_text(page, encoding="utf-8")


def thumbnail(root: str, key: str) -> str | None:
    """Data URI of a small JPEG; None if there is no picture of that key, or none that can be shown."""
    try:
        return photo(decode(read_bytes(voc.image_path(root, key))))
    except ImageFault:  # the problem's text says what is wrong
        return None
