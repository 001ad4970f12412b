"""Dead letters: what became of the images that could not be used, and when they are too many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from trainer.errors import ImageFault, shown


class TooManyFaults(Exception):
    """The job finished, but a larger share of its inputs failed than allowed. The command line exits with status 1.

    Attributes:
      summary: the job's, if it makes one.
    """

    def __init__(self, text: str, summary: dict[str, Any] | None = None):
        super().__init__(text)
        self.summary = summary


def dead_letter(key: str, fault: ImageFault) -> dict[str, str]:
    return {"key": shown(key), "stage": fault.stage, "reason": str(fault)}


@contextmanager
def faults_to(dead: list[dict[str, str]], key: str) -> Iterator[None]:
    """Adds a dead letter for an ImageFault that is raised inside, and goes on behind it."""
    try:
        yield
    except ImageFault as fault:
        dead.append(dead_letter(key, fault))


def refuse_above(
    max_share: float, dead: Sequence[dict[str, str]], inputs: int, where: str, summary: dict[str, Any] | None = None
) -> None:
    """Raises TooManyFaults if more than `max_share` (0..1) of the inputs are dead letters.

    Args:
      dead: the dead letters; the commonest stages and the first three are quoted.
      inputs: all images, dead or not.
      where: the file that lists them all.
      summary: the exception's.
    """
    if len(dead) <= max_share * inputs:
        return
    stages = ", ".join(f"{count} {stage}" for stage, count in Counter(d["stage"] for d in dead).most_common())
    raise TooManyFaults(
        f"{len(dead)} of {inputs} images failed ({stages}), more than the allowed share {max_share:g}: "
        f"{first_of(dead)}. All are in {where}",
        summary,
    )


def first_of(dead: Sequence[dict[str, str]]) -> str:
    """The first three dead letters on one line."""
    first = "; ".join(f"{letter['key']} ({letter['stage']}): {letter['reason']}" for letter in dead[:3])
    return first + ("; ..." if len(dead) > 3 else "")
