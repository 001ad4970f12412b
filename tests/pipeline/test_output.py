"""What commands print: --json, --quiet, colours, completion."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from pipeline.cli import cli
from trainer.errors import UserError

COMMAND = [sys.executable, "-m", "pipeline.cli"]


@pytest.fixture
def masks(tmp_path):
    for name in ("truth", "prediction"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / name / "a.png")
    return tmp_path


def evaluate(place, *before, after=()):
    return CliRunner().invoke(cli, [*before, *command_of(place), *after], catch_exceptions=False)


def command_of(place):
    folders = ["--truth", str(place / "truth"), "--prediction", str(place / "prediction")]
    return ["evaluate", *folders, "--categories", "background,cat"]


def test_json_on_the_standard_output_is_all_that_is_there(masks):
    done = evaluate(masks, after=["--json", "-"])
    assert json.loads(done.stdout)["miou"] == 1.0
    assert "cat" in done.stderr  # the table


def test_json_in_a_file_beside_the_table(masks):
    done = evaluate(masks, after=["--json", str(masks / "scores.json")])
    assert json.loads((masks / "scores.json").read_text())["miou"] == 1.0 and "cat" in done.stdout
    with pytest.raises(UserError, match="cannot be written"):
        evaluate(masks, after=["--json", str(masks / "no" / "scores.json")])


def test_quiet_prints_nothing(masks):
    assert evaluate(masks, "--quiet").output == ""
    assert json.loads(evaluate(masks, "--quiet", after=["--json", "-"]).output)["images"] == 1
    os.environ.pop("TQDM_DISABLE", None)


def test_no_colours_where_nobody_looks_and_verbose_shows_the_libraries(masks):
    done = subprocess.run([*COMMAND, "--verbose", *command_of(masks)], capture_output=True, text=True)
    assert done.returncode == 0 and "\x1b[" not in done.stdout + done.stderr


def test_the_shell_completes_commands_and_options():
    def complete(words):
        asked = {"_TRANSFERSEG_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        code = "from pipeline.cli import cli; cli(prog_name='transferseg')"
        command = [sys.executable, "-c", code]
        return subprocess.run(command, env=os.environ | asked, capture_output=True, text=True).stdout

    assert "plain,validate" in complete("transferseg val")
    assert "--workdir" in complete("transferseg run --w")


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_has_help_with_an_example(name):
    command = cli.commands[name]
    subcommands = getattr(command, "commands", {})
    done = CliRunner().invoke(cli, [name, "--help"])
    assert done.exit_code == 0 and "Example: transferseg" in done.output
    for sub in subcommands:
        assert CliRunner().invoke(cli, [name, sub, "--help"]).exit_code == 0
