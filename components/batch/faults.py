"""Dead letters: what became of the images that could not be used, and when they are too many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from trainer.data.files import shown
from trainer.errors import ImageFault


class TooManyFaults(Exception):
    """The job finished, but a larger share of its inputs failed than allowed. The command line exits with status 1."""


def dead_letter(key: str, fault: ImageFault) -> dict[str, str]:
    return {"key": shown(key), "stage": fault.stage, "reason": str(fault)}


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
