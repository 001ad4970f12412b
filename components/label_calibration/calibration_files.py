"""What a calibration leaves behind: the values, the figures and the curves."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from components.label_calibration.search import Calibration
from components.weak_labels.core.label_config import VALUES

FIGURES, CURVES = "calibration.json", "calibration.png"


def write_calibration(folder: str | Path, found: Calibration) -> None:
    """Writes labels.yaml (a config's section `labels`), calibration.json and calibration.png."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / VALUES).write_text(yaml.safe_dump({"labels": found.settings.model_dump()}, sort_keys=False))
    figures = {
        "miou": found.miou,
        "start_miou": found.start_miou,
        "images": found.images,
        "chosen": {name: getattr(found.settings, name) for name in found.curves},
        "curves": found.curves,
    }
    (folder / FIGURES).write_text(json.dumps(figures, indent=1) + "\n")
    _draw(folder / CURVES, found)


def _draw(path: Path, found: Calibration) -> None:
    """One panel a value: mIoU over it, everything else as found; the chosen value is marked."""
    from matplotlib.figure import Figure  # slow to import

    columns = 5
    rows = -(-len(found.curves) // columns)
    figure = Figure((3.2 * columns, 2.6 * rows))
    axes = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axis in axes.flat[len(found.curves) :]:
        axis.axis("off")
    for axis, (name, curve) in zip(axes.flat, found.curves.items(), strict=False):
        values = list(curve)
        numeric = not set(values) & {"True", "False"}
        positions = [float(value) for value in values] if numeric else list(range(len(values)))
        axis.plot(positions, list(curve.values()), "o-", color="#1f77b4", markersize=3)
        chosen = str(getattr(found.settings, name))
        if chosen in values:
            axis.plot(positions[values.index(chosen)], curve[chosen], "o", color="#d62728", markersize=7)
        if not numeric:
            axis.set_xticks(positions, values)
        axis.set_title(name, fontsize=10)
        axis.grid(alpha=0.3)
    for axis in axes[:, 0]:
        axis.set_ylabel("mIoU")
    figure.suptitle(
        f"Label mIoU of {found.images} strong images: {found.start_miou:.3f} before, {found.miou:.3f} after"
    )
    figure.tight_layout()
    figure.savefig(path, dpi=100)
