"""Benchmarks are not run by the tests; that they can be run is checked here."""

import importlib
import re
from pathlib import Path

import pytest

from benchmarks.__main__ import GROUPS

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize("module", [module for modules in GROUPS.values() for module in modules])
def test_every_benchmark_has_rows(module):
    assert callable(importlib.import_module(module).rows)


def test_every_module_that_is_started_as_a_process_does_something_then():
    texts = [path.read_text() for path in FOLDER.rglob("*.py")]
    started = {name for text in texts for name in re.findall(r'"-m", "benchmarks\.(\w+)"', text)}
    assert started
    for name in started:
        assert 'if __name__ == "__main__":' in (FOLDER / f"{name}.py").read_text(), name
