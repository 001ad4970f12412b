"""The benchmarks at a size that says nothing of speed: they run, and give the rows they promise."""

import importlib
import json
import re
import sys
from pathlib import Path

import cv2
import pytest
import yaml

from benchmarks import (
    commands,
    labels_beam,
    labels_core,
    labels_whole,
    pipeline_run,
    serving,
    training,
    training_input,
    training_step,
)
from benchmarks.__main__ import GROUPS, main
from benchmarks.quality.labels import label_rows
from benchmarks.scale import __main__ as scale
from benchmarks.scale.page import SIZES, page, work
from pipeline.demo.demo_data import draw_demo_dataset
from trainer.data.categories import Categories
from trainer.models.large_fov import build_segmentation

sys.path.insert(0, str(Path(__file__).parent / "components"))
sys.path.insert(0, str(Path(__file__).parent / "pipeline"))

from test_label_calibration import scene
from tiny_config import tiny_values

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
    assert hundred_million["count"] == pytest.approx(1e4 * ten_thousand["count"])
    assert ten_thousand["increment_hours"] < ten_thousand["beam_hours"]
    by_hand = (7500 * measured["seconds"]["weak_labels"] + 20_000 * measured["seconds"]["examples"]) / 3600
    by_hand += 10_000 * measured["seconds"]["evaluator"] / 3600
    assert ten_thousand["beam_hours"] == pytest.approx(by_hand * measured["cores"])


def test_the_published_variants_of_weak_labels_are_those_that_are_made():
    published = json.loads((FOLDER.parent / "docs/results/weak_labels.json").read_text())
    categories = Categories(("a", "b", "c", "d", "e"), ("a", "c", "d"))
    made = label_rows([scene(0)], [scene(1)], categories)
    assert {row["variant"] for row in made} == {row["variant"] for row in published}


@pytest.fixture
def here(monkeypatch):
    """Benchmarks' child processes run in this one."""
    monkeypatch.delenv("TRANSFERSEG_DATA", raising=False)

    def call(module, function, *arguments):
        return getattr(importlib.import_module(f"benchmarks.{module}"), function)(*arguments)

    monkeypatch.setattr(training, "in_process", call)


@pytest.mark.soak
def test_the_training_rows_at_a_tiny_size(here, monkeypatch):
    monkeypatch.setattr(training, "SIZE", 65)
    monkeypatch.setattr(training, "CPU", {"tiny": 2})
    monkeypatch.setattr(training_step, "PEAK_SIDE", {False: 64})
    monkeypatch.setattr(training_input, "SECONDS", 0.1)
    monkeypatch.setattr(training_input, "IMAGES", 8)
    found = {row["name"]: row for row in training.rows()}
    for name in ("loop_overhead.tiny", "bf16_speedup.tiny", "end_to_end.tiny", "tflops.tiny.float32"):
        assert found[f"train.{name}"]["ratio"] > 0, name
    assert found["train.input_headroom"]["value"] > 0 and found["train.xla_speedup.tiny"]["note"]


@pytest.mark.slow
def test_the_label_rows_at_a_tiny_size(here, tmp_path):
    found = {row["name"]: row for row in labels_core._measure(repeats=1)}
    assert found["labels.core_ms"]["value"] > 0 and found["labels.vs_random_walker"]["ratio"] > 0
    labels_beam._prepare(str(tmp_path), "tiny", 65)
    labels_beam.write_inputs(tmp_path, 4)
    for how in ("loop", "one"):
        labels_beam._label(how, str(tmp_path), 4, str(tmp_path / how))
    [loop, one] = [sorted((tmp_path / how).glob("*.png")) for how in ("loop", "one")]
    assert len(loop) == len(one) == 4
    for mask, same in zip(loop, one, strict=True):
        assert (cv2.imread(str(mask), cv2.IMREAD_UNCHANGED) == cv2.imread(str(same), cv2.IMREAD_UNCHANGED)).all()


@pytest.mark.soak
def test_the_serving_rows_at_a_tiny_size(here, monkeypatch):
    for name, value in {"IMAGE_SIZE": 65, "IMAGES": 2, "CALLS": 2, "SECONDS": 0.4, "CONCURRENCY": 2}.items():
        monkeypatch.setattr(serving, name, value)
    monkeypatch.setattr(serving, "build_segmentation", lambda _, *arguments: build_segmentation("tiny", *arguments))
    assert all(row["value"] > 0 for row in serving.rows())


@pytest.mark.soak
def test_the_commands_rows_at_a_tiny_size(monkeypatch):
    for name, value in {"PICTURES": 12, "VAL": 4, "MASKS": 2}.items():
        monkeypatch.setattr(commands, name, value)
    found = {row["name"]: row["value"] for row in commands.rows()}
    assert {"commands.query_s", "commands.evaluate_2_s", "commands.validate_12_s"} <= set(found)
    assert all(value > 0 for value in found.values())


@pytest.mark.soak
def test_the_whole_labelling_rows_at_a_tiny_size(monkeypatch):
    monkeypatch.setattr(labels_whole, "IMAGES", 10)
    monkeypatch.setattr(labels_whole, "SETTINGS", {"tiny_65": ("tiny", 65)})
    [found] = labels_whole.rows()
    assert found["name"] == "labels.images_per_s.tiny_65" and found["value"] > 0 and "MB" in found["note"]


@pytest.mark.soak
def test_the_pipeline_rows_at_a_tiny_size(monkeypatch, tmp_path):
    root = draw_demo_dataset(tmp_path / "data", train=24, val=8, sides=(64, 96), progress=False)
    stage = {"steps": 1, "batch_size": 2}
    values = tiny_values(root) | dict.fromkeys(("cam", "l_net", "segmentation"), stage)
    values |= {"p_net": stage | {"pretrain_epochs": 1}, "gate": {"min_miou": 0.0, "min_weak_miou": 0.0}}
    values |= {"label_gate": {"min_foreground_share": 0.0, "max_foreground_share": 1.0, "max_void_share": 1.0}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.setattr(pipeline_run, "COMMAND", ["run", str(tmp_path / "config.yaml")])
    [overhead, cached] = pipeline_run.rows()
    assert overhead["value"] > 0 and overhead["reference"] > 10
    assert cached["note"] is None and cached["value"] < overhead["reference"]


def test_a_benchmark_that_fails_is_a_row_that_says_why(monkeypatch, tmp_path):
    monkeypatch.setattr("benchmarks.__main__.RESULT", tmp_path / "bench.json")
    monkeypatch.setattr(training, "rows", lambda: 1 / 0)
    with pytest.raises(SystemExit) as ended:
        main("train")
    [row] = json.loads((tmp_path / "bench.json").read_text())
    assert ended.value.code == 1 and row["ok"] is False and "division" in row["note"]
