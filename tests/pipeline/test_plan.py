"""The plan of a run: what it counts, what it sums up, how it corrects itself."""

import io

import pytest
from rich.console import Console
from tiny_config import tiny_values

from pipeline.config.run_config import make_config
from pipeline.demo.demo_data import draw_demo_dataset
from pipeline.experiment.methods import METHODS
from pipeline.experiment.rows import STEPS, plan_rows
from pipeline.report.templates import duration
from pipeline.run.plan import PROBE, Counts, Rates, Remaining, count, known_rates, plan, print_plan

STAGE = {"epochs": 2, "batch_size": 4}


def config_of(root, **changes):
    values = {
        **tiny_values(root),
        "cam": STAGE,
        "l_net": STAGE,
        "segmentation": STAGE,
        "p_net": STAGE | {"pretrain_epochs": 1},
    }
    return make_config(values | changes, "test")


def test_seconds_are_pictures_times_rates():
    trained = {"backbone": "tiny", "weights": "tiny.h5"}
    config = config_of("/data", network=trained, cam=STAGE | {"freeze_backbone": True})
    planned = plan(config, Counts(strong=40, weak=60, eval=10), Rates(forward=1.0, head=2.0, full=3.0, read=0.5))
    stage = 3.0  # of the tiny network, whatever it learns
    assert planned["cam"] == stage + 100 * 2 * (2.0 + 0.5)
    assert planned["l_net"] == stage + 40 * 2 * (3.0 + 0.5)
    assert planned["segmentation"] == stage + 100 * 2 * (3.0 + 0.5)
    assert planned["p_net"] == 2 * stage + 40 * (1.0 + 0.5) + 100 * 2 * (3.0 + 1.0 + 0.5)
    assert planned["weak_labels"] == pytest.approx(stage + 60 * (0.05 + 0.5 + 2 * 1.0))
    assert "strong_only" not in planned
    more = config_of("/data", maps={"extra_scales": [0.7], "mirror": True}, compare_strong_only=True, cam_from="x")
    others = plan(more, Counts(40, 60, 10), Rates(1.0, 2.0, 3.0, 0.5))
    assert others["weak_labels"] == pytest.approx(stage + 60 * (0.05 + 0.5 + 8 * 1.0))
    assert others["strong_only"] == others["l_net"] and "cam" not in others


def test_what_took_longer_makes_the_rest_longer():
    left = Remaining({"cam": 60.0, "l_net": 100.0, "p_net": 50.0})
    assert left.seconds == 210 and left.of("cam") == 60
    left.done("cam", 120.0, worked=True)
    left.done("statistics", 9.0, worked=True)  # not in the plan
    assert left.seconds == 2 * 150 and left.of("p_net") == 2 * 50
    left.done("l_net", 0.1, worked=False)  # cached: says nothing about the others
    assert left.seconds == 2 * 50 and left.of("l_net") is None


def test_networks_that_rows_share_count_once():
    assert set(STEPS) == set(METHODS)
    planned = {"cam": 1.0, "l_net": 10.0, "weak_labels": 100.0, "segmentation": 1000.0, "p_net": 10_000.0}
    left = plan_rows([("own", name, 0) for name in ("l-net", "p-net", "p-net-direct+crf", "full")], planned)
    assert [left.of(f"own {name}, seed 0") for name in ("l-net", "p-net", "p-net-direct+crf", "full")] == [
        1111.0,
        10_000.0,
        10_000.0,
        1000.0,
    ]


def test_the_probe_measures_this_machine_once_a_work_folder(tmp_path):
    root = draw_demo_dataset(tmp_path / "data", train=12, val=4, progress=False)
    config = config_of(root)
    counts = count(config)
    assert (counts.train, counts.eval) == (12, 4)
    rates = known_rates(config, tmp_path / "run")
    assert min(rates.forward, rates.head, rates.full, rates.read) > 0
    assert (tmp_path / "run" / PROBE).is_file() and known_rates(config, tmp_path / "run") == rates
    for cut in ("", "{}", '{"of": '):  # of a run that was killed, or of an earlier version
        (tmp_path / "run" / PROBE).write_text(cut)
        assert known_rates(config, tmp_path / "run").read > 0
    screen = io.StringIO()
    print_plan(plan(config, counts, rates), counts, Console(file=screen, width=100))
    assert "12 pictures" in screen.getvalue() and "segmentation" in screen.getvalue()


def test_durations_are_in_words():
    assert [duration(seconds) for seconds in (0.04, 9.96, 59.4, 83, 3599.6, 4000)] == [
        "0.0 s",
        "10.0 s",
        "59 s",
        "1 min 23 s",
        "1 h 0 min",
        "1 h 6 min",
    ]
