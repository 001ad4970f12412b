"""`python label_shard.py CAM L_NET FILE URI STORE [KEY]`: labels a shard; at the image KEY it hangs."""

import sys
import time
from functools import partial

from components.weak_labels.core.label_config import LabelConfig
from components.weak_labels.label_store import LabelStore
from components.weak_labels.shards import LabelShard
from components.weak_labels.transform import label_networks


def main(cam: str, l_net: str, file: str, uri: str, store: str, hanging: str = "") -> None:
    networks = label_networks(cam, l_net, LabelConfig(), max_pixels=10**6, threads=1)
    networks._finish = partial(finish, networks._finish, hanging)
    label = LabelShard(networks, uri, LabelStore(store, "recipe"))
    label.setup()
    print("ready", flush=True)
    sys.stdin.readline()
    list(label.process((file, [])))


def finish(real, hanging, sample, *more):
    if sample.key == hanging:
        print("hanging", flush=True)
        time.sleep(1800)
    return real(sample, *more)


if __name__ == "__main__":
    main(*sys.argv[1:])
