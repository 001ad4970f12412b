"""Benchmarks are not run by the tests; that they can be run is checked here."""

import importlib
import json
import re
from pathlib import Path

import pytest

from benchmarks.__main__ import GROUPS
from benchmarks.scale import __main__ as scale
from benchmarks.scale.page import SIZES, page, work

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


def test_the_scale_page_is_what_its_script_makes_of_the_measured_figures():
    measured = json.loads(scale.MEASURED.read_text())
    epochs = scale.epochs_of(scale.CONFIG)
    text = page(measured, epochs)
    assert (scale.ROOT / scale.PAGE).read_text() == text, "run python -m benchmarks.scale page"
    [ten_thousand, _, hundred_million] = [
        work(n, measured, scale.epochs_of(scale.CONFIG), 0.04, 64, 0.75) for n in SIZES
    ]
    assert hundred_million["join"] == pytest.approx(1e4 * ten_thousand["join"])
    assert ten_thousand["increment_hours"] < ten_thousand["beam_hours"]
    by_hand = (7500 * measured["seconds"]["weak_labels"] + 20_000 * measured["seconds"]["examples"]) / 3600
    by_hand += 10_000 * measured["seconds"]["evaluator"] / 3600
    assert ten_thousand["beam_hours"] == pytest.approx(by_hand * measured["cores"])
