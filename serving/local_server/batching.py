"""Batching across requests: what queues up while the model is busy goes through it together."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from serving.local_server.models import Servable
from serving.local_server.status import Code, ServingError, from_tensorflow, invalid


@dataclass(eq=False)
class _Task:
    servable: Servable
    signature: str
    name: str
    values: np.ndarray  # bytes objects [B]
    future: Future = field(default_factory=Future)

    def fits(self, other: _Task) -> bool:
        return self.servable is other.servable and self.signature == other.signature


class Batcher:
    """A bounded queue in front of the model. Nobody waits for company: batches are made of what came while it was busy.

    Args:
      max_batch_size: images in one call of the model; also the most one request may hold, as in TF Serving.
      max_queue: requests that may wait; more are refused.
      workers: calls of the model at the same time; 2 let one decode while the other computes.
      observe: called with the size of each batch.
    """

    def __init__(self, max_batch_size: int, max_queue: int, workers: int, observe: Callable[[int], None]):
        self.max_batch_size = max_batch_size
        self._max_queue = max_queue
        self._observe = observe
        self._queue: deque[_Task] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._workers = [threading.Thread(target=self._work, daemon=True, name=f"batch-{i}") for i in range(workers)]
        for worker in self._workers:
            worker.start()

    def submit(self, servable: Servable, signature: str, name: str, values: np.ndarray) -> Future:
        """Queues one request; the future gives outputs by name, a row per value. It can be cancelled until it runs.

        Raises:
          ServingError: INVALID_ARGUMENT for an empty or too large batch, UNAVAILABLE when the queue is full or closed.
        """
        if not 1 <= len(values) <= self.max_batch_size:
            raise invalid(f"{name}: a batch of {len(values)}; send 1 to {self.max_batch_size}")
        task = _Task(servable, signature, name, values)
        with self._changed:
            if self._closed:
                raise ServingError(Code.UNAVAILABLE, "the server is shutting down")
            self._queue = deque(waiting for waiting in self._queue if not waiting.future.cancelled())
            if len(self._queue) >= self._max_queue:
                raise ServingError(Code.UNAVAILABLE, f"the queue is full ({self._max_queue} requests); try again")
            self._queue.append(task)
            self._changed.notify_all()
        return task.future

    def waiting(self) -> int:
        return len(self._queue)

    def close(self, grace_seconds: float | None = None) -> None:
        """Finishes what is queued, then stops; waits for each call of the model no longer than the grace."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for worker in self._workers:
            worker.join(grace_seconds)

    def _work(self) -> None:
        while tasks := self._take():
            live = [task for task in tasks if task.future.set_running_or_notify_cancel()]
            if live:
                self._observe(sum(len(task.values) for task in live))
                _answer(live)

    def _take(self) -> list[_Task]:
        """Waits for a task and takes those that fit with it, in order; empty when closed and done."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed)
            if not self._queue:
                return []
            tasks = [self._queue.popleft()]
            room = self.max_batch_size - len(tasks[0].values)
            for task in list(self._queue):
                if task.fits(tasks[0]) and len(task.values) <= room:
                    self._queue.remove(task)
                    tasks.append(task)
                    room -= len(task.values)
            return tasks


def _answer(tasks: list[_Task]) -> None:
    """Runs tasks as one batch. One bad input fails the call, so then each task runs alone and fails alone."""
    first = tasks[0]
    try:
        values = np.concatenate([task.values for task in tasks])
        outputs = first.servable.run(first.signature, {first.name: values})
    except Exception as error:  # a worker thread must live on; the caller gets the error
        if len(tasks) == 1:
            first.future.set_exception(_for_caller(first, error))
        else:
            for task in tasks:
                _answer([task])
        return
    start = 0
    for task in tasks:
        end = start + len(task.values)
        task.future.set_result({name: rows[start:end] for name, rows in outputs.items()})
        start = end


def _for_caller(task: _Task, error: Exception) -> Exception:
    if isinstance(error, tf.errors.OpError):
        return from_tensorflow(error)
    if isinstance(error, UnicodeDecodeError):  # TensorFlow's reason quotes the bytes
        return invalid(f"{task.name}: the model refuses it, for a reason that holds bytes that are no text")
    return error
