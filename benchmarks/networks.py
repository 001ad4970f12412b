"""What a backbone costs: its segmentation network's parameters, and processor time of one 321 x 321 image in float32.

Processor time is that of all cores together, so that what else the machine does hardly counts.
"""

from __future__ import annotations

import time

import numpy as np

from benchmarks.rows import row

_SIZE, _TIMES = 321, 7


def rows() -> list[dict]:
    """Two a backbone; the least of a few passes."""
    from trainer.config import NetworkConfig
    from trainer.graphs import graph_function
    from trainer.models.backbones import BACKBONES
    from trainer.models.large_fov import build_segmentation
    from trainer.training.devices import prepare

    image = np.random.default_rng(0).uniform(0, 255, (1, _SIZE, _SIZE, 3)).astype(np.float32)
    result = []
    for backbone in BACKBONES:
        prepare(NetworkConfig(backbone=backbone, weights=None, precision="float32", devices="one"))
        net = build_segmentation(backbone, 21, None, 0)
        answer = graph_function(lambda x, net=net: net(x, training=False))
        answer(image)
        seconds = []
        for _ in range(_TIMES):
            start = time.process_time()
            answer(image).numpy()
            seconds.append(time.process_time() - start)
        result.append(row(f"networks.parameters_m.{backbone}", net.count_params() / 1e6, "M"))
        result.append(row(f"networks.image_core_ms.{backbone}", 1000 * min(seconds), "ms/image"))
    return result
