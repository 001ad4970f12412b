"""The main job from a folder of images to a served mask, through the command line a person would type."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

from trainer.categories import palette

pytestmark = pytest.mark.e2e

COMMAND = [sys.executable, "-m", "pipeline.cli"]
ROOT = Path(__file__).parents[2]
COLOURS = {1: (240, 200, 60), 2: (240, 80, 220)}  # 1 "yellow" is strong, 2 "pink" is weak


def draw_dataset(root: Path, train: int = 32, val: int = 8) -> None:
    """Bright discs on dark ground, all noisy; in every second image they are pink, so it is weak."""
    rng = np.random.default_rng(0)
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for split, count in (("train", train), ("val", val)):
        keys = [f"{split}{index:03}" for index in range(count)]
        for index, key in enumerate(keys):
            image = np.full((96, 120, 3), 70, np.uint8)
            mask = np.zeros((96, 120), np.uint8)
            category = 2 if index % 2 else 1
            for _ in range(2):
                centre, radius = (int(rng.integers(16, 104)), int(rng.integers(16, 80))), int(rng.integers(12, 18))
                cv2.circle(image, centre, radius, COLOURS[category], -1)
                cv2.circle(mask, centre, radius, category, -1)
            image = (image + rng.normal(0, 20, image.shape)).clip(0, 255).astype(np.uint8)
            Image.fromarray(image).save(root / "JPEGImages" / f"{key}.jpg", quality=95)
            palette_image = Image.fromarray(mask, "P")
            palette_image.putpalette(palette().ravel().tolist())
            palette_image.save(root / "SegmentationClass" / f"{key}.png")
        (root / "ImageSets/Segmentation" / f"{split}.txt").write_text("\n".join(keys) + "\n")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("pipeline")
    draw_dataset(place / "data")
    stage = {"steps": 160, "batch_size": 8, "learning_rate": 0.1, "schedule": "poly", "head_multiplier": 1.0}
    stage |= {"clip_norm": 5.0, "checkpoint_every": 20}
    config = {
        "name": "discs",
        "dataset": {"root": str(place / "data")},
        "categories": {"strong": ["yellow"], "weak": ["pink"]},
        "backbone": "tiny",
        "weights": None,
        "image_size": 97,
        "cam": stage,
        "l_net": stage,
        "segmentation": stage | {"steps": 240},
        "p_net": {"steps": 10, "batch_size": 8, "pretrain_epochs": 1, "checkpoint_every": 5},
        # So few pictures teach the CAM which image has a pink disc, not where: let L-Net decide about background.
        "labels": {"objectness_weight": 0.7, "background_cut": 0.6},
        "gate": {"min_miou": 0.4, "min_weak_miou": 0.2, "max_miou_drop": 0.05, "max_weak_miou_drop": 0.05},
    }
    (place / "config.yaml").write_text(yaml.safe_dump(config))
    return place


def run(place: Path, *arguments: str, workdir: str = "run") -> tuple[subprocess.CompletedProcess, dict]:
    command = [*COMMAND, "run", str(place / "config.yaml"), "--workdir", str(place / workdir), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    summary = place / workdir / "summary.json"
    return done, json.loads(summary.read_text()) if summary.exists() else {}


@pytest.fixture(scope="module")
def pushed(place):
    done, summary = run(place)
    assert done.returncode == 0, done.stdout + done.stderr
    return summary


def test_a_first_run_pushes_a_model_and_says_what_it_did(place, pushed):
    assert (Path(pushed["pushed_model"]) / "saved_model.pb").is_file()
    assert pushed["refused_because"] == []
    assert 0.4 <= pushed["miou"] <= 1 and 0.2 <= pushed["weak_miou"] <= 1
    assert set(pushed["per_class"]) == {"background", "yellow", "pink"}
    assert {"cam", "l_net", "weak_labels", "segmentation", "p_net", "evaluator", "pusher"} <= set(pushed["components"])
    assert not (place / "run" / "checkpoints").exists()
    page = (place / "run" / "report.html").read_text()
    assert "pink" in page and "data:image" in page and "http://" not in page.replace("http://www.w3.org", "")


def test_reruns_are_cached_and_keep_the_model(place, pushed):
    run(place)  # the blessing changed what the resolver returns: the evaluator runs once more
    done, summary = run(place)
    assert done.returncode == 0, done.stdout + done.stderr
    work = {name: entry["cached"] for name, entry in summary["components"].items() if name != "latest_blessed"}
    assert all(work.values()), work
    assert summary["pushed_model"] and summary["miou"] == pushed["miou"]


def test_a_model_below_the_threshold_is_refused_and_not_pushed(place, pushed):
    before = sorted((place / "run" / "serving" / "discs").iterdir())
    done, summary = run(place, "--set", "gate.min_weak_miou=0.999")
    assert done.returncode == 1
    assert summary["pushed_model"] is None
    [reason] = summary["refused_because"]
    assert re.search(r"weak-category mIoU is 0\.\d+, 0\.\d+ below the threshold 0\.9990", reason)
    assert reason in done.stdout
    assert sorted((place / "run" / "serving" / "discs").iterdir()) == before


def test_served_masks_equal_the_model_in_process(place, pushed):
    import tensorflow as tf

    image = place / "data" / "JPEGImages" / "val001.jpg"
    model = tf.saved_model.load(pushed["pushed_model"])
    own = model.signatures["serving_default"](tf.constant([image.read_bytes()]))["mask_bytes"].numpy()[0]
    server = subprocess.Popen(
        [*COMMAND, "serve", "--model", str(place / "run/serving/discs"), "--grpc-port", "0", "--rest-port", "0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        line = server.stdout.readline()
        ports = re.search(r"gRPC 127\.0\.0\.1:(\d+), REST http://127\.0\.0\.1:(\d+)/", line).groups()
        for transport, port in zip(("grpc", "rest"), ports, strict=True):
            target = place / f"{transport}.png"
            query = [*COMMAND, "query", "--server", f"127.0.0.1:{port}", "--transport", transport]
            subprocess.run([*query, str(image), "--output", str(target)], cwd=ROOT, check=True, timeout=120)
            assert target.read_bytes() == own
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
    mask = np.array(Image.open(place / "grpc.png"))
    assert mask.shape == (96, 120) and set(np.unique(mask)) <= {0, 1, 2}


def test_predict_and_evaluate_give_the_pipelines_own_score(place, pushed):
    masks, images = place / "masks", place / "val_images"
    images.mkdir()
    for path in (place / "data/JPEGImages").glob("val*.jpg"):
        (images / path.name).symlink_to(path)
    command = [*COMMAND, "predict", "--model", pushed["pushed_model"], "--images", str(images), "--output", str(masks)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    truth = place / "truth"
    truth.mkdir()
    for path in (place / "data/SegmentationClass").glob("val*.png"):
        (truth / path.name).symlink_to(path)
    scores = place / "scores.json"
    command = [*COMMAND, "evaluate", "--truth", str(truth), "--prediction", str(masks), "--categories", "yellow,pink"]
    subprocess.run([*command, "--strong", "yellow", "--json", str(scores)], cwd=ROOT, check=True, timeout=120)
    found = json.loads(scores.read_text())
    for name in ("miou", "strong_miou", "weak_miou"):
        assert found[name] == pytest.approx(pushed[name], abs=1e-6)


@pytest.mark.slow
def test_a_killed_run_continues_to_the_same_model(place, pushed):
    """kill -9 while the CAM, then a later stage, is training; the end is the same as undisturbed."""
    command = [*COMMAND, "run", str(place / "config.yaml"), "--workdir", str(place / "killed")]
    for stage in ("CAM", "segmentation"):
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 300
        while not list((place / "killed").glob(f"checkpoints/{stage}-*/*.index")):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.1)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    done, summary = run(place, workdir="killed")
    assert done.returncode == 0, done.stdout + done.stderr
    assert summary["per_class"] == pushed["per_class"]


def test_bad_input_is_one_line_and_exit_2(place):
    for arguments, words in (
        (["--set", "bakbone=tiny"], "unknown key 'bakbone'"),
        (["--set", "dataset.root=/nowhere"], "/nowhere"),
        (["--set", "weights=/nowhere.h5"], "/nowhere.h5"),
        (["--set", "categories.weak=[yellow]"], "both strong and weak"),
    ):
        done, _ = run(place, *arguments, workdir="bad")
        assert done.returncode == 2
        assert words in done.stderr and "Traceback" not in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
