"""One update of DeepLab-LargeFOV: the bare compiled step, the loop around it, and a whole training."""

from __future__ import annotations

import tempfile
import time
from typing import Literal
from unittest import mock

import numpy as np
import tensorflow as tf

from benchmarks.process import peak_memory_mb
from trainer.config import NetworkConfig, StageConfig
from trainer.data.categories import named_split
from trainer.graphs import graph_function
from trainer.losses import segmentation_loss
from trainer.models.large_fov import build_segmentation
from trainer.training.devices import cpu_flags, prepare, resolve_precision, resolve_xla
from trainer.training.loop import make_train_step
from trainer.training.optimizers import make_optimizer
from trainer.training.session import RunFolders, Session
from trainer.training.stages import SEGMENTATION, train

ROUNDS = {True: 20, False: 2}  # of ten steps, on a GPU and on a CPU
TRAINING = {True: (1020, 20), False: (40, 20)}  # steps and those not counted; on a GPU long enough for XLA
PEAK_SIDE = {True: 8192, False: 2048}  # of the square product, on a GPU and on a CPU


def machine() -> dict:
    return {
        "gpu": bool(tf.config.list_physical_devices("GPU")),
        "amx": "amx_bf16" in cpu_flags(),
        "auto": resolve_precision("auto"),
    }


def measure_step(backbone: str, size: int, batch: int, precision: str, xla: bool | Literal["auto"] = False) -> dict:
    """Of one random batch: seconds of the bare compiled step and of the whole loop, in turns; peak memory; FLOP.

    With `xla` "auto" as `measure_training` has it.
    """
    network = NetworkConfig(backbone=backbone, weights=None, image_size=size, precision=precision, xla=xla)
    gpu = bool(tf.config.list_physical_devices("GPU"))
    xla = resolve_xla(network, TRAINING[gpu][0])
    prepare(network)
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
    loss, norm = step(fake)
    bare, loop = [], []
    with tempfile.TemporaryDirectory() as folder:
        folders = RunFolders("fake", f"{folder}/logs", f"{folder}/checkpoints")
        with Session(folders, 10_000, 10_000, net=net, optimizer=optimizer) as session:

            def end_step() -> None:
                rate = tf.identity(optimizer.learning_rate)
                session.end_step({"loss": loss, "gradient_norm": norm, "learning_rate": rate}, fake["key"])

            for _ in range(10):  # up to the first look at the scalars, which takes a third of a second on a GPU
                end_step()
            for _ in range(ROUNDS[gpu]):  # in turns, so that a busy moment hits both
                start = time.perf_counter()
                for _ in range(10):
                    loss, _ = step(fake)
                float(loss)
                bare.append(time.perf_counter() - start)
                start = time.perf_counter()
                for _ in range(10):
                    loss, norm = step(fake)
                    end_step()
                loop.append(time.perf_counter() - start)
    found = {"step_s": float(np.mean(bare)) / 10, "loop_s": float(np.mean(loop)) / 10}
    return found | _peak_memory() | {"flop": 3 * batch * _forward_flop(net, size)}  # backward twice the forward pass


def _peak_memory() -> dict:
    if tf.config.list_physical_devices("GPU"):
        return {"peak_mb": tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20, "memory": "the GPU's"}
    return {"peak_mb": peak_memory_mb(), "memory": "the process's"}


def _forward_flop(net: tf.keras.Model, size: int) -> float:
    """Floating-point operations of an image's forward pass, as TensorFlow's profiler counts them."""
    graph = graph_function(lambda image: net(image, training=False)).get_concrete_function(
        tf.TensorSpec([1, size, size, 3], tf.float32)
    )
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    return tf.compat.v1.profiler.profile(graph.graph, options=options).total_float_ops


def measure_peak(precision: str) -> float:
    """TFLOP/s of a product of two square matrices, the most this machine's own library reaches."""
    side = PEAK_SIDE[bool(tf.config.list_physical_devices("GPU"))]
    kind = tf.as_dtype(precision.removeprefix("mixed_"))
    a = tf.cast(tf.random.uniform([side, side]), kind)
    product = graph_function(lambda a: tf.reduce_max(tf.matmul(a, a)))
    product(a).numpy()
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        product(a).numpy()
        seconds.append(time.perf_counter() - start)
    return 2 * side**3 / min(seconds) / 1e12


def measure_training(backbone: str, size: int, batch: int, records: str) -> float:
    """Images per second of the segmentation stage behind its first twenty steps, with checkpoints as usual."""
    steps, skipped = TRAINING[bool(tf.config.list_physical_devices("GPU"))]
    network = NetworkConfig(backbone=backbone, weights=None, image_size=size)
    stage = StageConfig(steps=steps, batch_size=batch, learning_rate=1e-6, scale=(0.8, 1.4), colour_jitter=0.2)
    times, end_step = [], Session.end_step

    def timed(self: Session, *arguments: object) -> list:
        rows = end_step(self, *arguments)
        times.append(time.perf_counter())
        return rows

    with tempfile.TemporaryDirectory() as folder, mock.patch.object(Session, "end_step", timed):
        folders = RunFolders("bench", f"{folder}/logs", f"{folder}/checkpoints")
        train(SEGMENTATION, [records], named_split("voc-split-1"), network, stage, folders)
    return batch * (steps - skipped) / (times[-1] - times[skipped - 1])
