"""How long an experiment will take: each row's networks that no row before it has trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.run.plan import Remaining

Row = tuple[str, str, int]  # split, method, seed

_OURS = ("cam", "l_net", "weak_labels", "segmentation")
STEPS = {  # method -> the components of a run that it amounts to; a number sets those apart that are not shared
    "full": ("segmentation:full",),
    "strong-only": ("strong_only",),
    "wssl": ("segmentation:wssl",),
    "ae": ("cam:1", "cam:2", "cam:3", "segmentation:ae"),
    "ae-saliency": ("cam:1", "cam:2", "cam:3", "l_net", "segmentation:saliency"),
    "transfernet": ("segmentation:transfernet", "segmentation:labels"),
    "l-net": _OURS,
    "p-net": (*_OURS, "p_net"),
    "p-net-direct": (*_OURS, "p_net:direct"),
}


def plan_rows(rows: Sequence[Row], planned: Mapping[str, float]) -> Remaining:
    """Seconds of each row; `planned`: of a run's components, see `plan`. "+crf" costs nothing here."""
    seen: set[tuple[str, int, str]] = set()
    found = {}
    for split, method, seed in rows:
        steps = {(split, seed, step) for step in STEPS[method.partition("+")[0]]} - seen
        seen |= steps
        found[name_of(split, method, seed)] = sum(planned[step.partition(":")[0]] for _, _, step in steps)
    return Remaining(found)


def name_of(split: str, method: str, seed: int) -> str:
    return f"{split} {method}, seed {seed}"
