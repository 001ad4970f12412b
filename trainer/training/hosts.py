"""Several training hosts: which of them this process is, and what they do together.

The environment variable TF_CONFIG names them, as Vertex, Kubeflow's TFJob and others set it.
"""

from __future__ import annotations

import functools
import json
import os
from dataclasses import dataclass

import tensorflow as tf

from trainer.errors import UserError

# What TensorFlow raises when another host does not answer, by where it noticed.
LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.UnknownError,
)


@dataclass(frozen=True)
class Hosts:
    """How many hosts train together, and the number of this one. The chief, host 0, writes; the others only compute."""

    number: int = 1
    index: int = 0

    @property
    def chief(self) -> bool:
        return self.index == 0


def hosts() -> Hosts:
    """This process's place.

    Raises:
      UserError: TF_CONFIG is not {"cluster": {"worker": [host:port, ...]}, "task": {"type": "worker", "index": 0}},
        where the first worker may also be called "chief".
    """
    text = os.environ.get("TF_CONFIG")
    if not text:
        return Hosts()
    try:
        config = json.loads(text)
        if not config.get("cluster"):
            return Hosts()
        cluster, task = config["cluster"], config["task"]
        names = [(kind, i) for kind in ("chief", "worker") for i in range(len(cluster.get(kind, [])))]
        return Hosts(len(names), names.index((task["type"], int(task["index"]))))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"TF_CONFIG={text}: cannot find this process among the workers; write "
            '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'
        ) from None


@functools.lru_cache
def over_hosts() -> tf.distribute.MultiWorkerMirroredStrategy:
    """The strategy over all hosts, one a process; it connects to the other hosts and waits until all are there.

    Raises:
      UserError: TensorFlow was used in this process before, a host cannot be reached, or a port is taken.
    """
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        raise UserError(
            f"TF_CONFIG names {hosts().number} hosts, but this process has used TensorFlow before ({error}); "
            "train in a process of its own, or unset TF_CONFIG"
        ) from None
    except tf.errors.OpError as error:
        raise UserError(
            f"TF_CONFIG: the {hosts().number} hosts did not come together, or this one's port is taken "
            f"({error.message.splitlines()[0]}); start all of them again on free ports"
        ) from None


def barrier() -> None:
    """Waits until every host is here; raises one of `LOST` if one is lost."""
    sum_over_hosts(0.0)


def sum_over_hosts(value: float) -> float:
    """The sum of all hosts' values, which all of them must ask for; raises one of `LOST` if a host is lost."""
    if hosts().number == 1:
        return value
    with over_hosts().scope():
        return float(over_hosts().reduce(tf.distribute.ReduceOp.SUM, tf.constant(value, tf.float32), axis=None))
