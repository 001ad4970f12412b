"""The first hour: from a folder of pictures to masks, with no option but names, and what the messages say to do."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import yaml
from commands import process_from_an_empty_home, summary_of, transferseg
from discs import PATIENT
from first_folders import FOLDERS, NAMES, draw_shots
from labelling_samples import colour_net
from PIL import Image
from stand_ins import seeing_discs, trainers

from pipeline.config.run_config import load_config

pytestmark = pytest.mark.e2e

Call = Callable[..., CompletedProcess]
STAGE = {"steps": 100, "epochs": None, "batch_size": 8, "learning_rate": 0.1, "schedule": "poly", "clip_norm": 5.0}
STAGE |= {"head_multiplier": 1.0, "optimizer": "sgd", "freeze_backbone": False}
SMALL = {"network": {"backbone": "tiny", "weights": None, "image_size": 97}, "cam": STAGE, "l_net": STAGE}
SMALL |= {
    "segmentation": STAGE | {"steps": 160},
    "labels": {"objectness_weight": 0.5, "background_cut": 0.3, "ignore_band": 0.02},
}
SMALL |= {"serving_check": {"images": 4, "timed_calls": 5} | PATIENT}
SMALL |= {"p_net": {"steps": 10, "batch_size": 8, "pretrain_epochs": 1}}


def first_hour(call: Call, kind: str, gate: dict) -> None:
    """Plays it in the current folder; `gate` is what the config asks of the model."""
    shots = draw_shots()
    FOLDERS[kind](shots, Path("photos"))
    done = call("init", "photos")
    if kind == "plain":  # nothing says what the ids mean; init proposes the command, a person puts the names in
        [command] = re.findall(r"transferseg (init .*)", done.stderr)
        assert done.returncode == 2 and "--categories name1,name2" in command, done.stderr
        done = call(*shlex.split(command.replace("name1,name2", ",".join(NAMES))))
    if kind == "cvat":  # no tags in that format: word for word
        [command] = re.findall(r"judge it by its masks: transferseg (init .*)", done.stdout)
        assert done.returncode == 0 and "Every category has masks" in done.stdout
        done = call(*shlex.split(command))
    assert done.returncode == 0, done.stdout + done.stderr
    config = load_config("transferseg.yaml")
    assert config.categories.strong == ["yellow"] and "pink" in config.categories.weak
    assert re.search(r"yellow +│ masks", done.stdout) and re.search(r"pink +│ tags", done.stdout)
    assert config.gate.min_weak_miou is not None, "pink masks judge"

    values = yaml.safe_load(Path("transferseg.yaml").read_text())  # what makes a test of minutes of an hour
    Path("transferseg.yaml").write_text(yaml.safe_dump(values | SMALL | {"gate": gate}))
    done = call("run", "transferseg.yaml", "--workdir", "runs/first")
    assert done.returncode in (0, 1), done.stdout + done.stderr
    if done.returncode:
        assert summary_of(Path("runs/first"))["refused_because"]
        [again] = re.findall(r"without training:\n +transferseg (.*)", done.stdout)
        look = re.findall(r"^ +transferseg (predict .*)", done.stdout, re.MULTILINE)
        assert look and "What is most likely to help" in done.stdout and "pink: " in done.stdout
        page = Path("runs/first/report.html").read_text()
        assert "Refused" in page and shlex.split(again)[-1] in page
        done = call(*shlex.split(again))
        assert done.returncode == 0, done.stdout + done.stderr
        summary = summary_of(Path("runs/first"))
        trained = [summary["components"][name]["state"] for name in ("cam", "l_net", "segmentation", "p_net")]
        assert trained == ["cached"] * 4
    [predict] = re.findall(r"Masks with it:\n +transferseg (.*)", done.stdout)
    pictures = {path.parent for path in Path("photos").rglob("*.jpg")}.pop()
    done = call(*shlex.split(predict.replace("--images photos", f"--images '{pictures}'")))
    assert done.returncode == 0, done.stderr
    pink = load_config("transferseg.yaml").categories.resolve().id_of("pink")
    overlaps = []
    for shot in (shot for shot in shots if shot.category == "pink"):
        found, wanted = np.array(Image.open(f"masks/{shot.name}.png")) == pink, shot.mask > 0
        overlaps.append((found & wanted).sum() / (found | wanted).sum())
    assert len(list(Path("masks").glob("*.png"))) == len(shots)
    assert np.mean(overlaps) > 0.25, overlaps


def test_the_first_hour_with_a_plain_folder(tmp_path, monkeypatch):
    """Refused at first, by a gate that asks too much; the networks are made, not trained, so `run` is no process."""
    monkeypatch.chdir(tmp_path)

    def call(command: str, *words: str) -> CompletedProcess:
        return (transferseg if command == "run" else process_from_an_empty_home)(command, *words)

    with trainers(**seeing_discs()):
        first_hour(call, "plain", {"min_miou": 0.2, "min_weak_miou": 0.999})


def test_masks_alone_are_enough(tmp_path, monkeypatch):
    """No category is weak: full supervision, without the networks that make labels of tags."""
    monkeypatch.chdir(tmp_path)
    FOLDERS["plain"]([shot for shot in draw_shots(40) if shot.category == "yellow"], Path("photos"))
    done = transferseg("init", "photos", "--categories", "yellow", "--weights", "null")
    assert done.returncode == 0 and "to learn one from its tags instead" not in done.stdout, done.stdout + done.stderr
    values = yaml.safe_load(Path("transferseg.yaml").read_text())
    Path("transferseg.yaml").write_text(yaml.safe_dump(values | SMALL))
    assert transferseg("validate", "transferseg.yaml").returncode == 0

    def sees_yellow(*_, **__):
        return colour_net(np.array([[0.0, 0], [0, 1], [0, 0]]), np.array([15.0, 0]))

    with trainers(segmentation=sees_yellow, p_net=sees_yellow):
        done = transferseg("run", "transferseg.yaml", "--workdir", "runs/first")
    assert done.returncode == 0, done.stdout + done.stderr
    summary = summary_of(Path("runs/first"))
    assert summary["pushed_model"] and summary["per_class"]["yellow"] > 0.3 and summary["weak_miou"] is None
    assert not {"cam", "l_net", "weak_labels", "label_gate"} & set(summary["components"])
    card = Path(summary["pushed_model"], "assets.extra", "model_card.md").read_text()
    for text in (done.stdout, Path("runs/first/report.html").read_text(), card):
        assert "yellow" in text and not re.findall("tagged|with tags|tags alone|tags for|weakly", text)
    done = transferseg("review", "export", "--workdir", "runs/first", "--output", "review")
    assert done.returncode == 2 and "no weak labels" in done.stderr


@pytest.mark.soak
@pytest.mark.parametrize("kind", FOLDERS)
def test_the_first_hour(kind, tmp_path, monkeypatch):
    """Every command a process, every network trained, offline and with an empty home."""
    monkeypatch.chdir(tmp_path)
    first_hour(process_from_an_empty_home, kind, {"min_miou": 0.2, "min_weak_miou": 0.1})
