"""What benchmarks share: the shape of a result, and the real images."""

from __future__ import annotations

import os
from pathlib import Path


def row(
    name: str,
    value: float | None,
    unit: str,
    reference: float | None = None,
    ratio: float | None = None,
    target: float | None = None,
    ok: bool | None = None,
    note: str | None = None,
) -> dict:
    """One line of build/bench.json.

    Args:
      value: None: it could not be measured; `note` says why.
      ratio: relates value and reference.
      target: what `ok` was judged by.
      note: what a reader of the figure must know.
    """
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "reference": reference,
        "ratio": ratio,
        "target": target,
        "ok": ok,
        "note": note,
    }


def real_files(folder: str) -> list[Path]:
    """The files of TRANSFERSEG_DATA/voc12_ps20 in "JPEGImages" or "SegmentationClass", sorted; none without it."""
    root = os.environ.get("TRANSFERSEG_DATA")
    return sorted(Path(root, "voc12_ps20", folder).glob("*.*")) if root else []
