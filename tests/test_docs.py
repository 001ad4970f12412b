"""The documentation is built without a dead link, and says what the code says."""

import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from pipeline.cli import cli
from pipeline.config.reference import PAGE, reference
from trainer.config import Backbone
from trainer.models.weight_files import FILES

ROOT = Path(__file__).parents[1]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])


def test_the_config_reference_is_up_to_date_and_leaves_no_key_unexplained():
    assert PAGE.read_text() == reference(), "run: python -m pipeline.config.reference"
    unexplained = re.findall(r"^\| `(\w+)` \|.*\|  *(?:\([^)]*\) )?\|$", reference(), re.MULTILINE)
    assert unexplained == []


@pytest.mark.slow
def test_the_site_is_built_without_a_dead_link(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    commands = (tmp_path / "commands.html").read_text()
    assert "transferseg review export" in commands and "--l-net" in commands
    python = (tmp_path / "python.html").read_text()
    public = re.findall(r'^    "(\w+)",$', (ROOT / "transferseg.py").read_text(), re.MULTILINE)
    assert "load_model" in public and set(public) <= set(re.findall(r'id="transferseg\.(\w+)"', python))
    assert "Loads the two networks that label tagged pictures." in python, "docstrings of what is gathered there"
    assert (tmp_path / "quickstart.ipynb").exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+?)(?:#[\w-]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def _code_in(page: Path) -> str:
    """The lines between fences of a page."""
    inside, lines = False, []
    for line in page.read_text().splitlines():
        if line.startswith("```"):
            inside = not inside
        elif inside:
            lines.append(line)
    assert not inside, "a fence is left open"
    return "\n".join(lines)


def test_code_is_found_behind_fences_of_every_kind():
    assert "transferseg serve --model" in _code_in(ROOT / "README.md")
    assert "transferseg review import" in _code_in(ROOT / "docs/label-studio.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_docs_exist_with_their_options(page):
    for line in _code_in(page).replace("\\\n", " ").splitlines():
        words = line.split("#")[0].split()
        if words[:1] != ["transferseg"] or len(words) < 2:
            continue
        command = cli.commands[words[1]]
        if getattr(command, "commands", None):
            command = command.commands[words[2]]
        known = {option for parameter in command.params for option in parameter.opts}
        before_beam = words[: words.index("--")] if "--" in words else words
        options = {word.split("=")[0] for word in before_beam if word.startswith("--")}
        assert options <= known, (line, options - known)


def test_the_networks_page_has_every_backbone_and_its_file():
    page = (ROOT / "docs" / "networks.md").read_text()
    for backbone in get_args(Backbone):
        assert re.search(rf"^\| `{backbone}` \|", page, re.MULTILINE), backbone
        if backbone in FILES:
            file = FILES[backbone]
            facts = f"`{file.name}`", str(file.size or ""), file.md5 or ""
            assert re.search(rf"^\| `{backbone}` \| " + ".*".join(map(re.escape, facts)), page, re.MULTILINE), backbone


def test_messages_in_troubleshooting_are_real():
    """Each message's longest plain part stands in the code."""
    folders = ("pipeline", "components", "serving", "trainer")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    code = "\n".join(path.read_text() for path in files)
    code = re.sub(r'"\s*\n\s*f?"', "", code)
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    for message in re.findall(r"^\| (?:label gate: )?`([^`]+)`", page, re.MULTILINE):
        if message in ("no GPU", "RESOURCE_EXHAUSTED", "Killed"):  # not ours
            continue
        parts = re.split(r"\.\.\.|\d[\d.x]*|\[|\]|RGB|'imagenet'|%", message)
        longest = max(parts, key=len).strip()
        assert longest in code, longest
