"""Every method on a small drawn dataset, through the command; rows are found again, tables say what the rows say."""

import json
from pathlib import Path

import apache_beam as beam
import pytest
import yaml
from click.testing import CliRunner
from tiny_config import tiny_values

from components.beam_masks.faults import TooManyFaults
from components.beam_masks.lock import locked
from pipeline.cli import cli
from pipeline.config.run_config import load_config
from pipeline.demo.demo_data import DEMO_STRONG, DEMO_WEAK, draw_demo_dataset
from pipeline.experiment import rows, steps
from pipeline.experiment.methods import METHODS
from pipeline.experiment.result_table import markdown, with_ratios
from pipeline.experiment.rows import with_seed
from pipeline.experiment.steps import ExperimentSteps
from pipeline.graph import training_hash
from trainer.data.categories import Categories
from trainer.errors import UserError
from trainer.models.large_fov import build_segmentation
from trainer.training.stages import SEGMENTATION, train

STAGE = {"steps": 3, "batch_size": 4, "learning_rate": 0.01}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("experiment")
    draw_demo_dataset(place / "data", train=20, val=4, progress=False)
    config = {
        "name": "small",
        **tiny_values(place / "data"),
        "cam": STAGE,
        "l_net": STAGE,
        "segmentation": STAGE,
        "p_net": {"steps": 2, "batch_size": 4, "pretrain_epochs": 1},
    }
    (place / "config.yaml").write_text(yaml.safe_dump(config))
    return place


def run(place, *arguments):
    command = ["experiment", str(place / "config.yaml"), "--splits", "own", "--workdir", str(place / "work")]
    return CliRunner().invoke(cli, [*command, "--out", str(place / "out"), *arguments], catch_exceptions=False)


def train_all_but_segmentation(stage, patterns, categories, network, settings, folders):
    """As `stages.train`; segmentation networks, of which most methods train one each, stay as they are built."""
    if stage is SEGMENTATION:
        Path(folders.checkpoints).mkdir()
        return build_segmentation(network.backbone, categories.num_classes, None, network.seed)
    return train(stage, patterns, categories, network, settings, folders)


QUICK = ["full", "ae-saliency", "p-net+crf"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "methods", [QUICK, pytest.param([*METHODS, "p-net+crf"], marks=pytest.mark.soak)], ids=["some", "all"]
)
def test_every_method_gives_a_row_and_a_second_run_the_same_table(place, monkeypatch, methods):
    monkeypatch.setattr(steps, "train", train_all_but_segmentation)
    pictures = ["--figures", str(place / "figures"), "--unseen", str(place / "data" / "JPEGImages")]
    done = run(place, "--methods", ",".join(methods), *pictures)
    assert done.exit_code == 0, done.output
    drawn = [place / "figures" / f"figure{number}-own.png" for number in (3, 6, 5)]
    assert done.output.split()[-3:] == [str(path) for path in drawn] and all(path.is_file() for path in drawn)
    assert (place / "out" / "table2.png").is_file()
    rows = json.loads((place / "out" / "table2.json").read_text())
    assert [row["method"] for row in rows] == methods
    wanted = {"split", "method", "seed", "miou", "strong_miou", "weak_miou", "per_class", "ratio_to_full", "wall_s"}
    for row in rows:
        assert wanted | {"config_hash"} <= set(row) and 0 <= row["miou"] <= 1
        assert list(row["per_class"]) == ["background", *DEMO_STRONG, *DEMO_WEAK]
    full = rows[0]["miou"]
    assert rows[0]["ratio_to_full"] == 1 and rows[-1]["ratio_to_full"] == pytest.approx(rows[-1]["miou"] / full)
    page = (place / "out" / "table2.md").read_text()
    assert (
        all(f"| {method} |" in page for method in methods)
        and f"**{DEMO_STRONG[0]}**" in page
        and f"**{DEMO_WEAK[0]}**" not in page
    )

    made = {path.name: path.stat().st_mtime_ns for path in (place / "work").iterdir() if path.is_dir()}
    assert run(place, "--methods", ",".join(methods)).exit_code == 0
    assert {path.name: path.stat().st_mtime_ns for path in (place / "work").iterdir() if path.is_dir()} == made
    assert json.loads((place / "out" / "table2.json").read_text()) == rows


def test_seeds_weights_and_the_dataset_as_it_is_decide_a_step(place, tmp_path):
    config = load_config(place / "config.yaml")

    def names() -> list[str]:
        made = (ExperimentSteps(with_seed(config, seed), tmp_path) for seed in (0, 1))
        return [one.step("cam", lambda partial: None).name for one in made]

    first = names()
    assert len({*first}) == 2 and names() == first
    listed = place / "data/ImageSets/Segmentation/train.txt"
    lines = listed.read_text()
    listed.write_text("\n".join(lines.split("\n")[:-2]) + "\n")
    assert not {*names()} & {*first}
    listed.write_text(lines)


def test_seeds_begin_with_the_configs_and_each_split_has_the_hash_of_its_run(place, monkeypatch):
    asked = []
    monkeypatch.setattr(rows, "run_experiment", lambda *arguments: asked.append(arguments[3]))
    assert run(place, "--seeds", "2", "--set", "network.seed=5").exit_code == 0
    assert [*asked[0]] == [5, 6]
    config = load_config(place / "config.yaml")
    hashes = {training_hash(rows._of_split(config, split)) for split in ("own", "voc-split-1", "voc-split-2")}
    assert len(hashes) == 3 and training_hash(config) in hashes


@pytest.mark.parametrize("setting", ["calibrate=true", "warm_start=true"])
def test_what_an_experiment_does_not_do_is_refused(place, setting):
    with pytest.raises(UserError, match="an experiment trains all its networks"):
        run(place, "--methods", "full", "--set", setting)


def test_a_cam_is_exported_for_those_records_that_it_learned_from(place, tmp_path, monkeypatch):
    """With a tags file the splits have other ones: a picture without a mask is left out where it counts as strong."""
    asked = []
    monkeypatch.setattr(ExperimentSteps, "step", lambda self, name, make, *identity: asked.append(identity))
    records = {"one": {"strong": str(tmp_path / "a")}, "two": {"strong": str(tmp_path / "b")}}
    monkeypatch.setattr(ExperimentSteps, "records", lambda self, categories: records[categories.strong[0]])
    config = load_config(place / "config.yaml")
    for tags in (None, "tags.csv"):
        dataset = config.dataset.model_copy(update={"tags": tags})
        made = ExperimentSteps(config.model_copy(update={"dataset": dataset}), tmp_path)
        monkeypatch.setattr(steps, "all_strong", lambda _: Categories(("one", "two"), ("one",)))
        for name in ("one", "two"):
            made.exported_cam(Categories(("one", "two"), (name,)))
    assert asked[0] == asked[1] and asked[2] != asked[3]


def test_labels_that_failed_are_told_of_or_end_the_row(place, tmp_path, monkeypatch, capsys):
    class Failing(beam.PTransform):
        def expand(self, pipeline):
            letter = {"key": "a", "stage": "network", "reason": "gave up after 120 s"}
            return pipeline | "Counts" >> beam.Create([{}]), pipeline | "Dead" >> beam.Create([letter])

    for name, stand_in in {
        "LabelShards": lambda *_: Failing(),
        "LabelShard": lambda *_: None,
        "label_networks": lambda *_, **__: None,
        "split_files": lambda *_: [],
        "read_summary": lambda *_: {"splits": {"weak": images}},
    }.items():
        monkeypatch.setattr(steps, name, stand_in)
    for name in ("exported_cam", "exported_l_net"):
        monkeypatch.setattr(ExperimentSteps, name, lambda *_: Path("model"))
    monkeypatch.setattr(ExperimentSteps, "split", lambda *_: "examples/Split-weak/*.gz")
    config = load_config(place / "config.yaml")
    for images in (100, 1):
        made = ExperimentSteps(config, tmp_path / str(images))
        if images == 1:
            with pytest.raises(TooManyFaults, match="1 of 1 images failed .*gave up after 120 s"):
                made.labelled(config.categories.resolve())
        else:
            made.labelled(config.categories.resolve())
            assert "1 images are without a label: a (network): gave up" in capsys.readouterr().out


def test_without_weak_categories_there_is_nothing_to_compare(place):
    with pytest.raises(UserError, match="--splits own: no category is weak"):
        run(place, "--methods", "full", "--set", "categories={strong: [ring, star], weak: []}")


def test_two_experiments_do_not_share_a_folder(place, tmp_path):
    with locked(tmp_path, "an experiment"), pytest.raises(UserError, match="an experiment is going on in this folder"):
        run(place, "--methods", "full", "--workdir", str(tmp_path))


def test_an_unknown_method_is_named(place):
    command = ["experiment", str(place / "config.yaml"), "--methods", "full,magic"]
    with pytest.raises(Exception, match="--methods magic: unknown; known: full, strong-only"):
        CliRunner().invoke(cli, command, catch_exceptions=False)


def test_a_split_whose_ids_are_not_the_datasets_is_refused_before_any_work(place):
    path = place / "data" / "categories.txt"
    path.write_text("\n".join([*DEMO_STRONG, *DEMO_WEAK]))
    command = ["experiment", str(place / "config.yaml"), "--methods", "full", "--splits", "1"]
    try:
        with pytest.raises(UserError, match="id 1 is 'aeroplane' here but 'ring' in .*categories.txt"):
            CliRunner().invoke(cli, [*command, "--workdir", str(place / "other")], catch_exceptions=False)
    finally:
        path.unlink()
    assert not (place / "other").exists()


def row(method, seed, miou):
    per_class = {"background": 0.9, "cat": miou, "dog": None}
    means = {"miou": miou, "strong_miou": miou, "weak_miou": miou / 2}
    return {"split": "own", "method": method, "seed": seed, "strong": ["cat"], "per_class": per_class, **means}


def test_ratios_pair_rows_of_the_same_seed_and_the_page_averages_over_seeds():
    rows = with_ratios([row("full", 0, 0.5), row("l-net", 0, 0.4), row("full", 1, 0.6), row("l-net", 1, 0.42)])
    assert [r["ratio_to_full"] for r in rows] == pytest.approx([1, 0.8, 1, 0.7])
    page = markdown(rows, {"config": "x"})
    assert "| l-net | 90.0 | 41.0 | n/a | 41.0 | 20.5 | **41.0** | 2.0 | 0.750 |" in page
    assert with_ratios([row("l-net", 0, 0.4)])[0]["ratio_to_full"] is None


def test_a_row_of_nothing_has_no_ratio():
    rows = [{"split": "own", "seed": 0, "method": name, "miou": miou} for name, miou in (("full", 0.0), ("l-net", 0.1))]
    assert [row["ratio_to_full"] for row in with_ratios(rows)] == [None, None]


def test_a_work_folder_that_would_be_a_pattern_is_refused(place, tmp_path):
    with pytest.raises(UserError, match=r"--workdir .*/a\[1\]: holds \[, which TensorFlow and Beam take for a pattern"):
        run(place, "--methods", "full", "--workdir", str(tmp_path / "a[1]"))
