"""What a backbone costs: parameters of its segmentation network, and milliseconds a 321 x 321 image, float32, alone."""

from __future__ import annotations

import time

import numpy as np

from benchmarks.rows import row

_SIZE, _TIMES = 321, 7


def rows() -> list[dict]:
    """Two a backbone. The median of a few passes: a pass takes from tens of milliseconds to a second on two cores."""
    import tensorflow as tf

    from trainer.config import NetworkConfig
    from trainer.models.backbones import BACKBONES
    from trainer.models.large_fov import build_segmentation
    from trainer.runtime import prepare

    image = np.random.default_rng(0).uniform(0, 255, (1, _SIZE, _SIZE, 3)).astype(np.float32)
    result = []
    for backbone in BACKBONES:
        prepare(NetworkConfig(backbone=backbone, weights=None, precision="float32", devices="one"))
        net = build_segmentation(backbone, 21, None, 0)
        answer = tf.function(lambda x, net=net: net(x, training=False))
        answer(image)
        seconds = []
        for _ in range(_TIMES):
            start = time.perf_counter()
            answer(image).numpy()
            seconds.append(time.perf_counter() - start)
        result.append(row(f"networks.parameters_m.{backbone}", net.count_params() / 1e6, "M"))
        result.append(row(f"networks.image_ms.{backbone}", 1000 * float(np.median(seconds)), "ms/image"))
    return result
