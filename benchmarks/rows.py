"""The shape of a benchmark's result."""

from __future__ import annotations


def row(
    name: str,
    value: float,
    unit: str,
    reference: float | None = None,
    ratio: float | None = None,
    target: float | None = None,
    ok: bool | None = None,
) -> dict:
    """One line of build/bench.json; `ratio` relates value and reference, `target` is what `ok` was judged by."""
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "reference": reference,
        "ratio": ratio,
        "target": target,
        "ok": ok,
    }
