"""Which of several training hosts this process is, from TF_CONFIG: Vertex, Kubeflow's TFJob and others set it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

from trainer.errors import UserError


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
