import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf
from click.testing import CliRunner
from commands import ROOT, TIMEOUT_S, transferseg, transferseg_process

from components.beam_masks.beam_options import check_beam_options
from pipeline.cli import entry
from pipeline.cli.common import model_folder, names_of
from trainer.errors import UserError

COMMANDS = sorted(entry.cli.commands)


def test_the_contract_s_commands_are_there():
    assert {"demo", "validate", "experiment", "run", "label", "predict", "evaluate", "serve", "query"} <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name):
    result = CliRunner().invoke(entry.cli, [name, "--help"])
    assert result.exit_code == 0 and f"Example: transferseg {name}" in " ".join(result.output.split())


def test_a_user_error_is_one_line_and_exit_2(monkeypatch, capsys):
    def refuse(**_):
        raise UserError("config.yaml: unknown key 'x'")

    monkeypatch.setattr(entry, "cli", refuse)
    with pytest.raises(SystemExit) as caught:
        entry.main()
    assert caught.value.code == 2
    assert capsys.readouterr().err == "transferseg: config.yaml: unknown key 'x'\n"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/first"),
        tf.errors.ResourceExhaustedError(None, None, "run/checkpoints/cam; No space left on device [Op:SaveV2]"),
        RuntimeError("Failed to establish connection to Metadata storage: database or disk is full query: COMMIT;"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_full_disk_is_one_line_and_exit_2_whoever_meets_it(error, monkeypatch, capsys):
    def fail(**_):
        raise error

    monkeypatch.setattr(entry, "cli", fail)
    with pytest.raises(SystemExit) as caught:
        entry.main()
    assert caught.value.code == 2
    told = capsys.readouterr().err
    assert "make room, then give the same command again" in told and ("runs/first: " in told) == ("runs" in str(error))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--direct_num_workers=x"], "argument --direct_num_workers: invalid int value: 'x'"),
        (["--runner=Foo"], "Unexpected pipeline runner: Foo"),
        (["--direct_runing_mode=x"], "Beam has no option --direct_runing_mode; is --direct_running_mode meant?"),
    ],
)
def test_wrong_beam_options_are_one_line_that_says_where_they_are(options, words):
    with pytest.raises(UserError) as refused:
        check_beam_options(options, "beam_args")
    assert str(refused.value).startswith(f"beam_args: {words}") and "\n" not in str(refused.value)


def test_beam_options_behind_a_command_are_looked_at_first(tmp_path):
    done = transferseg("import", "sbd", "--root", tmp_path, "--output", tmp_path / "out", "--", "--runner=Foo")
    assert done.returncode == 2 and done.stderr.startswith("transferseg: behind --: Unexpected pipeline runner: Foo")
    assert not (tmp_path / "out").exists()
    check_beam_options(["--direct_num_workers=2", "--runner=DirectRunner", "--of_another_runner=1"], "beam_args")


def test_query_names_a_missing_image(tmp_path):
    arguments = ["query", "--server", "localhost:1", str(tmp_path / "none.jpg"), "--output", str(tmp_path / "o.png")]
    with pytest.raises(UserError, match="none.jpg"):
        CliRunner().invoke(entry.cli, arguments, catch_exceptions=False)


def test_query_does_not_write_over_the_image(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"a photo")
    (tmp_path / "link.jpg").symlink_to("photo.jpg")
    arguments = [
        "query",
        "--server",
        "localhost:1",
        str(tmp_path / "photo.jpg"),
        "--output",
        str(tmp_path / "link.jpg"),
    ]
    with pytest.raises(UserError, match="is the image itself"):
        CliRunner().invoke(entry.cli, arguments, catch_exceptions=False)
    assert (tmp_path / "photo.jpg").read_bytes() == b"a photo"


MENDABLE = {
    "validate": ["folder"],
    "run": ["folder"],
    "calibrate": ["folder", "--cam", "folder", "--l-net", "folder", "--output", "out"],
    "experiment": ["folder"],
    "train": ["cam", "folder", "--examples", "folder", "--output", "out"],
    "clean": ["--workdir", "file"],
    "query": ["--server", "localhost:99999", "picture.png", "--output", "o.png"],
    "serve": ["--model", "folder", "--rest-port", "70000"],
    "label": ["--l-net", "folder", "--cam", "folder", "--images", "folder", "--tags", "file", "--output", "out"],
    "predict": ["--model", "folder", "--images", "folder", "--output", "out"],
    "push": ["hf", "--repo", "my-lab/pets", "--model", "folder"],
    "evaluate": ["--truth", "folder", "--prediction", "folder", "--categories", "none.txt"],
    "import": ["folder", "--images", "folder", "--output", "file"],
    "export": ["--model", "folder", "--format", "tflite", "--output", "out"],
    "review": ["export", "--workdir", "folder", "--output", "out"],
    "demo": ["--workdir", "file"],
    "init": ["folder", "--config", "nowhere/c.yaml"],
}
# Other tests start these as processes of their own, with good arguments.
STARTED_ELSEWHERE = {"run", "train", "clean", "query", "serve", "label", "predict", "evaluate", "init"}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "picture.png").write_bytes(b"")


def assert_one_line_and_exit_2(done):
    lines = [line for line in done.stderr.splitlines() if line.startswith(("transferseg: ", "Error: "))]
    assert done.returncode == 2 and len(lines) == 1 and "Traceback" not in done.stderr, done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_what_a_person_can_mend_is_one_line_and_exit_2(place, name):
    assert_one_line_and_exit_2(transferseg(name, *MENDABLE[name]))


@pytest.mark.parametrize("name", ["a/b", "a:b", ""])
def test_a_name_that_rest_cannot_reach_is_refused(place, name):
    done = transferseg("serve", "--model", "folder", "--name", name)
    assert_one_line_and_exit_2(done)
    assert f"--name '{name}': " in done.stderr


def test_also_over_rest(place):
    assert_one_line_and_exit_2(transferseg("query", *MENDABLE["query"], "--transport", "rest"))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(COMMANDS) - STARTED_ELSEWHERE))
def test_a_process_of_its_own_does_so_too(place, name):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    assert_one_line_and_exit_2(transferseg_process(name, *MENDABLE[name], cwd=Path.cwd(), env=environment))


def test_names_may_be_a_list_longer_than_a_path(tmp_path):
    names = [f"category {i}" for i in range(80)]
    assert names_of(",".join(names)) == names
    (tmp_path / "names.txt").write_text("\n".join(names))
    assert names_of(str(tmp_path / "names.txt")) == names
    with pytest.raises(UserError, match="nosuch.txt: no such file of names"):
        names_of("nosuch.txt")


@pytest.mark.parametrize("reason", ["Read-only file system", "Permission denied", "Not a directory"])
def test_what_tensorflow_may_not_write_is_one_line(reason, monkeypatch, capsys):
    def fail(**_):
        raise tf.errors.PermissionDeniedError(None, None, f"/runs/serving/1; {reason}")

    monkeypatch.setattr(entry, "cli", fail)
    with pytest.raises(SystemExit) as caught:
        entry.main()
    assert caught.value.code == 2 and capsys.readouterr().err == f"transferseg: /runs/serving/1: {reason}\n"


_SIGNALLED = """
import os, signal, time, weakref
from pipeline.cli import entry

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has it ignored by what is in the background

class Finalised:
    def __del__(self):
        os.kill(os.getpid(), signal.{number})
        sum(range(1000))  # where the signal arrives, and an exception would be lost

class Key:
    pass

def referred():
    key = Key()
    return weakref.ref(key, lambda _: (os.kill(os.getpid(), signal.{number}), sum(range(1000))))

def wait(**_):
    {where}
    time.sleep(30)

entry.cli = wait
entry.main()
"""


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize(
    "where", ["Finalised()", "referred()", "os.kill(os.getpid(), signal.{number})", "raise SystemExit(143)"]
)
def test_a_signal_ends_a_command_in_words_wherever_it_comes(number, where):
    code = _SIGNALLED.format(number=number, where=where.format(number=number))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=TIMEOUT_S, cwd=ROOT)
    assert done.returncode == 143 and done.stdout == "", done.stderr
    assert done.stderr == "transferseg: stopped; what is finished is kept, the same command goes on from there\n"


def test_the_end_of_a_file_is_no_signal(monkeypatch, capsys):
    @entry.cli.command("cut")
    def cut():
        raise EOFError("Compressed file ended before the end-of-stream marker was reached")

    monkeypatch.setattr(sys, "argv", ["transferseg", "cut"])
    try:
        with pytest.raises(SystemExit) as caught:
            entry.main()
    finally:
        del entry.cli.commands["cut"]
    assert caught.value.code == 3 and "Compressed file ended" in capsys.readouterr().err


def test_a_fault_of_ours_is_exit_3_with_the_traceback(monkeypatch, capsys):
    monkeypatch.setattr(entry, "cli", lambda **_: {}["key"])
    with pytest.raises(SystemExit) as caught:
        entry.main()
    assert caught.value.code == 3
    shown = capsys.readouterr().err
    assert "KeyError" in shown and shown.endswith("report it with the lines above\n")


def test_an_artifact_stands_for_the_model_in_it(tmp_path):
    assert model_folder(None) is None
    with pytest.raises(UserError, match="not a SavedModel"):
        model_folder(tmp_path)
    (tmp_path / "Format-Serving").mkdir()
    (tmp_path / "Format-Serving" / "saved_model.pb").touch()
    assert model_folder(tmp_path) == tmp_path / "Format-Serving"
    (tmp_path / "saved_model.pb").touch()
    assert model_folder(tmp_path) == tmp_path
