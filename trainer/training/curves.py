"""Learning curves as a picture."""

from __future__ import annotations

from pathlib import Path

from trainer.training.checkpoints import read_history

_FEW = 30  # our choice: points that are told apart


def draw_curves(history: str | Path, title: str) -> Path | None:
    """Draws every column of a `history.csv` over the step into `curves.png` beside it; None without any row."""
    from matplotlib.figure import Figure  # slow to import, and only this picture needs it

    rows = read_history(history)
    if not rows:
        return None
    names = [name for name in rows[0] if name != "step"]
    figure = Figure((4 * len(names), 3), layout="constrained")
    axes = figure.subplots(1, len(names), squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        axis.plot(
            [row["step"] for row in rows],
            [row[name] for row in rows],
            linewidth=1,
            marker="." if len(rows) < _FEW else None,
        )
        axis.set(xlabel="step", title=name.replace("_", " "))
        axis.grid(alpha=0.3)
    figure.suptitle(title)
    target = Path(history).with_name("curves.png")
    figure.savefig(target, dpi=100)
    return target
