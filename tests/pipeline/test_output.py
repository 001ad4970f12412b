"""What commands print: --json, --quiet, colours, completion."""

import json
import os
import shlex
import subprocess
import sys

import click
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from components.beam_masks.faults import dead_letter, refuse_above
from pipeline.cli import cli
from pipeline.cli.common import batch
from trainer.errors import ImageFault, UserError

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
    assert evaluate(masks, after=["--json", str(masks / "new/folder/scores.json")]).exit_code == 0
    assert (masks / "new/folder/scores.json").exists()
    for place, message in (("truth/a.png/scores.json", ".*a.png is no folder"), (".", ".* is a folder")):
        with pytest.raises(UserError, match=f"--json .*: {message}"):
            evaluate(masks, after=["--json", str(masks / place)])


def test_a_batch_job_s_too_and_where_too_much_failed(tmp_path, capsys):
    summary = {"inputs": 3, "labelled": 2, "dead": 1, "images_per_s": 1.0, "output": "o", "others": 4}
    with click.Context(cli) as context:
        [option] = [one for one in cli.commands["label"].params if one.name == "json_path"]
        batch(lambda: summary, option.process_value(context, "-"))
    printed = capsys.readouterr()
    assert json.loads(printed.out) == summary
    assert "4 masks of pictures that are not among these are left there" in printed.err and "2 of 3" in printed.err

    def failed():
        refuse_above(0, [dead_letter("a", ImageFault("read", "gone"))], 3, "letters", summary)

    with pytest.raises(SystemExit) as ended:
        batch(failed, tmp_path / "summary.json")
    assert ended.value.code == 1 and json.loads((tmp_path / "summary.json").read_text()) == summary


def test_the_work_goes_on_when_the_reader_of_the_screen_goes():
    code = """
import sys, time
from pipeline.cli.common import console
screen = console()
for number in range(200):
    screen.print(number)
    time.sleep(.005)
print("done", file=sys.stderr)
"""
    work = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    work.stdout.readline()
    work.stdout.close()
    assert work.stderr.read() == "done\n" and work.wait() == 0


@pytest.mark.parametrize("streams", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_no_fault(masks, streams):
    words = shlex.join([*COMMAND, *command_of(masks), "--json", str(masks / "scores.json")])
    assert subprocess.run(["bash", "-c", f"{words} {streams}"]).returncode == 0
    assert json.loads((masks / "scores.json").read_text())["miou"] == 1.0


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
