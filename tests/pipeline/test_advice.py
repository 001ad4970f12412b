"""What a run says at its end: causes in words, limits that are reached, remedies from the data at hand."""

import io
import math

import pytest
import tensorflow_model_analysis as tfma
from finished_run import CONFIG
from google.protobuf import text_format
from rich.console import Console

from pipeline.config.run_config import GateConfig, make_config
from pipeline.execution.local_runner import ComponentRun
from pipeline.report import advice
from pipeline.report.evidence import Evidence, cause_of
from pipeline.report.facts import Facts, Miss
from pipeline.report.scoring import Scored
from pipeline.report.summary import RunSummary
from pipeline.run.closing import print_closing

LABEL = {"labelled": 20, "present": 18, "presence": 0.9}


def scored(key, iou, truth, prediction):
    return Scored(key, 0.5, iou, truth, prediction)


def test_why_nothing_of_a_picture_was_hit():
    causes = {
        cause_of(scored("a", {"dog": 0.0}, ["dog"], [])): "nothing was found",
        cause_of(scored("b", {"dog": 0.0, "cat": 0.0}, ["dog"], ["cat"])): "dog was taken for cat",
        cause_of(scored("c", {"dog": 0.0}, ["dog"], ["dog"])): "dog was found in another place",
        cause_of(scored("d", {"cat": 0.0}, [], ["cat"])): "nothing to see, but cat was found",
    }
    assert all(found == wanted for found, wanted in causes.items())


def evidence_of(**changes):
    values = {"trained": {"dog": 40, "cow": 50, "cat": 60}, "judged": {"dog": 9, "cow": 9, "cat": 9}, "labels": {}}
    values |= {"predictions": {"dog": [("background", 0.8), ("dog", 0.2)]}, "pictures": []}
    return Evidence(**values | changes)


def test_why_a_category_is_bad():
    assert evidence_of().cause("dog") == "80 % of its pixels were called background"
    few = {"dog": LABEL | {"present": 5, "presence": 0.25}}
    assert evidence_of(labels=few).cause("dog") == "only 5 of its 20 weak labels show it"
    assert evidence_of(trained={}).cause("dog") == "no training picture shows it"
    assert evidence_of(predictions={"dog": [("dog", 0.9)]}).cause("dog") is None
    pictures = [scored("b", {"dog": 0.4}, ["dog"], []), scored("a", {"dog": 0.1}, ["dog"], []), scored("c", {}, [], [])]
    assert [picture.key for picture in evidence_of(pictures=pictures).worst("dog")] == ["a", "b"]


@pytest.mark.parametrize(
    ("miss", "setting"),
    [
        (Miss("miou", 0.1739, 0.2, False), "gate.min_miou=0.17"),
        (Miss("weak_miou", 0.004, 0.1, False), "gate.min_weak_miou=0"),
        (Miss("weak_miou", math.nan, 0.1, False), "gate.min_weak_miou=null"),
        (Miss("miou", -0.0234, -0.01, True), "gate.max_miou_drop=0.03"),
        (Miss("weak_miou", -0.03, -0.01, True), "gate.max_weak_miou_drop=0.04"),
    ],
)
def test_the_proposed_limit_is_reached(miss, setting):
    assert advice._reached(miss) == setting


@pytest.mark.parametrize("drop", [0.01, 0.2])
def test_a_config_takes_all_proposed_limits_together(drop):
    config = CONFIG.model_copy(update={"gate": GateConfig(max_weak_miou_drop=drop)})
    missed = [
        Miss("weak_miou", math.nan, 0.1, False),
        Miss("weak_miou", -0.03, -0.01, True),
        Miss("miou", 0.1, 0.2, False),
    ]
    for some in (missed[:1], missed):
        values = config.model_dump(mode="json")
        for setting in advice._limits(config, some):
            key, value = setting.removeprefix("gate.").split("=")
            values["gate"][key] = None if value == "null" else float(value)
        assert make_config(values, "test").gate.min_weak_miou is None


def told(tmp_path, config, miss, evidence):
    """The closing lines of a run that was refused."""
    facts = Facts(config, tmp_path / "run", [])
    vars(facts).update(misses=[miss], model=str(tmp_path / "model"))  # as if read already
    summary = RunSummary(miou=0.4, strong_miou=0.6, weak_miou=0.05, refused_because=[str(miss)])
    summary.per_class = {"background": 0.9, "cat": 0.6, "dog": 0.0, "cow": 0.1}
    screen = io.StringIO()
    found = advice.advise(facts, summary, evidence)
    print_closing(summary, found, tmp_path / "report.html", Console(file=screen, width=40))
    return found, screen.getvalue()


MISS = Miss("weak_miou", 0.05, 0.2, False)


def test_a_refused_model_is_explained_and_every_command_is_one_line(tmp_path):
    found, screen = told(tmp_path, CONFIG, MISS, evidence_of(trained={"dog": 4, "cow": 50}))
    assert found.reasons[0] == "The mean IoU of the categories learned from tags is 5.0 %; the gate asks for 20.0 %."
    assert found.reasons[1].startswith("dog: 0.0 %, learned from tags of 4 pictures, judged by 9; 80 % of its pixels")
    assert "More tagged pictures of dog: 4 are few" in found.remedies[0].text and len(found.remedies) == 2
    lines = screen.splitlines()
    run = f"transferseg run {tmp_path}/run/config.yaml --workdir {tmp_path}/run"
    assert f"     {run} --set gate.min_weak_miou=0.05" in lines
    assert f"     {run} --accept 'why this one all the same'" in lines
    assert f"The refused model lies in {tmp_path}/model" in lines


def test_categories_that_the_gate_leaves_out_are_not_the_worst(tmp_path):
    """No picture to judge by shows dog; cow is added."""
    judged = evidence_of(judged={"cow": 9, "cat": 9})
    config = make_config(CONFIG.model_dump() | {"categories": {"strong": ["cat"], "weak": ["dog", "cow"]}}, "test")
    found, _ = told(tmp_path, config, Miss("miou", 0.05, 0.2, False), judged)
    assert [reason.partition(":")[0] for reason in found.reasons[1:]] == ["cow", "cat"]
    config = config.model_copy(update={"categories": config.categories.model_copy(update={"added": ["cow"]})})
    found, _ = told(tmp_path, config, Miss("miou", 0.05, 0.2, False), judged)
    assert [reason.partition(":")[0] for reason in found.reasons[1:]] == ["cat"]


def test_where_there_is_no_score_nothing_is_said_of_its_change(tmp_path):
    failure = """failures {{ metric_key {{ name: "known_weak_miou" is_diff: {} }} metric_threshold {{ {} }}
        metric_value {{ double_value {{ value: nan }} }} }}"""
    value = failure.format("false", "value_threshold { lower_bound { value: 0.2 } }")
    change = failure.format("true", "change_threshold { absolute { value: -0.01 } }")
    found = text_format.Parse(f"metric_validations_per_slice {{ {value} {change} }}", tfma.ValidationResult())
    facts = Facts(CONFIG, tmp_path, [])
    vars(facts).update(validation=found)
    [miss] = facts.misses
    assert not miss.is_change and advice._reached(miss) == "gate.min_weak_miou=null"


def test_remedies_follow_from_the_data(tmp_path):
    labels = {"dog": LABEL | {"present": 5, "presence": 0.25}}
    found, _ = told(tmp_path, CONFIG, MISS, evidence_of(labels=labels))
    assert "maps={extra_scales" in found.remedies[0].commands[0] and "review export" in found.remedies[1].commands[0]
    random = make_config(CONFIG.model_dump() | {"network": {"backbone": "mobilenet_v2", "weights": None}}, "test")
    found, _ = told(tmp_path, random, MISS, evidence_of())
    assert found.remedies[0].commands[0].endswith("--set network.weights=imagenet")


def test_a_pushed_and_a_stopped_run(tmp_path):
    pushed = advice.advise(
        Facts(CONFIG, tmp_path, []), RunSummary(pushed_model=f"{tmp_path}/serving/pets/7"), evidence_of()
    )
    assert f"--model {tmp_path}/serving/pets --images" in pushed.use and not pushed.reasons
    failed = ComponentRun("label_gate", error=RuntimeError("no labels"))
    stopped = advice.advise(Facts(CONFIG, tmp_path, [failed]), RunSummary(), evidence_of())
    assert stopped.go_on == f"transferseg run {tmp_path}/config.yaml --workdir {tmp_path}" and not stopped.again
