"""Whether a model predicts as it did when it was judged: the counts of two sets of predictions, compared.

The population stability index of two histograms with shares a and b is the sum of (a - b) ln(a / b) over the bins;
below .1 it is taken for no change, from .25 on for a large one (Siddiqi, "Credit Risk Scorecards", 2006). Where nothing
has changed it is about (1/n + 1/m) times a chi-squared value with one degree of freedom less than there are bins, for n
and m pictures (Yurdakul and Naranjo, "Statistical properties of the population stability index", 2020). So a few
pictures always differ, and the warning asks for both: a large index, and one that chance would hardly give.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table
from scipy.special import chdtri

from serving.prediction_counts import ASSET, FILE, PredictionCounts, read_counts
from serving.saved_model import find_saved_model
from trainer.data.files import read_text
from trainer.errors import UserError, shown

SHIFTED, DRIFTED = 0.1, 0.25
_CHANCE = 0.001  # our choice: of a warning about an index if nothing has changed


def compare(predictions: Path, reference: Path, console: Console) -> dict[str, Any]:
    """Compares two sets of predictions; each a folder that `transferseg predict` wrote, a pushed version, or a file of
    Prometheus's text format such as a server's /metrics.

    Args:
      console: gets a table, and a warning if the predictions have drifted.

    Returns:
      pictures, reference_pictures; psi: the index of `confidence` and of `area of <class>`; drifted: names of those
      that are large beyond chance.

    Raises:
      UserError: there are no counts, or they are of models with other categories.
    """
    batch, judged = find_counts(predictions, "--prediction"), find_counts(reference, "--reference")
    if batch.names != judged.names:
        raise UserError(
            f"--reference {shown(str(reference))}: is of a model with other categories than {predictions}; "
            "compare predictions of one model"
        )
    judged_rows = judged.rows()
    psi, drifted = {}, []
    for name, row in batch.rows().items():
        psi[name], by_chance = stability_index(row, judged_rows[name])
        if psi[name] >= max(DRIFTED, by_chance):
            drifted.append(name)
    result = {"pictures": batch.pictures, "reference_pictures": judged.pictures, "psi": psi, "drifted": drifted}
    _print(result, console)
    return result


def stability_index(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """(population stability index of two histograms, float [bins]; what chance exceeds once in a thousand times).

    Bins that are empty in both do not count. Every other one holds half a picture more than was counted, so that none
    is empty and the index is finite.
    """
    used = (first + second) > 0
    first, second = first[used] + 0.5, second[used] + 0.5
    a, b = first / first.sum(), second / second.sum()
    by_chance = chdtri(max(1, used.sum() - 1), _CHANCE) * (1 / first.sum() + 1 / second.sum())
    return float(np.sum((a - b) * np.log(a / b))), float(by_chance)


def find_counts(path: Path, option: str) -> PredictionCounts:
    """The counts that a path means.

    Raises:
      UserError: there are none; names the option.
    """
    places = [path, path / FILE]
    with suppress(UserError):
        places.append(find_saved_model(path) / ASSET)
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        raise UserError(
            f"{option} {shown(str(path))}: no counts of predictions ({FILE}) there; give a folder that `transferseg "
            "predict` wrote, or a version that a run pushed; those of an earlier transferseg have none"
        )
    try:
        counts = read_counts(read_text(str(file), "counts of predictions"))
    except ValueError as error:
        raise UserError(f"{option} {shown(str(file))}: {error}; predict again with this version") from None
    if not counts.pictures:
        raise UserError(f"{option} {shown(str(file))}: counts no picture; export the model anew and predict again")
    return counts


def _print(result: dict[str, Any], console: Console) -> None:
    title = f"Predictions on {result['pictures']} pictures, against {result['reference_pictures']} of the reference"
    table = Table("", Column("stability index", justify="right"), "", title=title, title_justify="left")
    for name, value in result["psi"].items():
        word = "drifted" if name in result["drifted"] else "shifted" if value >= SHIFTED else ""
        table.add_row(escape(name), f"{value:.2f}", word)
    console.print(table)
    if result["drifted"]:
        console.print(
            f"[yellow]warning[/] predictions have drifted from those of the reference: "
            f"{escape(', '.join(result['drifted']))}; its scores may not hold for these pictures: look at some, and "
            "evaluate on masks of them",
            soft_wrap=True,
        )
