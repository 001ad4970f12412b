"""What becomes of a work folder between runs: versions that people take away or add, metadata that get lost."""

import shutil
import sqlite3
from time import sleep

import pytest
from small_pipeline import compared_with, run_small
from test_retention import UNCOMPARED, workdir  # noqa: F401
from tfx.dsl.components.common.importer import Importer
from tfx.orchestration.metadata import Metadata
from tfx.orchestration.pipeline import Pipeline
from tfx.types.standard_artifacts import Model

from components.beam_masks.deadline import OutOfTime, within
from components.beam_masks.faults import dead_letter
from pipeline.config.run_config import load_config, make_config
from pipeline.execution.local_runner import LocalRunner
from pipeline.execution.metadata_store import connect
from pipeline.report.summary import RunSummary, of_push
from pipeline.run.history import DELETED, ModelHistory
from pipeline.run.readiness import make_ready
from pipeline.run.run_log import new_run_id
from trainer.data.files import read_bytes, to_lines
from trainer.errors import ImageFault, UserError

# ruff: noqa: F811  the fixture `workdir`


def test_a_version_that_was_withdrawn_is_not_pushed_again_and_that_is_said(workdir):
    for steps in (1, 2):
        run_small(workdir, steps=steps)
    before, withdrawn = sorted((workdir / "serving/small").iterdir(), key=lambda path: int(path.name))
    shutil.rmtree(withdrawn)
    make_ready(load_config(workdir / "config.yaml", UNCOMPARED), workdir)
    assert set(run_small(workdir, steps=2).values()) == {"cached"}
    summary = RunSummary()
    of_push(str(withdrawn), summary)
    [reason] = summary.refused_because
    assert summary.pushed_model is None and withdrawn.name in reason and f"the newest is {before.name}" in reason


def test_the_next_model_is_compared_with_the_one_blessed_last_not_with_the_one_made_last(workdir):
    for steps in (1, 2, 1):  # the third is cached, and so is its blessing
        run_small(workdir, steps=steps)
    first, second = sorted((workdir / "artifacts/p_net/model").iterdir(), key=lambda path: int(path.name))
    make_ready(load_config(workdir / "config.yaml", UNCOMPARED), workdir)
    assert compared_with(workdir) == str(first)
    assert run_small(workdir, steps=2)["evaluator"] == "done", "its blessing held against another model"
    make_ready(load_config(workdir / "config.yaml", UNCOMPARED), workdir)
    assert compared_with(workdir) == str(second)


def test_a_run_of_another_name_is_told_that_the_gate_compares_with_nothing(workdir):
    run_small(workdir)
    assert make_ready(load_config(workdir / "config.yaml", UNCOMPARED), workdir) == []
    renamed = load_config(workdir / "config.yaml", [*UNCOMPARED, "name=renamed"])
    [note] = make_ready(renamed, workdir)
    assert "no model of renamed was pushed in this work folder yet, only of small: the gate compares with none" in note
    run_small(workdir, name="renamed")
    assert make_ready(renamed, workdir) == []


def test_a_version_that_is_not_the_newest_any_more_is_told_of(workdir):
    for number in ("1700000000", "20300101120000"):
        (workdir / "serving" / number).mkdir(parents=True)
        (workdir / "serving" / number / "saved_model.pb").touch()
        summary = RunSummary()
        of_push(str(workdir / "serving/1700000000"), summary)
        assert summary.pushed_model == str(workdir / "serving/1700000000") and not summary.refused_because
        assert len(summary.warnings) == (number > "1700000000")
    assert "servers take the newest version, 20300101120000" in summary.warnings[0]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: file.unlink(), "is lost, which says what the artifacts are; put a copy of it back"),
        (lambda file: file.write_bytes(b""), "is lost, which"),
        (lambda file: file.write_bytes(file.read_bytes()[:100_000]), "is damaged"),
        (lambda file: file.write_bytes(b"no database" * 9999), "is damaged .file is not a database"),
    ],
    ids=["gone", "empty", "cut", "another file"],
)
def test_a_work_folder_whose_metadata_are_lost_is_not_worked_in(workdir, damage, message):
    """Numbers of folders would begin at 1 again, and records of earlier runs lie beside new ones."""
    run_small(workdir)
    config = load_config(workdir / "config.yaml", UNCOMPARED)
    damage(workdir / "metadata.sqlite")
    with pytest.raises(UserError, match=f"metadata.sqlite: {message}"):
        make_ready(config, workdir)
    shutil.rmtree(workdir / "artifacts")
    (workdir / "metadata.sqlite").unlink(missing_ok=True)
    make_ready(config, workdir)


@pytest.fixture
def left_out(workdir):
    """Notes in the examples of a small run that a picture was left out, and looks at them before a next run."""
    run_small(workdir)
    config = make_config(
        {"name": "small", "dataset": {"root": str(workdir / "data")}, "gate": {"accept": "no network"}}
        | {"categories": {"strong": ["cat"], "weak": ["dog"]}},
        "test",
    )
    (workdir / "data/JPEGImages").mkdir(parents=True)
    (workdir / "data/SegmentationClass").mkdir()

    def look(fault: ImageFault, file: str = "rejected.jsonl") -> str:
        [*_, examples] = sorted((workdir / "artifacts/examples/examples").iterdir())
        (examples / file).write_bytes(to_lines([dead_letter("a", fault)]))
        make_ready(config, workdir)
        return run_small(workdir)["examples"]

    return look


def test_a_picture_that_can_be_read_again_is(workdir, left_out):
    """A file server that was away, or a right that was missing, changes neither sizes nor times."""
    picture = workdir / "data/JPEGImages/a.jpg"
    picture.mkdir()  # root may read what nobody may
    with pytest.raises(ImageFault) as unreadable:
        read_bytes(picture)
    assert left_out(unreadable.value) == "cached"  # as it was: nothing would be gained by a training
    picture.rmdir()
    picture.write_bytes(b"a picture")
    assert left_out(ImageFault("decode", "truncated")) == "cached"
    assert left_out(unreadable.value) == "done"


def test_a_picture_that_took_too_long_is_tried_once_more(left_out):
    with pytest.raises(OutOfTime) as late:
        within(0.0, sleep, 0.1)
    assert left_out(ImageFault("network", late.value), "dead_letters.jsonl") == "done"
    assert left_out(ImageFault("network", late.value), "dead_letters.jsonl") == "cached"


def test_a_work_folder_in_which_nothing_but_imports_was_done_is_not_taken_for_a_moved_one(workdir):
    run_small(workdir, good=0)
    config = load_config(workdir / "config.yaml", [*UNCOMPARED, "name=importing"])
    imported = Importer(source_uri="/runs/first/cam/model/7", artifact_type=Model).with_id("cam")
    runner = LocalRunner(new_run_id(), lambda *_: None, lambda _: None)
    runner.run(
        Pipeline(
            pipeline_name="importing",
            pipeline_root=str(workdir / "artifacts"),
            components=[imported],
            metadata_connection_config=connect(config.metadata, workdir),
        )
    )
    make_ready(config, workdir)


def test_a_forgotten_output_takes_none_of_the_same_execution_with_it(workdir):
    run_small(workdir)
    config = load_config(workdir / "config.yaml")
    with Metadata(connect(config.metadata, workdir)) as handle:
        [artifact] = [one for one in ModelHistory(handle.store, "small").artifacts.values() if one.type == "ModelRun"]
        artifact.state = DELETED
        handle.store.put_artifacts([artifact])
        assert not ModelHistory(handle.store, "small").leftovers


def test_a_work_folder_that_was_moved_or_copied_is_not_worked_in(tmp_path):
    """No model was pushed there; what is imported may lie anywhere."""
    one, two = tmp_path / "one", tmp_path / "two"
    (one / "artifacts").mkdir(parents=True)
    run_small(one, good=0)
    config = load_config(one / "config.yaml", UNCOMPARED)
    shutil.copytree(one, two)
    with pytest.raises(UserError, match="two: was moved or copied: .*/one/artifacts/.*; put the folder back where"):
        make_ready(config, two)
    make_ready(config, one)
    with sqlite3.connect(one / "metadata.sqlite") as store:
        store.execute("UPDATE Artifact SET uri = '/runs/first/artifacts/cam/model/7' WHERE id = 1")
    make_ready(config, one)
    shutil.rmtree(two)
    one.rename(two)
    one.symlink_to(two)  # where it was it still is
    make_ready(config, two)


def test_metadata_that_another_program_holds_are_not_called_damaged(workdir, monkeypatch):
    run_small(workdir)
    monkeypatch.setattr("pipeline.execution.metadata_store._TIMEOUT", 0.1)
    with sqlite3.connect(workdir / "metadata.sqlite") as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UserError, match="cannot be read now .database is locked.; close what has it open"):
            make_ready(load_config(workdir / "config.yaml", UNCOMPARED), workdir)
        other.rollback()
    make_ready(load_config(workdir / "config.yaml", UNCOMPARED), workdir)
