"""The Airflow DAG, run with dag.test() on SQLite. Needs the environment of `make test-airflow`."""

import importlib.util

import pytest
import yaml
from discs import draw_dataset, quick_config_of

from components.beam_masks.lock import locked
from pipeline.run.retention import clean

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        importlib.util.find_spec("airflow") is None,
        reason="Airflow is not in this environment; `make test-airflow` makes one that has it",
    ),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A dataset, a config and Airflow's database."""
    place = tmp_path_factory.mktemp("airflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_HOME", str(place / "home"))
        patch.setenv("AIRFLOW__CORE__LOAD_EXAMPLES", "false")
        patch.setenv("AIRFLOW__LOGGING__LOGGING_LEVEL", "WARNING")
        from airflow.utils.db import initdb

        initdb()
        draw_dataset(place / "data")
        (place / "config.yaml").write_text(yaml.safe_dump(quick_config_of(place / "data")))
        yield place


def states(run) -> dict[str, str]:
    return {task.task_id: task.state for task in run.get_task_instances()}


def test_the_dag_ends_in_a_pushed_model(place, monkeypatch):
    from pipeline.runners.airflow import make_dag

    monkeypatch.setenv("TRANSFERSEG_CONFIG", str(place / "config.yaml"))
    monkeypatch.setenv("TRANSFERSEG_WORKDIR", str(place / "work"))
    dag = make_dag()
    assert dag.get_task("segmentation").upstream_task_ids == {"weak_labels", "label_gate"}
    found = states(dag.test())
    assert set(found.values()) == {"success"} and {"examples", "l_net", "evaluator", "pusher"} <= set(found)
    [version] = (place / "work" / "serving" / "discs").iterdir()
    assert (version / "saved_model.pb").is_file()
    assert "| **mean** |" in (version / "assets.extra" / "model_card.md").read_text()
    assert (version / "assets.extra" / "predictions.prom").is_file()


def test_a_model_that_fails_the_serving_check_is_neither_judged_nor_pushed(place):
    """In the same work folder, so everything before the check comes from the cache."""
    from pipeline.runners.airflow import make_dag

    config = yaml.safe_load((place / "config.yaml").read_text())
    config["serving_check"]["max_latency_ms"] = 0.001
    (place / "strict.yaml").write_text(yaml.safe_dump(config))
    found = states(make_dag(str(place / "strict.yaml"), str(place / "work")).test())
    assert {name for name, state in found.items() if state == "skipped"} == {"evaluator", "pusher"}
    assert len(list((place / "work" / "serving" / "discs").iterdir())) == 1


def test_clean_up_and_tasks_exclude_each_other(place):
    from airflow.exceptions import AirflowFailException

    from pipeline.runners.airflow import run_component

    with locked(place / "work", "a clean-up"), pytest.raises(AirflowFailException, match="a clean-up is going on"):
        run_component(str(place / "config.yaml"), str(place / "work"), "examples", "run")
    assert {entry.kind for entry in clean(place / "work", keep=1, keep_versions=1)} >= {"checkpoints"}
    assert len(list((place / "work" / "serving" / "discs").iterdir())) == 1


def test_the_gate_does_not_compare_with_nothing(place):
    from airflow.exceptions import AirflowFailException

    from pipeline.runners.airflow import run_component

    models = place / "work" / "artifacts" / "p_net"
    models.rename(place / "elsewhere")
    with pytest.raises(AirflowFailException, match="latest blessed model, which the gate compares with, is gone"):
        run_component(str(place / "config.yaml"), str(place / "work"), "examples", "run")
    (place / "elsewhere").rename(models)


def test_a_refused_dataset_fails_its_task_with_the_line_a_person_reads(place):
    from airflow.exceptions import AirflowFailException

    from pipeline.runners.airflow import run_component

    (place / "data" / "ImageSets" / "Segmentation" / "train.txt").rename(place / "train.txt")
    with pytest.raises(AirflowFailException, match="train.txt: no such"):
        run_component(str(place / "config.yaml"), str(place / "work"), "examples", "run")
