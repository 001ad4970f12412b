"""run.log and `--log`: one JSON object a line."""

import json
import logging
import re
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli import cli
from pipeline.run import quiet
from pipeline.run.run_log import RunLines, new_run_id
from trainer.errors import UserError


@pytest.fixture(autouse=True)
def same_logging_afterwards():
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers, level = handlers, root.setLevel(level)
    logging.captureWarnings(False)


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_line_says_when_who_which_run_and_which_component(tmp_path):
    from absl import logging as absl_logging

    lines = RunLines("run-1")
    quiet.log_to_file(tmp_path / "run.log", lines)
    logging.getLogger("tfx.x").info("starts\nwith %d lines", 2)
    lines.component = "cam"
    absl_logging.warning("at work")
    thread = threading.Thread(target=logging.getLogger("beam").error, args=("in a worker",))
    thread.start()
    thread.join()
    first, second, third = read(tmp_path / "run.log")
    assert set(first) == {"time", "level", "logger", "run_id", "component", "message"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+\+00:00", first["time"])
    assert (first["level"], first["logger"], first["run_id"], first["component"]) == ("INFO", "tfx.x", "run-1", None)
    assert first["message"] == "starts\nwith 2 lines"
    assert (second["logger"], second["component"], third["component"]) == ("absl", "cam", "cam")


def test_an_exception_is_a_field(tmp_path):
    quiet.log_to_file(tmp_path / "run.log", RunLines("run-1"))
    try:
        raise ValueError("no more disk")
    except ValueError:
        logging.getLogger("x").exception("cam failed")
    [line] = read(tmp_path / "run.log")
    assert line["message"] == "cam failed"
    assert line["exception"].startswith("Traceback") and line["exception"].endswith("ValueError: no more disk")


def test_a_second_run_appends_with_its_own_id(tmp_path):
    for run in ("one", "two"):
        quiet.log_to_file(tmp_path / "run.log", RunLines(run))
        logging.info("hello")
    assert [line["run_id"] for line in read(tmp_path / "run.log")] == ["one", "two"]


def test_run_ids_differ_and_sort_by_time():
    ids = {new_run_id() for _ in range(100)}
    assert len(ids) == 100 and all(re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{6}", run) for run in ids)


def test_batch_commands_log_where_they_are_told(tmp_path):
    arguments = ["predict", "--model", "none", "--images", "none", "--output", str(tmp_path / "out")]
    with pytest.raises(UserError, match="none"):
        CliRunner().invoke(cli, [*arguments, "--log", str(tmp_path / "l.log")], catch_exceptions=False)
    assert (tmp_path / "l.log").is_file()
    logging.info("hello")
    assert read(tmp_path / "l.log")[-1]["message"] == "hello"
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="--log .*folder: cannot be written"):
        CliRunner().invoke(cli, [*arguments, "--log", str(tmp_path / "folder")], catch_exceptions=False)


def test_lines_that_find_no_room_are_not_told_of_on_the_screen(tmp_path, capsys):
    quiet.log_to_file(Path("/dev/full"), RunLines("one"))
    logging.getLogger("transferseg").error("not started")
    quiet.log_to_file(tmp_path / "run.log", RunLines("two"))
    assert capsys.readouterr().err == ""
