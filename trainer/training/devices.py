"""What must be set before a network is built: devices, precision, seeds, determinism."""

from __future__ import annotations

import functools

import tensorflow as tf

from trainer.config import NetworkConfig
from trainer.errors import UserError
from trainer.graphs import graph_function
from trainer.models.backbones import BACKBONES
from trainer.training.hosts import hosts, over_hosts

_XLA_PAYS = 1000  # updates; our choice, of 23 ms saved in each of MobileNetV2's (H200)


def resolve_precision(precision: str) -> str:
    """`auto` becomes mixed_float16 on GPUs, mixed_bfloat16 on CPUs with AMX or AVX-512 for it, else float32."""
    if precision != "auto":
        return precision
    if tf.config.list_physical_devices("GPU"):
        return "mixed_float16"
    return "mixed_bfloat16" if cpu_flags() & {"amx_bf16", "avx512_bf16"} else "float32"


def resolve_xla(network: NetworkConfig, num_steps: int) -> bool:
    """`auto` becomes True on GPUs, where XLA saves more in so many updates than the 20 seconds it compiles for."""
    if network.xla != "auto":
        return network.xla
    pays = BACKBONES[network.backbone].xla_pays and num_steps >= _XLA_PAYS
    return pays and bool(tf.config.list_physical_devices("GPU")) and _xla_compiles()


@functools.lru_cache
def _xla_compiles() -> bool:
    """Whether this machine has what XLA needs beside TensorFlow: CUDA's libdevice, for one."""
    try:
        graph_function(tf.exp, jit_compile=True)(tf.ones([8]))
    except tf.errors.OpError:
        return False
    return True


def cpu_flags() -> set[str]:
    """The first core's feature flags, e.g. "amx_bf16"; empty where Linux's /proc is not there."""
    try:
        with open("/proc/cpuinfo") as file:
            return next((set(line.split()) for line in file if line.startswith("flags")), set())
    except OSError:
        return set()


def prepare(network: NetworkConfig) -> tf.distribute.Strategy:
    """Sets the precision policy and every random state from the config; forgets networks built before.

    Returns:
      The strategy in whose scope to build and train: over all hosts that TF_CONFIG names, else over all GPUs here, else
      TensorFlow's default for one device. With several hosts nothing may have used TensorFlow in this process before.

    Raises:
      UserError: TF_CONFIG is wrong, or does not go with `devices: one`.
    """
    number = hosts().number
    if number > 1 and network.devices == "one":
        raise UserError(f"devices: one, but TF_CONFIG names {number} hosts; write devices: auto, or unset TF_CONFIG")
    strategy = over_hosts() if number > 1 else None
    tf.keras.backend.clear_session()
    tf.keras.mixed_precision.set_global_policy(resolve_precision(network.precision))
    tf.keras.utils.set_random_seed(network.seed + 1)  # our choice: weights and dropout begin from it
    tf.config.experimental.enable_op_determinism()
    if strategy:
        return strategy
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if network.devices == "one" or len(devices) == 1:
        return tf.distribute.get_strategy()
    return _mirrored(tuple(device.name for device in devices))


@functools.lru_cache
def _mirrored(devices: tuple[str, ...]) -> tf.distribute.MirroredStrategy:
    """One strategy a process: a second one would number its collective operations from 0 again, like the first."""
    return tf.distribute.MirroredStrategy(list(devices))
