"""What Prometheus gets of a run: the file and the push."""

import errno
import json
import os
import re
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from tfx.types import standard_artifacts

from pipeline.cli import cli
from pipeline.config.run_config import make_config
from pipeline.demo.demo_data import draw_demo_dataset
from pipeline.demo.demo_run import demo_config
from pipeline.execution.local_runner import ComponentRun
from pipeline.report.summary import RunSummary
from pipeline.run.local_run import run_local
from pipeline.run.plan import Rates
from pipeline.run.prometheus import publish, run_metrics
from trainer.errors import UserError


def artifact(kind, folder):
    folder.mkdir()
    made = kind()
    made.uri = str(folder)
    return [made]


def write_lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.fixture
def components(tmp_path):
    examples = artifact(standard_artifacts.Examples, tmp_path / "examples")
    labels = artifact(standard_artifacts.Examples, tmp_path / "labels")
    run = artifact(standard_artifacts.ModelRun, tmp_path / "run")
    (tmp_path / "examples/summary.json").write_text(json.dumps({"splits": {"strong": 7, "weak": 10, "eval": 12}}))
    write_lines(tmp_path / "examples/rejected.jsonl", [{"key": "a", "stage": "mask", "reason": "odd"}])
    (tmp_path / "labels/summary.json").write_text(json.dumps({"labelled": 8}))
    dead = [{"key": "x", "stage": stage, "reason": "odd"} for stage in ("read", "network", "network")]
    write_lines(tmp_path / "labels/dead_letters.jsonl", dead)
    (tmp_path / "run/history.csv").write_text("step,loss\n10,1.5\n20,0.5\n")
    return [
        ComponentRun("examples", 3.2, outputs={"examples": examples}),
        ComponentRun("cam", 12.5, cached=True, outputs={"model_run": run}),
        ComponentRun("weak_labels", 7.0, outputs={"examples": labels}),
        ComponentRun("label_gate", 0.1, error=ValueError("too bad")),
    ]


def read(text):
    families = text_string_to_metric_families(text)
    samples = [sample for family in families for sample in family.samples]
    assert {sample.labels["pipeline"] for sample in samples} == {"pets"}
    return {
        (s.name.removeprefix("transferseg_"), *(v for k, v in s.labels.items() if k != "pipeline")): s.value
        for s in samples
    }


def test_a_pushed_run(components, tmp_path):
    summary = RunSummary(miou=0.7, strong_miou=0.8, weak_miou=0.6, pushed_model="/m/1", wall_s=99.5, run_id="secret-id")
    assert publish(run_metrics("pets", components, summary), tmp_path, "pets", None) is None
    text = (tmp_path / "metrics.prom").read_text()
    assert "secret-id" not in text  # a label with a new value at every run would never end
    found = read(text)
    assert found["run_success",] == 1 and found["run_seconds",] == 99.5
    assert found["run_end_timestamp_seconds",] > 1.7e9
    assert found["component_seconds", "cam"] == 12.5
    assert found["component_state", "cam", "cached"] == 1 == found["component_state", "label_gate", "failed"]
    assert (found["miou", "all"], found["miou", "strong"], found["miou", "weak"]) == (0.7, 0.8, 0.6)
    assert ("miou", "boundary") not in found
    assert found["images", "examples"] == 29 and found["images", "weak_labels"] == 8
    assert found["dead_images", "examples", "mask"] == 1 == found["dead_images", "weak_labels", "read"]
    assert found["dead_images", "weak_labels", "network"] == 2
    assert found["training", "cam", "loss"] == 0.5 and found["training", "cam", "step"] == 20
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("metrics")] == ["metrics.prom"]


def test_the_docs_name_metrics_that_exist(components):
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    summary = RunSummary(miou=0.7, pushed_model="/m/1")
    known = {family.name for family in run_metrics("pets", components, summary).collect()}
    assert set(re.findall(r"transferseg_\w+", page)) == known
    rules = yaml.safe_load(re.search(r"```yaml\n(groups:.*?)```", page, re.DOTALL)[1])["groups"][0]["rules"]
    assert len(rules) == 4 and all(re.search(r"transferseg_\w+", rule["expr"])[0] in known for rule in rules)


def test_a_run_that_got_nowhere(tmp_path):
    publish(run_metrics("pets", [ComponentRun("examples", error=ValueError())], RunSummary()), tmp_path, "pets", None)
    found = read((tmp_path / "metrics.prom").read_text())
    assert found["run_success",] == 0 and found["component_state", "examples", "failed"] == 1


def test_a_run_that_could_not_begin(tmp_path):
    """Of one that cron started nobody saw the screen; a work folder that was never there is not made."""
    values = {"name": "pets", "categories": {"strong": ["cat"], "weak": ["dog"]}}
    values |= {"dataset": {"root": str(tmp_path / "moved")}, "network": {"backbone": "tiny", "weights": None}}
    config, workdir = make_config(values, "test"), tmp_path / "work"
    with pytest.raises(UserError, match="moved") as refused:
        run_local(config, workdir, Console(quiet=True))
    assert not workdir.exists()
    workdir.mkdir()
    (workdir / "metrics.prom").write_text("of an earlier run")
    with pytest.raises(UserError, match="moved"):
        run_local(config, workdir, Console(quiet=True))
    assert read((workdir / "metrics.prom").read_text())["run_success",] == 0
    assert json.loads((workdir / "summary.json").read_text())["refused_because"] == [str(refused.value)]
    assert "not started: " in (workdir / "run.log").read_text()
    (tmp_path / "pets.yaml").write_text(yaml.safe_dump(values))
    (workdir / "metrics.prom").unlink()
    with pytest.raises(UserError, match="moved"):  # the command looks at the dataset earlier
        CliRunner().invoke(cli, ["run", str(tmp_path / "pets.yaml"), "--workdir", str(workdir)], catch_exceptions=False)
    assert (workdir / "metrics.prom").exists()


@pytest.fixture
def gateway():
    """An HTTP server that keeps what is put there; answers 500 to a path with `broken`, no HTTP to one with `odd`."""
    received = {}

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self):
            received[self.path] = self.rfile.read(int(self.headers["Content-Length"])).decode()
            if "odd" in self.path:
                self.wfile.write(b"\x15\x03\n")
                return
            self.send_response(500 if "broken" in self.path else 200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", received
    server.shutdown()
    server.server_close()


def test_a_gateway_gets_what_the_file_says(components, gateway, tmp_path):
    url, received = gateway
    assert publish(run_metrics("pets", components, RunSummary()), tmp_path, "pets", url) is None
    assert received == {"/metrics/job/transferseg/pipeline/pets": (tmp_path / "metrics.prom").read_text()}


@pytest.mark.parametrize("url", ["{}/broken", "{}/odd", "http://127.0.0.1:1", "http://gateway:90x1"])
def test_a_gateway_that_does_not_answer_is_a_warning(components, gateway, tmp_path, url):
    url = url.format(gateway[0])
    message = publish(run_metrics("pets", components, RunSummary()), tmp_path, "pets", url)
    assert message.startswith(f"push_metrics: {url} did not take the metrics (") and message.isprintable()
    assert (tmp_path / "metrics.prom").exists()


@pytest.mark.parametrize("full", ["lock", "config", "component"])
def test_a_full_disk_leaves_no_success_of_yesterday(full, gateway, tmp_path, monkeypatch):
    """Full before the run, whose first file is its lock; then at once; or by the time a component writes."""
    url, received = gateway
    workdir = tmp_path / "work"
    workdir.mkdir()
    for name in ("metrics.prom", "summary.json", "lock"):
        (workdir / name).write_text("of yesterday")
    values = demo_config(draw_demo_dataset(tmp_path / "data", train=8, val=2, progress=False))
    config = make_config({**values, "name": "pets", "push_metrics": url}, "test")

    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    where = {"config": ["write_atomic"], "component": ["LocalRunner.run"]}.get(full, ["os.ftruncate", "write_atomic"])
    for name in where:
        module = "components.beam_masks.lock" if name == "os.ftruncate" else "pipeline.run.local_run"
        monkeypatch.setattr(f"{module}.{name}", fail)
    monkeypatch.setattr("pipeline.run.local_run.known_rates", lambda *_: Rates(0.1, 0.1, 0.1, 0.1))
    monkeypatch.setattr(RunSummary, "write", fail)
    monkeypatch.setattr("pipeline.run.prometheus.write_to_textfile", fail)
    with pytest.raises(OSError, match="No space left on device: ") as told:
        run_local(config, workdir, Console(quiet=True))
    assert told.value.filename == str(workdir)
    assert not (workdir / "metrics.prom").exists() and not (workdir / "summary.json").exists()
    [text] = received.values()
    assert read(text)["run_success",] == 0
