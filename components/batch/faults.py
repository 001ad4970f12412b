"""What goes wrong with a single image: a dead letter, never the end of the job."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Literal

Stage = Literal["read", "decode", "size", "tags", "network", "label", "write"]

_REASON_LENGTH = 300  # characters
_TENSORFLOW_NOISE = re.compile(r"\{\{.*?\}\} ?| \[Op:.*$")  # where in the graph: nothing a person can use


class Fault(Exception):
    """One image cannot be processed. `stage` says where, str() is the reason on one line."""

    def __init__(self, stage: Stage, reason: str | Exception):
        super().__init__(one_line(reason))
        self.stage = stage


class TooManyFaults(Exception):
    """The job finished, but a larger share of its inputs failed than allowed. The command line exits with status 1."""


def one_line(reason: str | Exception) -> str:
    """First line of a message, shortened; the class name of an exception without one."""
    lines = str(reason).strip().splitlines() or [type(reason).__name__]
    return _TENSORFLOW_NOISE.sub("", lines[0])[:_REASON_LENGTH]


def dead_letter(key: str, fault: Fault) -> dict[str, str]:
    return {"key": key, "stage": fault.stage, "reason": str(fault)}


def refuse_above(max_share: float, dead: Sequence[dict[str, str]], inputs: int, where: str) -> None:
    """Raises TooManyFaults if more than `max_share` (0..1) of the inputs are dead letters.

    Args:
      dead: the dead letters; the commonest stages and the first three are quoted.
      inputs: all images, dead or not.
      where: the file that lists them all.
    """
    if len(dead) <= max_share * inputs:
        return
    stages = ", ".join(f"{count} {stage}" for stage, count in Counter(d["stage"] for d in dead).most_common())
    first = "; ".join(f"{d['key']} ({d['stage']}): {d['reason']}" for d in dead[:3])
    raise TooManyFaults(
        f"{len(dead)} of {inputs} images failed ({stages}), more than the allowed share {max_share:g}: {first}"
        f"{'; ...' if len(dead) > 3 else ''}. All are in {where}"
    )
