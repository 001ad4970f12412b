"""What a training run keeps on disk: checkpoints to resume from, the history of scalars, and the stop signal."""

from __future__ import annotations

import csv
import os
import signal
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from trainer.errors import STOPPED

HISTORY = "history.csv"


class Preempted(SystemExit):
    """The process was asked to stop (SIGTERM, SIGINT); the state was saved first. Exit status 143, as after SIGTERM."""

    def __init__(self):
        super().__init__(STOPPED)


class Checkpoints:
    """Saves and restores everything a run needs to continue: weights, optimiser, step and random state."""

    def __init__(self, directory: str, **state: tf.Variable | tf.Module):
        self._checkpoint = tf.train.Checkpoint(**state)
        _ = self._checkpoint.save_counter  # made now, on every host: a variable made by the chief alone blocks them all
        self._manager = tf.train.CheckpointManager(self._checkpoint, directory, max_to_keep=2)

    def restore(self) -> str | None:
        """Restores the newest readable checkpoint and returns its path, skipping damaged ones. None: start afresh."""
        for path in reversed(self._manager.checkpoints):
            try:
                self._checkpoint.restore(path).assert_existing_objects_matched()
                return path
            except (tf.errors.OpError, IndexError, ValueError, AssertionError) as error:
                tf.get_logger().warning("checkpoint %s is unreadable (%s): trying the one before", path, error)
        return None

    def save(self, step: int) -> str:
        """Writes a checkpoint; it becomes the newest only when complete."""
        return self._manager.save(checkpoint_number=step)


class TrainingHistory:
    """Scalars by step in `history.csv`; a resumed run drops the rows it is going to repeat."""

    def __init__(self, directory: str, first_step: int = 0):
        self.path = Path(directory) / HISTORY
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = [row for row in _whole_rows(self.path) if int(row["step"]) <= first_step]
        if kept:
            partial = self.path.with_suffix(".partial")
            with open(partial, "w", newline="") as file:
                writer = csv.DictWriter(file, fieldnames=list(kept[0]))
                writer.writeheader()
                writer.writerows(kept)
            os.replace(partial, self.path)
        else:
            self.path.unlink(missing_ok=True)

    def append(self, row: dict[str, float]) -> None:
        """Adds one row; every row has the same keys, `step` among them."""
        new = not self.path.exists()
        with open(self.path, "a", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)


def read_history(path: str | Path) -> list[dict[str, float]]:
    """Rows of a `history.csv`; empty when there is none."""
    return [{name: float(value) for name, value in row.items()} for row in _whole_rows(Path(path))]


def _whole_rows(path: Path) -> list[dict[str, str]]:
    """Rows as text; one cut short by a kill is left out."""
    if not path.exists():
        return []
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return [row for row in rows if None not in row and all(row.values())]


class StopSignal:
    """Context in which SIGTERM and SIGINT only raise a flag, so that the loop can save before it stops."""

    def __init__(self) -> None:
        self.raised = False
        self._previous: dict[int, Callable | int | None] = {}

    def __enter__(self) -> StopSignal:
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._raise)
        except ValueError:
            pass  # not the main thread: whoever owns it handles signals
        return self

    def _raise(self, *_: object) -> None:
        self.raised = True

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
