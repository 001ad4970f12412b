"""Peak memory is a process's own."""

import subprocess
import sys

import numpy as np

from benchmarks.process import peak_memory_mb

PROGRAM = "from benchmarks.process import peak_memory_mb; print(peak_memory_mb())"


def test_what_the_parent_held_does_not_count():
    held = np.ones(100 * 2**20, np.uint8)
    own = float(subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout)
    assert 5 < own < 60 and held.all()


def test_a_process_by_its_number():
    program = [sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert 1 < peak_memory_mb(process.pid) < 60 < peak_memory_mb()
        process.stdin.close()
