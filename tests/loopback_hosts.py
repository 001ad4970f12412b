"""Two training hosts that meet over loopback, as hosts do over a network."""

import json
import socket


def two_hosts() -> list[dict[str, str]]:
    """The environment of each: TF_CONFIG, with ports that were free just now."""
    with socket.create_server(("localhost", 0)) as one, socket.create_server(("localhost", 0)) as two:
        cluster = {"worker": [f"localhost:{server.getsockname()[1]}" for server in (one, two)]}
    tasks = [{"cluster": cluster, "task": {"type": "worker", "index": index}} for index in range(2)]
    return [{"TF_CONFIG": json.dumps(task)} for task in tasks]
