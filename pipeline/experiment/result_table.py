"""Rows of the experiment -> table2.json and table2.md, in the layout of the paper's Table 2."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.report.templates import percent

Row = dict[str, Any]
MEANS = ("miou", "strong_miou", "weak_miou")


def with_ratios(rows: Sequence[Row]) -> list[Row]:
    """Adds ratio_to_full: mIoU over that of the row "full" of the same split and seed; None without one above 0."""
    full = {(row["split"], row["seed"]): row["miou"] for row in rows if row["method"] == "full"}
    return [
        {**row, "ratio_to_full": row["miou"] / whole if (whole := full.get((row["split"], row["seed"]))) else None}
        for row in rows
    ]


def write_tables(rows: Sequence[Row], folder: Path, about: dict[str, str]) -> Path:
    """Writes table2.json, .md and .png into `folder`; returns the page. `about` goes above the tables."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table2.json").write_text(json.dumps(list(rows), indent=1) + "\n")
    page = folder / "table2.md"
    page.write_text(markdown(rows, about))
    _draw(rows, folder / "table2.png")
    return page


def markdown(rows: Sequence[Row], about: dict[str, str]) -> str:
    """A table for each split: IoU per class in percent, mean over the seeds; strong categories in bold."""
    lines = ["# Table 2", "", *(f"- {name}: {value}" for name, value in about.items()), ""]
    for split in dict.fromkeys(row["split"] for row in rows):
        lines += _split_table(split, [row for row in rows if row["split"] == split])
    return "\n".join(lines)


def _split_table(split: str, rows: Sequence[Row]) -> list[str]:
    classes, strong = list(rows[0]["per_class"]), rows[0]["strong"]
    names = [f"**{name}**" if name in strong else name for name in classes]
    header = ["method", *names, "strong mean", "weak mean", "mean", "spread", "ratio to full"]
    lines = [f"## {split}", "", f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    for method in dict.fromkeys(row["method"] for row in rows):
        lines.append(_line(method, [row for row in rows if row["method"] == method]))
    seeds = sorted({row["seed"] for row in rows})
    note = f"Bold: categories with masks. Seeds {', '.join(map(str, seeds))}; spread: largest minus smallest mean."
    return [*lines, "", note, ""]


def _line(method: str, rows: Sequence[Row]) -> str:
    classes = [_mean([row["per_class"][name] for row in rows]) for name in rows[0]["per_class"]]
    means = {name: [row[name] for row in rows] for name in MEANS}
    ratios = [row["ratio_to_full"] for row in rows]
    cells = [*classes, _mean(means["strong_miou"]), _mean(means["weak_miou"]), f"**{_mean(means['miou'])}**"]
    cells += [f"{100 * (max(means['miou']) - min(means['miou'])):.1f}"]
    cells += ["" if None in ratios else f"{statistics.fmean(ratios):.3f}"]
    return f"| {method} | {' | '.join(cells)} |"


def _draw(rows: Sequence[Row], path: Path) -> None:
    """Mean and weak mean of every method on every split: bars over the seeds' mean, a dot for each seed."""
    from matplotlib.figure import Figure  # slow to import

    splits, methods = (list(dict.fromkeys(row[key] for row in rows)) for key in ("split", "method"))
    width = 1 + 0.6 * len(methods) * len(splits)
    figure = Figure((width, 3.6))
    axes = figure.subplots(1, len(splits), sharey=True, squeeze=False)
    bars = (("miou", "all classes", -0.2, "tab:blue"), ("weak_miou", "weak categories", 0.2, "tab:orange"))
    for axis, split in zip(axes[0], splits, strict=True):
        for name, title, offset, colour in bars:
            for position, method in enumerate(methods):
                found = [row[name] for row in rows if (row["split"], row["method"]) == (split, method)]
                values = [100 * value for value in found if value is not None]
                if values:
                    label = None if position else title
                    axis.bar(position + offset, statistics.fmean(values), 0.38, color=colour, alpha=0.6, label=label)
                    axis.plot([position + offset] * len(values), values, "k.", markersize=4)
        axis.set_xticks(range(len(methods)), methods, rotation=45, ha="right")
        axis.set_title(split)
        axis.grid(axis="y", alpha=0.3)
    axes[0][0].set_ylabel("mIoU in percent")
    figure.legend(
        *axes[0][0].get_legend_handles_labels(), loc="lower center", ncols=2, bbox_to_anchor=(0.5, 1.0), frameon=False
    )
    figure.savefig(path, dpi=110, bbox_inches="tight")


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return percent(statistics.fmean(known) if known else None)
