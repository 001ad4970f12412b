"""What every training loop needs around its steps: resuming, checkpoints, logs, progress, and stopping well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from trainer.data import keys
from trainer.errors import UserError
from trainer.progress import progress
from trainer.training.checkpoints import HISTORY, Checkpoints, Preempted, StopSignal, TrainingHistory
from trainer.training.curves import draw_curves
from trainer.training.hosts import LOST, hosts, sum_over_hosts
from trainer.training.panels import Panel
from trainer.training.replicas import Batch, first_replica, gather

WARNINGS = "warnings.txt"
_LOG_EVERY = 10  # steps; between them nothing is read from the device, which so never waits
_PANEL_ROWS = 4  # images
_AGREE_EVERY = 10  # steps


@dataclass(frozen=True)
class RunFolders:
    """Where a training run writes.

    Attributes:
      name: what progress and curves are called.
      logs: history.csv, curves.png and TensorBoard events; kept with the model.
      checkpoints: state to resume from; the same run must find the same folder again.
    """

    name: str
    logs: str
    checkpoints: str


class Session:
    """Context around a training loop; restores the newest checkpoint on entry, saves the last one on a good exit.

    With several hosts, all of them restore the same checkpoint, the chief alone writes, and all stop if one has to.

    Attributes:
      step: updates done so far.
      done: whether all `num_steps` are.
      saved: whether the last step ended with a checkpoint.
    """

    def __init__(self, folders: RunFolders, num_steps: int, checkpoint_every: int, **state: tf.Module):
        """`state`: everything beside the step that a resumed run needs (networks, optimisers)."""
        self._folders, self._num_steps, self._checkpoint_every = folders, num_steps, checkpoint_every
        self._hosts = hosts()
        self._saved_step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self.step, self.saved = 0, False
        self._unread: list[tuple[int, Mapping[str, tf.Tensor | float], tf.Tensor]] = []  # steps whose scalars wait
        self._checkpoints = Checkpoints(folders.checkpoints, step=self._saved_step, **state)
        self._stop = StopSignal()

    @property
    def done(self) -> bool:
        return self.step >= self._num_steps

    def __enter__(self) -> Session:
        self._checkpoints.restore()
        self.step = int(tf.convert_to_tensor(self._saved_step))
        if sum_over_hosts(self.step) != self.step * self._hosts.number:
            raise UserError(
                f"{self._folders.name}: this host begins at step {self.step} and another one does not; all hosts must "
                f"see the same checkpoints in {self._folders.checkpoints}"
            )
        chief = self._hosts.chief
        if chief and self.step:
            self._copy_logs(self._folders.checkpoints, self._folders.logs)  # a resumed run may have another folder
        self._history = TrainingHistory(self._folders.logs, first_step=self.step) if chief else None
        self._board = tf.summary.create_file_writer(self._folders.logs) if chief else tf.summary.create_noop_writer()
        self._bar = progress(
            total=self._num_steps,
            initial=self.step,
            desc=f"      {self._folders.name}",
            unit="step",
            mininterval=1.0,
            hidden=not chief,
        )
        self._stop.__enter__()
        return self

    def __exit__(self, error_type: type[BaseException] | None, error: BaseException | None, *more: object) -> None:
        self._stop.__exit__(error_type, error, *more)
        self._bar.close()
        self._board.close()
        if self._hosts.number > 1 and isinstance(error, LOST):
            raise UserError(
                f"{self._folders.name}: lost another of the {self._hosts.number} hosts at step {self.step}; "
                f"start all of them again to continue from the last checkpoint ({type(error).__name__})"
            ) from error
        if error is None and self._history:
            self._save()
            draw_curves(self._history.path, self._folders.name)

    def end_step(self, scalars: Mapping[str, tf.Tensor | float], images: tf.Tensor) -> list[dict[str, float]]:
        """Counts the step; every ten steps looks at their scalars; saves when it is time or the process was asked to
        stop, never behind a scalar that was not looked at.

        Args:
          scalars: by name, the same names at every step; values of this step, not variables that go on changing.
          images: string [B], the keys of the batch's images; may be a distributed value.

        Returns:
          The scalars that were looked at, of the oldest step first, with their "step"; mostly none.

        Raises:
          UserError: a scalar is NaN or infinite; names the step and the images of the batch. Nothing is saved.
          Preempted: SIGTERM or SIGINT came, to this or another host; the state was saved.
        """
        self._unread.append((self.step, scalars, images))
        self.step += 1
        self._bar.update()
        stopping = self._asked_to_stop()
        due = stopping or self.step % self._checkpoint_every == 0
        rows = self._read() if due or self.done or self.step % _LOG_EVERY == 0 else []
        if rows and self._history and (self.step % _LOG_EVERY == 0 or self.done):
            self._log(rows[-1])
        self.saved = self._hosts.chief and due
        if self.saved:
            self._save()
        if stopping:
            raise Preempted
        return rows

    def _read(self) -> list[dict[str, float]]:
        """The scalars of the steps since the last look."""
        rows = []
        for step, scalars, images in self._unread:
            values = {name: float(tf.convert_to_tensor(value)) for name, value in scalars.items()}
            if not np.isfinite(list(values.values())).all():
                names = ", ".join(key.decode() for key in gather(images).numpy())
                raise UserError(
                    f"{self._folders.name}: the loss became NaN or infinite at step {step} on images {names}; "
                    "lower learning_rate or set clip_norm (the last checkpoint is kept)"
                )
            rows.append({"step": step + 1, **values})
        self._unread.clear()
        return rows

    def _log(self, row: dict[str, float]) -> None:
        self._history.append(row)
        _, (name, value), *_ = row.items()
        self._bar.set_postfix({name: f"{value:.3f}"}, refresh=False)
        with self._board.as_default(step=self.step):
            for name, value in list(row.items())[1:]:
                tf.summary.scalar(name, value)

    def _save(self) -> None:
        self._copy_logs(self._folders.logs, self._folders.checkpoints)
        self._saved_step.assign(self.step)
        self._checkpoints.save(self.step)

    @staticmethod
    def _copy_logs(source: str, target: str) -> None:
        for name in (HISTORY, WARNINGS):
            if tf.io.gfile.exists(f"{source}/{name}"):
                tf.io.gfile.makedirs(target)
                tf.io.gfile.copy(f"{source}/{name}", f"{target}/{name}", overwrite=True)

    def _asked_to_stop(self) -> bool:
        """Whether this process was; with several hosts whether any of them was, agreed upon every few steps."""
        if self._hosts.number == 1:
            return self._stop.raised
        return self.step % _AGREE_EVERY == 0 and sum_over_hosts(self._stop.raised) > 0

    def show(self, panel: Panel, net: tf.keras.Model, batch: Batch) -> None:
        """Writes pictures of the network's predictions for the first images of the batch to TensorBoard."""
        batch = {name: first_replica(value)[:_PANEL_ROWS] for name, value in batch.items()}
        with self._board.as_default(step=self.step):
            pictures = panel(net(batch[keys.IMAGE], training=False), batch)
            tf.summary.image("predictions", pictures, max_outputs=_PANEL_ROWS)

    def warn(self, message: str) -> None:
        """Tells whoever watches, and keeps the message in warnings.txt beside the history."""
        if not self._history:
            return
        self._bar.write(f"      {self._folders.name}: {message}")
        with open(self._history.path.with_name(WARNINGS), "a") as file:
            file.write(message + "\n")
