"""A model is pushed under one number, however often it is judged."""

import itertools
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from tfx.types import standard_artifacts

from components.pusher.component import Executor
from components.pusher.ledger import is_withdrawn


def push(place, content, blessed=1, names="cat"):
    """Pushes a model of that content and names; (whether it counts as pushed, the version's folder)."""
    model, blessing, pushed = (
        kind() for kind in (standard_artifacts.Model, standard_artifacts.ModelBlessing, standard_artifacts.PushedModel)
    )
    model.uri, pushed.uri = str(place / "model"), str(place / "pushed")
    exported = place / "model/Format-Serving"
    (exported / "variables").mkdir(parents=True, exist_ok=True)
    (exported / "saved_model.pb").write_text("graph")
    (exported / "variables/variables.data").write_text(content)
    (exported / "assets.extra").mkdir(exist_ok=True)
    (exported / "assets.extra/categories.json").write_text(names)
    blessing.set_int_custom_property("blessed", blessed)
    inputs = {"model": [model], "model_blessing": [blessing]}
    destination = {"filesystem": {"base_directory": str(place / "serving")}}
    Executor().Do(inputs, {"pushed_model": [pushed]}, {"push_destination": json.dumps(destination)})
    return pushed.get_int_custom_property("pushed"), pushed.get_string_custom_property("pushed_destination")


@pytest.fixture(autouse=True)
def _one_version_a_push(monkeypatch):
    seconds = itertools.count(1000)
    monkeypatch.setattr("components.pusher.component.time", SimpleNamespace(time=lambda: next(seconds)))


def test_the_newest_version_is_not_pushed_again_and_an_earlier_one_is(tmp_path):
    pushed = [push(tmp_path, content) for content in ("one", "one", "two", "one")]
    assert all(counts == 1 for counts, _ in pushed)
    numbers = [int(folder.rpartition("/")[2]) for _, folder in pushed]
    assert numbers[0] == numbers[1] < numbers[2] < numbers[3]
    assert sorted(path.name for path in (tmp_path / "serving").iterdir()) == sorted({*map(str, numbers)})


def test_a_version_with_a_later_number_than_the_clock_s_is_not_before_the_new_one(tmp_path):
    """A clock that was set back, or a date as a version."""
    by_hand = tmp_path / "serving/20300101120000"
    by_hand.mkdir(parents=True)
    (by_hand / "saved_model.pb").write_text("another")
    (by_hand / "variables").mkdir()
    _, folder = push(tmp_path, "one")
    assert folder == str(tmp_path / "serving/20300101120001") and push(tmp_path, "one")[1] == folder


def test_a_withdrawn_version_is_not_pushed_again_whatever_judged_it_anew(tmp_path):
    folders = [Path(push(tmp_path, content)[1]) for content in ("one", "two")]
    shutil.rmtree(folders[1])
    assert push(tmp_path, "two") == (1, str(folders[1])) and not folders[1].exists()
    _, third = push(tmp_path, "three")
    assert Path(third).exists() and push(tmp_path, "two") == (1, str(folders[1])), "the one before it is there still"
    shutil.rmtree(folders[0])  # an old one that somebody cleared away is not withdrawn
    _, again = push(tmp_path, "one")
    assert Path(again).exists() and int(Path(again).name) > int(Path(third).name)
    shutil.rmtree(tmp_path / "serving")
    assert Path(push(tmp_path, "one")[1]).exists()


def test_other_names_of_the_same_weights_are_another_version(tmp_path):
    pushed = [push(tmp_path, "one", names=names)[1] for names in ("pink", "pink", "magenta")]
    assert pushed[0] == pushed[1] != pushed[2]
    assert Path(pushed[2], "assets.extra/categories.json").read_text() == "magenta"


def test_a_push_that_was_killed_behind_the_copy_is_noted_by_the_next(tmp_path):
    push(tmp_path, "one")
    _, second = push(tmp_path, "two")
    (tmp_path / "serving.pushed.json").unlink()
    assert push(tmp_path, "two") == (1, second)
    shutil.rmtree(second)
    assert push(tmp_path, "two") == (1, second) and not Path(second).exists(), "withdrawn"


def test_a_withdrawn_version_stays_so_when_those_before_it_are_cleared_away(tmp_path):
    first, second = (Path(push(tmp_path, content)[1]) for content in ("one", "two"))
    shutil.rmtree(second)
    third = Path(push(tmp_path, "three")[1])
    shutil.rmtree(first)
    assert push(tmp_path, "two") == (1, str(second)) and not second.exists()
    shutil.copytree(third, second)  # put back
    assert not is_withdrawn(second)


def test_the_number_of_a_withdrawn_version_is_not_given_again(tmp_path, monkeypatch):
    push(tmp_path, "one")
    _, second = push(tmp_path, "two")
    shutil.rmtree(second)
    monkeypatch.setattr("components.pusher.component.time", SimpleNamespace(time=lambda: 1))
    assert int(Path(push(tmp_path, "three")[1]).name) > int(Path(second).name)


def test_a_model_that_is_not_blessed_any_more_counts_as_not_pushed(tmp_path):
    push(tmp_path, "one")
    assert push(tmp_path, "one", blessed=0)[0] == 0
