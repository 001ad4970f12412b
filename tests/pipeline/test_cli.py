import pytest
from click.testing import CliRunner

from pipeline.cli import entry
from trainer.errors import UserError

COMMANDS = sorted(entry.cli.commands)


def test_the_contract_s_commands_are_there():
    assert {"demo", "validate", "experiment", "run", "label", "predict", "evaluate", "serve", "query"} <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name):
    result = CliRunner().invoke(entry.cli, [name, "--help"])
    assert result.exit_code == 0 and f"Example: transferseg {name}" in " ".join(result.output.split())


def test_a_user_error_is_one_line_and_exit_2(monkeypatch, capsys):
    def refuse():
        raise UserError("config.yaml: unknown key 'x'")

    monkeypatch.setattr(entry, "cli", refuse)
    with pytest.raises(SystemExit) as caught:
        entry.main()
    assert caught.value.code == 2
    assert capsys.readouterr().err == "transferseg: config.yaml: unknown key 'x'\n"


def test_query_names_a_missing_image(tmp_path):
    arguments = ["query", "--server", "localhost:1", str(tmp_path / "none.jpg"), "--output", str(tmp_path / "o.png")]
    with pytest.raises(UserError, match="none.jpg"):
        CliRunner().invoke(entry.cli, arguments, catch_exceptions=False)
