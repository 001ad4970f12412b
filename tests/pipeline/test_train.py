"""`transferseg train`: one stage by hand, as the pipeline's Trainer does it."""

import json
import os
import shutil
import socket
import subprocess
import sys
from types import SimpleNamespace

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
import yaml
from click.testing import CliRunner
from commands import TIMEOUT_S
from loopback_hosts import two_hosts
from tiny_config import tiny_values

from components.image_example_gen.write_examples import WriteExamples
from components.trainers import run_fns
from pipeline.cli import cli
from pipeline.config.run_config import make_config
from pipeline.demo.demo_data import DEMO_STRONG, DEMO_WEAK, draw_demo_dataset
from pipeline.train import train_stage
from serving.export import read_categories, restore_net
from trainer.errors import UserError
from trainer.models.large_fov import build_segmentation

pytestmark = pytest.mark.slow  # trains

STAGE = {"steps": 2, "batch_size": 2}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return draw_demo_dataset(tmp_path_factory.mktemp("demo") / "set", train=12, val=2, progress=False)


@pytest.fixture(scope="module")
def config(root):
    values = tiny_values(root)
    values["network"] |= {"precision": "float32"}
    return make_config(values | {"cam": STAGE, "l_net": STAGE, "segmentation": STAGE}, "test")


@pytest.fixture(scope="module")
def examples(root, config, tmp_path_factory):
    uri = tmp_path_factory.mktemp("examples")
    with beam.Pipeline() as pipeline:
        _ = pipeline | WriteExamples(str(uri), config.dataset, config.categories.resolve())
    return uri


def kernels(net: tf.keras.Model) -> np.ndarray:
    return np.concatenate([weight.numpy().ravel() for weight in net.weights if len(weight.shape) == 4])


def test_a_stage_leaves_a_model_and_its_curves(config, examples, tmp_path):
    model = train_stage(config, "l_net", examples, tmp_path / "l_net", None)
    assert read_categories(model, "l_net") == config.categories.resolve()
    assert (tmp_path / "l_net" / "run" / "curves.png").exists()
    with pytest.raises(UserError, match="holds a trained model"):
        train_stage(config, "l_net", examples, tmp_path / "l_net", None)


def test_a_warm_start_begins_where_the_base_model_ended(config, examples, tmp_path):
    strong = tmp_path / "strong"  # segmentation learns from masks: the strong split stands for both
    (strong / "Split-weak").mkdir(parents=True)
    (strong / "Split-strong").symlink_to(examples / "Split-strong")
    (strong / "labels").mkdir()
    base = train_stage(config, "segmentation", strong, tmp_path / "base", None)
    slow, seeded = config.segmentation.model_copy(update={"learning_rate": 1e-9}), {"seed": 5}
    still = config.model_copy(update={"network": config.network.model_copy(update=seeded), "segmentation": slow})
    warm = train_stage(still, "segmentation", strong, tmp_path / "warm", base)
    net = build_segmentation("tiny", config.categories.resolve().num_classes, None, 5)
    cold = kernels(net)
    restore_net(net, base)
    trained = kernels(net)
    assert np.abs(cold - trained).max() > 0.01
    restore_net(net, warm)
    np.testing.assert_allclose(kernels(net), trained, atol=1e-5)
    fewer = make_config(
        {**still.model_dump(mode="json"), "categories": {"strong": list(DEMO_STRONG), "weak": DEMO_WEAK[:-1]}}, "test"
    )
    train_stage(fewer, "segmentation", strong, tmp_path / "fewer", base)  # other categories: begins afresh


def test_wrong_folders_are_named(config, examples, tmp_path):
    with pytest.raises(UserError, match="has no folder Split-strong; give an examples artifact"):
        train_stage(config, "l_net", tmp_path, tmp_path / "out", None)
    with pytest.raises(UserError, match="has no folder labels, no weak labels; give the weak_labels artifact"):
        train_stage(config, "segmentation", examples, tmp_path / "out", None)
    labelled = tmp_path / "labelled"
    shutil.copytree(examples, labelled)
    (labelled / "labels").mkdir()
    with pytest.raises(UserError, match="p_net refines a segmentation network"):
        train_stage(config, "p_net", labelled, tmp_path / "out", None)
    with pytest.raises(UserError, match="--base-model: no exported model in"):
        train_stage(config, "p_net", labelled, tmp_path / "out", tmp_path)


def test_the_command_says_where_the_model_is(config, examples, root, tmp_path):
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    arguments = ["train", "cam", str(tmp_path / "c.yaml"), "--examples", str(examples), "--output", str(tmp_path / "o")]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0 and done.output.strip().endswith(str(tmp_path / "o" / "Format-Serving")), done.output


def start_on(config, examples, tmp_path, place, **options) -> subprocess.Popen:
    """`transferseg train l_net` on the host at that place."""
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    command = [sys.executable, "-m", "pipeline.cli", "train", "l_net", str(tmp_path / "c.yaml")]
    command += ["--examples", str(examples), "--output", str(tmp_path / "out")]
    return subprocess.Popen(command, env=os.environ | place, **options)


def test_a_host_lost_before_the_first_step_is_one_line(config, examples, tmp_path):
    here, there = two_hosts()
    program = "import os; from trainer.training.hosts import over_hosts; over_hosts(); os._exit(9)"
    other = subprocess.Popen([sys.executable, "-c", program], env=os.environ | there)
    chief = start_on(config, examples, tmp_path, here, stderr=subprocess.PIPE, text=True)
    _, shown = chief.communicate(timeout=TIMEOUT_S)
    assert other.wait(timeout=TIMEOUT_S) == 9 and chief.returncode == 2
    assert "lost another of the 2 hosts" in shown and "Traceback" not in shown


def test_a_taken_port_is_one_line(config, examples, tmp_path):
    here, _ = two_hosts()
    own = json.loads(here["TF_CONFIG"])["cluster"]["worker"][0]
    with socket.create_server(("localhost", int(own.rpartition(":")[2]))):
        chief = start_on(config, examples, tmp_path, here, stderr=subprocess.PIPE, text=True)
        _, shown = chief.communicate(timeout=TIMEOUT_S)
    assert chief.returncode == 2 and "this one's port is taken" in shown and "Traceback" not in shown


def test_every_host_has_the_model_when_it_ends(config, examples, tmp_path):
    chief, other = [start_on(config, examples, tmp_path, place) for place in two_hosts()]
    assert other.wait(timeout=TIMEOUT_S) == 0
    assert read_categories(tmp_path / "out" / "Format-Serving", "l_net") == config.categories.resolve()
    assert chief.wait(timeout=TIMEOUT_S) == 0


def test_checkpoints_of_other_records_or_of_another_model_behind_the_same_path_are_not_taken(tmp_path):
    model = tmp_path / "model"
    (model / "variables").mkdir(parents=True)
    (model / "saved_model.pb").write_text("graph")
    arguments = SimpleNamespace(
        train_files=[f"{tmp_path}/*.gz"],
        base_model=str(model),
        custom_config={"checkpoint_root": "checkpoints"},
        model_run_dir="run",
    )
    found = []
    for path, text in ((tmp_path / "a.gz", "one"), (tmp_path / "a.gz", "three"), (model / "variables/v", "other")):
        path.write_text(text)
        found.append(run_fns._folders(arguments, "CAM").checkpoints)
        assert run_fns._folders(arguments, "CAM").checkpoints == found[-1]
    assert len(set(found)) == 3
