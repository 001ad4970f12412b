"""Training speed: the loop and the whole training against the bare compiled step, precisions, the input pipeline.

Everything is set up as a training sets it up (`prepare`, real records, the real loader). On a GPU, sizes are the
paper's; on a CPU batches are small, because a step takes seconds.
"""

from __future__ import annotations

import tempfile

from benchmarks.process import in_process
from benchmarks.rows import row

SIZE = 321  # the paper's
CPU, GPU = {"vgg16": 1, "mobilenet_v2": 4}, {"vgg16": 30, "mobilenet_v2": 16}  # backbone: batch


def rows() -> list[dict]:
    machine = in_process("training_step", "machine")
    batches = GPU if machine["gpu"] else CPU
    half = "mixed_float16" if machine["gpu"] else "mixed_bfloat16"
    with tempfile.TemporaryDirectory() as folder:
        records = in_process("training_input", "write_records", folder)
        result, steps = [], {}
        for backbone, batch in batches.items():
            for precision in ("float32", half):
                steps[backbone, precision] = _step(backbone, batch, precision)
            if machine["gpu"]:
                steps[backbone, "xla"] = _step(backbone, batch, half, True)
            result += _step_rows(backbone, batch, half, steps, machine)
        best = "xla" if machine["gpu"] else machine["auto"]  # what a long training runs by itself
        result += _input_rows(records, batch, steps[backbone, best])  # the quicker network needs more
        for backbone, batch in batches.items():
            result.append(_end_to_end(backbone, batch, records))
    return result


def _step(backbone: str, batch: int, *how: object) -> dict:
    return in_process("training_step", "measure_step", backbone, SIZE, batch, *how)


def _step_rows(backbone: str, batch: int, half: str, steps: dict, machine: dict) -> list[dict]:
    plain, fast = steps[backbone, "float32"], steps[backbone, half]
    result = []
    for precision, found in (("float32", plain), (half, fast)):
        name = f"{backbone}.{precision}"
        result.append(row(f"train.step_ms.{name}", 1000 * found["step_s"] / batch, "ms/image"))
        result.append(row(f"train.peak_mb.{name}", found["peak_mb"], "MB", note=found["memory"]))
        peak = in_process("training_step", "measure_peak", precision)
        rate = found["flop"] / found["step_s"] / 1e12
        result.append(row(f"train.tflops.{name}", rate, "TFLOP/s", peak, rate / peak, note="beside a square product's"))
    loop = plain["loop_s"] / plain["step_s"]
    result.append(
        row(f"train.loop_overhead.{backbone}", plain["loop_s"], "s", plain["step_s"], loop, 1.03, loop <= 1.03)
    )
    # Without AMX a CPU has no fast bfloat16 product: the target is only asked of those that do.
    speedup = plain["step_s"] / fast["step_s"]
    judged = (1.6, speedup >= 1.6) if backbone == "vgg16" and (machine["amx"] or machine["gpu"]) else ()
    name = f"train.{half.removeprefix('mixed_').replace('bfloat', 'bf').replace('float', 'fp')}_speedup.{backbone}"
    result.append(row(name, fast["step_s"], "s", plain["step_s"], speedup, *judged))
    name = f"train.xla_speedup.{backbone}"
    if machine["gpu"]:
        xla = steps[backbone, "xla"]
        result.append(row(name, xla["step_s"], "s", fast["step_s"], fast["step_s"] / xla["step_s"]))
    else:
        result.append(row(name, None, "s", note="XLA's convolutions for CPUs are plain loops: minutes a step"))
    return result


def _input_rows(records: str, batch: int, step: dict) -> list[dict]:
    """The input alone, with and without op determinism in turns; what a step needs of it."""
    rates: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(3):
        for deterministic, found in rates.items():
            found.append(in_process("training_input", "measure_batches", records, SIZE, batch, deterministic))
    rate, free = max(rates[True]), max(rates[False])
    needed, kept = batch / step["step_s"], rate / free
    return [
        row("train.input_headroom", rate, "images/s", needed, rate / needed, 2.0, rate >= 2 * needed),
        row("train.input_determinism", rate, "images/s", free, kept, 0.9, kept >= 0.9),
    ]


def _end_to_end(backbone: str, batch: int, records: str) -> dict:
    """A whole training over the slower of its parts, in turns; on a CPU both parts share the cores."""
    whole, slower = [], []
    for _ in range(2):
        whole.append(in_process("training_step", "measure_training", backbone, SIZE, batch, records))
        step = _step(backbone, batch, "auto", "auto")
        alone = in_process("training_input", "measure_batches", records, SIZE, batch, True)
        slower.append(min(batch / step["step_s"], alone))
    value, reference = max(whole), max(slower)
    ratio = value / reference
    return row(f"train.end_to_end.{backbone}", value, "images/s", reference, ratio, 0.95, ratio >= 0.95)
