"""The main job from a folder of images to a served mask, through the commands a person would type."""

import json
import re
import signal
import sqlite3
import subprocess
from pathlib import Path

import numpy as np
import pytest
from commands import COMMAND, ROOT, TIMEOUT_S, transferseg, transferseg_process
from PIL import Image

pytestmark = pytest.mark.e2e


def test_a_first_run_pushes_a_model_and_says_what_it_did(pushed):
    summary, model = pushed.summary, Path(pushed.summary["pushed_model"])
    assert (model / "saved_model.pb").is_file()
    assert summary["refused_because"] == []
    assert 0.4 <= summary["miou"] <= 1 and 0.2 <= summary["weak_miou"] <= 1
    assert set(summary["per_class"]) == {"background", "yellow", "pink"}
    assert {"cam", "l_net", "weak_labels", "segmentation", "p_net", "evaluator", "pusher"} <= set(summary["components"])
    assert not (pushed.kept / "checkpoints").exists()
    assert summary["serving"]["agreement"] > 0.99 and summary["serving"]["requests"]["good"] == 8 + 4
    about = json.loads((model / "assets.extra" / "metadata.json").read_text())
    assert about["config_hash"] == summary["config_hash"] and about["training"]["step"] == 12  # 2 + 10
    assert all(Path(pattern).parent.is_dir() for pattern in about["lineage"]["examples"])
    assert list(Path(about["lineage"]["run"]).glob("events.out.tfevents.*"))  # for TensorBoard
    page = (pushed.kept / "report.html").read_text()
    assert "pink" in page and "data:image" in page and "http://" not in page.replace("http://www.w3.org", "")


def test_one_id_names_a_first_run_everywhere(pushed):
    run_id, folder = pushed.summary["run_id"], pushed.kept
    lines = [json.loads(line) for line in (folder / "run.log").read_text().splitlines()]
    assert {line["run_id"] for line in lines} == {run_id}
    assert set(pushed.summary["components"]) <= {line["component"] for line in lines}
    about = json.loads((Path(pushed.summary["pushed_model"]) / "assets.extra" / "metadata.json").read_text())
    assert about["run_id"] == run_id and run_id in (folder / "report.html").read_text()
    with sqlite3.connect(folder / "metadata.sqlite") as store:
        assert (run_id,) in store.execute("SELECT name FROM Context").fetchall()
    metrics = (folder / "metrics.prom").read_text()
    assert run_id not in metrics and 'success{pipeline="discs"} 1.0' in metrics
    assert 'transferseg_images{component="weak_labels",pipeline="discs"} 16.0' in metrics


def test_served_masks_equal_the_model_in_process(pushed, tmp_path):
    import tensorflow as tf

    image = pushed.data / "JPEGImages" / "val001.jpg"
    model = tf.saved_model.load(pushed.summary["pushed_model"])
    own = model.signatures["serving_default"](tf.constant([image.read_bytes()]))["mask_bytes"].numpy()[0]
    folder = Path(pushed.summary["pushed_model"]).parent
    server = subprocess.Popen(
        [*COMMAND, "serve", "--model", str(folder), "--grpc-port", "0", "--rest-port", "0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        line = server.stdout.readline()
        ports = re.search(r"gRPC 127\.0\.0\.1:(\d+), REST http://127\.0\.0\.1:(\d+)/", line).groups()
        for transport, port, call in zip(("grpc", "rest"), ports, (transferseg_process, transferseg), strict=True):
            target = tmp_path / f"{transport}.png"
            server_and_way = ["--server", f"127.0.0.1:{port}", "--transport", transport]
            done = call("query", *server_and_way, image, "--output", target)
            assert done.returncode == 0 and target.read_bytes() == own, done.stderr
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(TIMEOUT_S) == 0
    mask = np.array(Image.open(tmp_path / "grpc.png"))
    assert mask.shape == (96, 120) and set(np.unique(mask)) <= {0, 1, 2}


def test_predict_and_evaluate_give_the_pipelines_own_score(pushed, tmp_path):
    masks, images, truth, scores = (tmp_path / name for name in ("masks", "images", "truth", "scores.json"))
    for folder, source in ((images, "JPEGImages/val*.jpg"), (truth, "SegmentationClass/val*.png")):
        folder.mkdir()
        for path in pushed.data.glob(source):
            (folder / path.name).symlink_to(path)
    done = transferseg("predict", "--model", pushed.summary["pushed_model"], "--images", images, "--output", masks)
    assert done.returncode == 0, done.stderr
    arguments = ["--truth", truth, "--prediction", masks, "--categories", "yellow,pink", "--strong", "yellow"]
    done = transferseg("evaluate", *arguments, "--json", scores)
    assert done.returncode == 0, done.stderr
    found = json.loads(scores.read_text())
    for name in ("miou", "strong_miou", "weak_miou", "boundary_miou"):
        assert found[name] == pytest.approx(pushed.summary[name], abs=1e-6)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("network.bakbone=tiny", "unknown key 'network.bakbone'"),
        ("dataset.root=/nowhere", "/nowhere"),
        ("network.weights=/nowhere.h5", "/nowhere.h5"),
        ("categories.weak=[yellow]", "both strong and weak"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(pushed, tmp_path, setting, words):
    done = transferseg("run", pushed.config, "--workdir", tmp_path / "run", "--set", setting)
    assert done.returncode == 2
    assert words in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
