from pathlib import Path

import pytest
import yaml

from pipeline.config.run_config import dump_config, load_config
from pipeline.graph import training_hash
from trainer.errors import UserError
from trainer.inference.looks import Look

CONFIGS = Path(__file__).parents[2] / "configs"
GOOD = {"name": "x", "dataset": {"root": "data"}, "categories": {"split": "voc-split-1"}}


def write(tmp_path, values):
    path = tmp_path / "config.yaml"
    path.write_text(values if isinstance(values, str) else yaml.safe_dump(values))
    return path


def test_defaults_are_the_papers(tmp_path):
    config = load_config(write(tmp_path, GOOD))
    assert (config.network.backbone, config.network.image_size, config.segmentation.batch_size) == ("vgg16", 321, 30)
    assert (config.segmentation.momentum, config.segmentation.weight_decay) == (0.9, 5e-4)
    assert (config.p_net.segmentation_learning_rate, config.p_net.p_net_learning_rate) == (1e-5, 1e-3)


def test_overrides_change_nested_values(tmp_path):
    config = load_config(write(tmp_path, GOOD), ["network.backbone=tiny", "cam.epochs=2", "p_net.pretrain=false"])
    assert config.network.backbone == "tiny" and config.cam.epochs == 2 and config.p_net.pretrain is False


def test_the_command_line_decides_between_epochs_and_steps(tmp_path):
    config = load_config(write(tmp_path, GOOD | {"cam": {"epochs": 2}}), ["cam.steps=3"])
    assert (config.cam.epochs, config.cam.steps, config.cam.num_steps(100)) == (None, 3, 3)
    again = load_config(write(tmp_path, dump_config(config)), ["cam.epochs=1.5"])
    assert (again.cam.epochs, again.cam.steps) == (1.5, None)


def test_a_dumped_config_loads_to_the_same_hash(tmp_path):
    config = load_config(write(tmp_path, GOOD))
    again = load_config(write(tmp_path, dump_config(config)))
    assert again == config and training_hash(again) == training_hash(config)


def test_that_a_model_was_accepted_is_not_kept_for_the_next_one(tmp_path):
    config = load_config(write(tmp_path, GOOD), ["gate.accept=for the fair"])
    assert load_config(write(tmp_path, dump_config(config))).gate.accept is None


def test_the_gates_do_not_change_the_training_hash(tmp_path):
    path = write(tmp_path, GOOD)
    added = "categories={strong: [cat], weak: [dog], added: [dog]}"
    assert training_hash(load_config(path, [added])) == training_hash(load_config(path, [added[:-15] + "}"]))
    for limit in ("gate.min_miou=0.9", "label_gate.max_void_share=0.7", "dataset.max_bad_share=0.9"):
        assert training_hash(load_config(path, [limit])) == training_hash(load_config(path))
    assert training_hash(load_config(path, ["network.seed=1"])) != training_hash(load_config(path))


@pytest.mark.parametrize(
    ("values", "overrides", "words"),
    [
        (GOOD | {"bakbone": "tiny"}, [], "unknown key 'bakbone'"),
        (GOOD | {"cam": {"epoch": 1}}, [], "unknown key 'cam.epoch'"),
        (GOOD | {"network": {"seed": "many"}}, [], "'network.seed'"),
        (GOOD, ["cam.epochs=.inf"], "'cam.epochs': input should be a finite number"),
        (GOOD, ["p_net.pretrain_epochs=.inf"], "'p_net.pretrain_epochs': input should be a finite number"),
        (GOOD, ["cam.steps=true"], "'cam.steps': must be a number, not yes or no"),
        (GOOD | {"seed": 1}, [], "unknown key 'seed'; it is network.seed now"),
        (GOOD, ["backbone=tiny"], "unknown key 'backbone'; it is network.backbone now"),
        (GOOD | {"network": {"backbone": "resnet"}}, [], "'network.backbone'"),
        (GOOD | {"network": {"image_size": 320}}, [], "8k\\+1"),
        ({"name": "x", "categories": {"split": "voc-split-1"}}, [], "'dataset' is missing"),
        (GOOD | {"categories": {"split": "voc-split-7"}}, [], "voc-split-7"),
        (GOOD | {"categories": {"split": "voc-split-1", "weak": ["cat"]}}, [], "not both"),
        (GOOD | {"categories": {"strong": ["cat"], "weak": ["cat"]}}, [], "both strong and weak"),
        (GOOD | {"cam": {"epochs": None}}, [], "give epochs or steps"),
        (GOOD | {"p_net": {"epochs": None}}, [], "give epochs or steps"),
        (GOOD | {"cam": {"epochs": 2, "steps": 3}}, [], "'cam': give epochs or steps, one of them"),
        (GOOD | {"cam": {"optimizer": "adam", "momentum": 0.8}}, [], "'cam': momentum: optimizer: adam does not"),
        (GOOD | {"labels": {"formulation": "random_walk", "discount": 0.9}}, [], "'labels': discount: formulation"),
        (
            GOOD | {"labels": {"superpixel_method": "felzenszwalb", "compactness": 9}},
            [],
            "compactness: superpixel_method",
        ),
        (GOOD | {"labels": {"sigma": 0.01}}, [], "'labels.sigma': input should be greater than or equal to 0.03"),
        (GOOD | {"p_net": {"pretrain": False, "pretrain_epochs": 3}}, [], "pretrain_epochs: pretrain: false does not"),
        (GOOD | {"network": {"image_size": 49}}, [], "network.image_size: P-Net pools three times, so it must be 57"),
        (GOOD | {"labels": {"iterations": 9}}, [], "'labels': iterations: formulation: discounted does not read it"),
        (GOOD | {"gate": {"min_weak_miou": None, "max_weak_miou_drop": 0.1}}, [], "max_weak_miou_drop: min_weak_miou"),
        (GOOD | {"cam": {"freeze_backbone": True}}, ["network.weights=null"], "cam.freeze_backbone: with network"),
        (GOOD | {"dataset": {"root": "data", "format": "voc"}}, [], "'dataset.format'; every dataset is read"),
        (GOOD | {"cam": {"scale": [3.0, -1]}}, [], "must be two positive numbers"),
        (GOOD | {"cam": {"scale": "nativ"}}, [], "'cam.scale': must be two positive numbers, smaller first, or native"),
        (GOOD | {"cam": {"scale": [1, 2, 3]}}, [], "'cam.scale': must be two positive numbers"),
        (GOOD | {"inference": {"tile": 65}}, [], "inference: tile .* train with segmentation.scale: native"),
        (GOOD | {"inference": {"tile": 65, "overlap": 65}}, [], "'inference': overlap .65. must be smaller than tile"),
        (GOOD | {"inference": {"tile": -65}}, [], "'inference.tile': input should be greater"),
        (GOOD | {"segmentation": {"scale": "native"}}, [], "segmentation.scale and p_net.scale"),
        (GOOD, ["=x"], "write key=value"),
        (GOOD | {"cam": {"batch_size": 30, "accumulate": 7}}, [], "must divide"),
        (GOOD, ["backbone"], "key=value"),
        (GOOD, ["name.x=1"], "is a value, not a section"),
        ("a: [", [], "not valid YAML"),
        (GOOD | {"x" * 100_000: 1}, [], "unknown key 'xxx"),
        (GOOD | {f"key{i}": 1 for i in range(1000)}, [], "unknown key .*; and 995 more"),
        (GOOD | {"network": {"seed": ["x"] * 5000}}, [], "'network.seed': .* .got .*\\.\\.\\."),
        (GOOD | {"name": "x" * 100_000}, [], "'name'"),
        (GOOD | {"categories": {"strong": ["x" * 100_000], "weak": []}}, [], "more than 100 letters"),
        (GOOD | {"categories": {"strong": ["cat", "Cat"]}}, [], "differ in case alone"),
        (GOOD | {"categories": {"strong": ["cat"], "weak": ["dog"], "added": ["d" * 100_000]}}, [], "added"),
        (GOOD, ["network.seed=" + "[" * 50_000], "--set network.seed="),
        (GOOD, ["network.seed={a: 1, a: 2}"], "given twice"),
        ("- a", [], "must be a mapping"),
    ],
)
def test_each_mistake_is_one_line_that_names_it(tmp_path, values, overrides, words):
    with pytest.raises(UserError, match=words) as caught:
        load_config(write(tmp_path, values), overrides)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 2000


def test_networks_are_tested_at_the_scale_they_are_trained_at(tmp_path):
    plain = load_config(write(tmp_path, GOOD))
    assert all(plain.look(stage) == Look(size=321) for stage in ("cam", "l_net", "segmentation", "p_net"))
    native = {stage: {"scale": "native"} for stage in ("l_net", "segmentation", "p_net")}
    whole = load_config(write(tmp_path, GOOD | native | {"inference": {"size": 513}}))
    assert whole.look("cam") == Look(size=321)
    assert all(whole.look(stage) == Look(size=513, native=True) for stage in native)
    tiled = load_config(write(tmp_path, GOOD | native | {"inference": {"tile": 257}}))
    assert tiled.look("p_net") == Look(size=257, native=True, overlap=65)
    assert tiled.look("l_net") == Look(size=257, native=True)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_config_that_comes_along_loads(path):
    assert load_config(path).name == path.stem


@pytest.mark.parametrize("name", ["voc.yaml", "voc-split-4.yaml"])
def test_the_papers_configs_test_as_deeplab_does(name):
    config = load_config(CONFIGS / name)
    assert config.segmentation.scale == config.p_net.scale == config.l_net.scale == "native"
    assert config.look("p_net") == config.look("l_net") == Look(size=513, native=True)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="no such config file"):
        load_config(tmp_path / "none.yaml")


def test_a_config_may_be_in_any_unicode_and_its_names_are_cleaned(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes(yaml.safe_dump(GOOD | {"categories": {"strong": [" cat "], "weak": ["dog"]}}).encode("utf-16"))
    assert load_config(path).categories.resolve().foreground == ("cat", "dog")
