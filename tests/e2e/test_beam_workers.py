"""Every Beam step on a portable runner: a job service, and workers that are processes of their own, joined by sockets.

That is how Dataflow, Flink and Spark run Python: whatever a step uses must be pickled, importable or on a shared file
system. Here all three processes share a machine, nothing else.
"""

import importlib
import json
import os
import pkgutil
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
import yaml
from apache_beam.options.pipeline_options import PipelineOptions
from commands import TIMEOUT_S, summary_of, transferseg
from discs import config_of, draw_dataset
from labelling_samples import write_scenes
from PIL import Image
from stand_ins import seeing_discs, trainers

import components
from components.image_example_gen.write_examples import WriteExamples
from pipeline.config.run_config import load_config

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
RUN = {"WriteShard", "LabelShard"}
LABEL = {"ReadImages", "RunNetworks", "WriteMasks"}
VALIDATE, IMPORT = {"InspectShard"}, {"_ReadFile", "_WriteSample"}


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    """(Beam options of the portable runner, a function that tells how many worker processes were started so far)."""
    folder = tmp_path_factory.mktemp("beam")
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    with socket.create_server(("localhost", 0)) as free:
        pool_port = free.getsockname()[1]
    module = "apache_beam.runners"
    commands = {
        "service": [f"{module}.portability.local_job_service_main", "--port_file", str(folder / "port")],
        "pool": [f"{module}.worker.worker_pool_main", "--service_port", str(pool_port)],
    }
    processes = []
    for name, command in commands.items():
        with open(folder / f"{name}.log", "w") as log:
            command = [sys.executable, "-m", *command]
            processes.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder))
    deadline = time.monotonic() + TIMEOUT_S
    while not (folder / "port").exists() or not listens(pool_port):
        assert time.monotonic() < deadline and all(p.poll() is None for p in processes), "no job service"
        time.sleep(0.2)
    options = [
        "--runner=PortableRunner",
        f"--job_endpoint=localhost:{(folder / 'port').read_text()}",
        "--environment_type=EXTERNAL",
        f"--environment_config=localhost:{pool_port}",
    ]
    yield options, lambda: (folder / "pool.log").read_text().count("Starting worker with command")
    for process in processes:
        process.terminate()
        process.wait(TIMEOUT_S)


def listens(port: int) -> bool:
    try:
        with socket.create_connection(("localhost", port)):
            return True
    except OSError:
        return False


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("place")
    draw_dataset(place / "data")
    (place / "config.yaml").write_text(yaml.safe_dump(config_of(place / "data")))
    return place


def test_every_step_has_a_test_here():
    for module in pkgutil.walk_packages(components.__path__, "components."):
        if not module.name.endswith("probe"):
            importlib.import_module(module.name)
    known = {kind.__name__ for kind in beam.DoFn.__subclasses__() if kind.__module__.startswith("components.")}
    assert known == RUN | LABEL | VALIDATE | IMPORT, "a step that no worker process has run: use it below"


def test_the_commands_steps_work_in_other_processes(workers, place, models):
    options, started = workers
    config = load_config(place / "config.yaml")
    with beam.Pipeline(options=PipelineOptions(options)) as pipeline:
        _ = pipeline | WriteExamples(str(place / "examples"), config.dataset, config.categories.resolve())

    done = transferseg("validate", place / "config.yaml", "--set", "beam_args=" + json.dumps(options))
    assert done.returncode == 0, done.stdout + done.stderr

    scenes = write_scenes(place / "scenes", 6)
    images, tags = place / "scenes" / "images", place / "scenes" / "tags.csv"
    paths = ["--l-net", models["l_net"], "--cam", models["cam"], "--images", images, "--tags", tags]
    done = transferseg("label", *paths, "--output", place / "labels", "--", *options)
    assert done.returncode == 0 and len(list((place / "labels").glob("*.png"))) == len(scenes), (
        done.stdout + done.stderr
    )

    model = ["--model", models["segmentation"], "--images", images]
    for output, more in (("here", []), ("there", ["--", *options])):
        done = transferseg("predict", *model, "--output", place / output, *more)
        assert done.returncode == 0, done.stdout + done.stderr
    for path in (place / "here").glob("*.png"):
        np.testing.assert_array_equal(Image.open(path), Image.open(place / "there" / path.name))

    foreign = ["--images", place / "data" / "JPEGImages", "--masks", place / "data" / "SegmentationClass"]
    foreign += ["--categories", "yellow,pink", "--output", place / "imported", "--split", "all"]
    done = transferseg("import", "folder", *foreign, "--", *options)
    assert done.returncode == 0 and re.search("40 images, 40 with a mask", done.stdout), done.stdout + done.stderr
    records = place / "examples" / "Split-*" / "*.gz"
    foreign = ["--files", records, "--categories", "yellow,pink", "--output", place / "from_records"]
    done = transferseg("import", "tfrecord", *foreign, "--", *options)
    assert done.returncode == 0 and re.search("40 images, 24 with a mask", done.stdout), done.stdout + done.stderr
    assert started() >= 6  # examples, validate, label, predict, import twice


@pytest.mark.soak
def test_the_steps_of_a_run_work_in_other_processes(workers, place):
    options, started = workers
    before = started()
    with trainers(**seeing_discs()):
        beam_args = "beam_args=" + json.dumps(options)
        done = transferseg("run", place / "config.yaml", "--workdir", place / "run", "--set", beam_args)
    assert done.returncode == 0, done.stdout + done.stderr
    assert summary_of(place / "run")["miou"] > 0.7
    labels = place / "run" / "artifacts" / "weak_labels" / "examples"
    [counts] = [json.loads(path.read_text()) for path in labels.glob("*/summary.json")]
    assert counts == {"labelled": 16, "kept": 0, "dead": 0}
    assert started() >= before + 4  # examples, statistics, labels, evaluation
