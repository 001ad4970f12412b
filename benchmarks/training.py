"""Training speed: the loop against the bare compiled step, bfloat16 against float32, the input pipeline alone.

All on fake data: one random batch, the same for the loop and for the bare step. Peak memory is the process's.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.rows import row

_STEPS = 20  # two of the loop's looks at its scalars
_NETWORKS = {"vgg16": (321, 1), "mobilenet_v2": (321, 4)}  # backbone: image size, batch


def rows() -> list[dict]:
    """One process per network and precision, so that peak memory and thread pools do not mix."""
    result = []
    for backbone, (size, batch) in _NETWORKS.items():
        measured = {
            precision: _in_process("measure_step", backbone, size, batch, precision)
            for precision in ("float32", "mixed_bfloat16")
        }
        plain, half = measured["float32"], measured["mixed_bfloat16"]
        for precision, found in measured.items():
            name = f"{backbone}.{precision}"
            result.append(row(f"train.step_ms.{name}", 1000 * found["step_s"] / batch, "ms/image"))
            result.append(row(f"train.peak_rss_mb.{name}", found["peak_mb"], "MB"))
        overhead = plain["loop_s"] / plain["step_s"]
        name = f"train.loop_overhead.{backbone}"
        result.append(row(name, plain["loop_s"], "s", plain["step_s"], overhead, 1.03, overhead <= 1.03))
        # Without AMX a CPU has no fast bfloat16 product: the target is only asked of those that do.
        speedup = plain["step_s"] / half["step_s"]
        judged = (1.6, speedup >= 1.6) if backbone == "vgg16" and plain["amx"] else ()
        result.append(row(f"train.bf16_speedup.{backbone}", half["step_s"], "s", plain["step_s"], speedup, *judged))
        if backbone == "mobilenet_v2":
            if plain["gpu"]:  # XLA's convolutions for CPUs are plain loops: minutes a step
                xla = _in_process("measure_step", backbone, size, batch, "float32", True)
                name = f"train.xla_speedup.{backbone}"
                result.append(row(name, xla["step_s"], "s", plain["step_s"], plain["step_s"] / xla["step_s"]))
            found = _in_process("measure_input", size, batch)
            rate, free, needed = found["images_per_s"], found["without_determinism"], batch / plain["step_s"]
            result.append(row("train.input_headroom", rate, "images/s", needed, rate / needed, 2.0, rate >= 2 * needed))
            name, kept = "train.input_determinism", rate / free
            result.append(row(name, rate, "images/s", free, kept, 0.9, kept >= 0.9))
    return result


def measure_step(backbone: str, size: int, batch: int, precision: str, xla: bool = False) -> dict[str, float]:
    """Seconds of the bare compiled step and of the whole loop on the same batch, interleaved; peak memory in MB."""
    import resource

    import numpy as np
    import tensorflow as tf

    from trainer.config import NetworkConfig, StageConfig
    from trainer.loop import make_train_step
    from trainer.losses import segmentation_loss
    from trainer.models.large_fov import build_segmentation
    from trainer.optimizers import make_optimizer
    from trainer.runtime import cpu_flags, prepare
    from trainer.session import RunFolders, Session

    prepare(NetworkConfig(backbone=backbone, weights=None, image_size=size, precision=precision, xla=xla))
    net = build_segmentation(backbone, 21, None, 0)
    stage = StageConfig(batch_size=batch, learning_rate=1e-6)
    rng = np.random.default_rng(0)
    fake = {
        "image": tf.constant(rng.uniform(0, 255, (batch, size, size, 3)).astype(np.float32)),
        "labels": tf.constant(rng.integers(0, 21, (batch, size, size)).astype(np.uint8)),
        "key": tf.constant(["fake"] * batch),
    }
    optimizer = make_optimizer(net, stage, 10_000)
    step = make_train_step(net, lambda logits, b: segmentation_loss(logits, b["labels"]), optimizer, xla=xla)
    step(fake)
    bare, loop = [], []
    with tempfile.TemporaryDirectory() as folder:
        folders = RunFolders("fake", f"{folder}/logs", f"{folder}/checkpoints")
        with Session(folders, 10_000, 10_000, net=net, optimizer=optimizer) as session:
            for _ in range(_STEPS):  # alternately, so that a busy moment hits both
                start = time.perf_counter()
                loss, _ = step(fake)
                float(loss)
                bare.append(time.perf_counter() - start)
                start = time.perf_counter()
                loss, norm = step(fake)
                rate = tf.identity(optimizer.learning_rate)
                scalars = {"loss": loss, "gradient_norm": norm, "learning_rate": rate}
                session.end_step(scalars, fake["key"])
                loop.append(time.perf_counter() - start)
    return {
        "step_s": float(np.mean(bare)),  # the loop does not do the same at every step
        "loop_s": float(np.mean(loop)),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "amx": "amx_bf16" in cpu_flags(),
        "gpu": bool(tf.config.list_physical_devices("GPU")),
    }


def measure_input(size: int, batch: int) -> dict[str, float]:
    """Images per second of the input pipeline alone, as training sets it up and without op determinism, in turns.

    On 256 JPEGs of 500 x 375, of noise-free texture.
    """
    import cv2
    import numpy as np
    import tensorflow as tf

    from trainer import features

    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "fake.gz")
        with tf.io.TFRecordWriter(path, "GZIP") as writer:
            for index in range(256):
                image = cv2.resize(rng.integers(0, 255, (25, 33, 3)).astype(np.uint8), (500, 375))
                mask = cv2.resize(
                    rng.integers(0, 21, (6, 8)).astype(np.uint8), (500, 375), interpolation=cv2.INTER_NEAREST
                )
                encoded = [cv2.imencode(suffix, a)[1].tobytes() for suffix, a in ((".jpg", image), (".png", mask))]
                writer.write(
                    features.make_example(f"{index}", encoded[0], 375, 500, [1], encoded[1]).SerializeToString()
                )
        rates: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(3):
            for deterministic, found in rates.items():
                found.append(_in_process("measure_batches", path, size, batch, deterministic)["images_per_s"])
    return {"images_per_s": max(rates[True]), "without_determinism": max(rates[False])}


def measure_batches(path: str, size: int, batch: int, deterministic: bool) -> dict[str, float]:
    """Images per second of the batches of one file of records."""
    from trainer.config import NetworkConfig
    from trainer.input_pipeline import training_batches
    from trainer.runtime import prepare

    prepare(NetworkConfig(backbone="tiny", weights=None, image_size=size, xla=not deterministic))
    batches = training_batches(
        [path], num_categories=20, image_size=size, batch_size=batch, seed=0, scale=(0.8, 1.4), colour_jitter=0.2
    )
    iterator = iter(batches)
    for _ in range(4):
        next(iterator)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < 5:
        next(iterator)
        count += batch
    return {"images_per_s": count / (time.perf_counter() - start)}


def _in_process(function: str, *arguments: object) -> dict[str, float]:
    code = f"import json; from benchmarks.training import {function} as f; print(json.dumps(f(*{arguments!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])
