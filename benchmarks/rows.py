"""The shape of a benchmark's result."""

from __future__ import annotations


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
