import pytest
import tensorflow as tf
from tensorflow.python.framework import config

from trainer.config import NetworkConfig
from trainer.training import devices as runtime


@pytest.mark.parametrize(
    ("gpus", "flags", "expected"),
    [
        (["gpu"], set(), "mixed_float16"),
        ([], {"avx512f", "amx_bf16"}, "mixed_bfloat16"),
        ([], {"avx512f"}, "float32"),
    ],
)
def test_auto_precision_follows_the_machine(monkeypatch, gpus, flags, expected):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    monkeypatch.setattr(runtime, "cpu_flags", lambda: flags)
    assert runtime.resolve_precision("auto") == expected


def test_a_chosen_precision_is_kept():
    assert runtime.resolve_precision("float32") == "float32"


def test_prepare_repeats_every_random_number():
    draws = []
    for _ in range(2):
        runtime.prepare(NetworkConfig(backbone="tiny", weights=None, image_size=33, precision="float32"))
        draws.append(tf.random.normal([4]).numpy().tolist())
    assert draws[0] == draws[1]
    assert tf.keras.mixed_precision.global_policy().name == "float32"


@pytest.mark.parametrize("xla", [True, False, "auto"])
def test_everything_is_deterministic(xla):
    config.disable_op_determinism()
    runtime.prepare(NetworkConfig(backbone="tiny", weights=None, image_size=33, precision="float32", xla=xla))
    assert config.is_op_determinism_enabled()


def test_xla_is_for_long_stages_of_many_small_operations_on_a_gpu(monkeypatch):
    def resolved(xla, num_steps, backbone="mobilenet_v2"):
        return runtime.resolve_xla(NetworkConfig(backbone=backbone, weights=None, image_size=33, xla=xla), num_steps)

    assert resolved(True, 1) and not resolved(False, 10_000)
    assert not resolved("auto", 10_000)  # no GPU here
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind])
    assert resolved("auto", 1000) and not resolved("auto", 999)
    assert not resolved("auto", 10_000, "vgg16") and resolved(True, 1, "vgg16")
