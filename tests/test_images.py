"""Container images, shell scripts and their workflow: linted, and consistent with the lock."""

import importlib.resources
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCKERFILES = sorted((ROOT / "docker").glob("Dockerfile*"))
SCRIPTS = [ROOT / ".ci" / "run", ROOT / "bootstrap.sh", *sorted((ROOT / "docker").glob("*.sh"))]


def lint(tool: str, path: Path) -> subprocess.CompletedProcess:
    return subprocess.run([Path(sys.executable).with_name(tool), path], capture_output=True, text=True)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_dockerfiles_pass_hadolint(path):
    assert lint("hadolint", path).stdout == ""


def test_hadolint_finds_a_planted_fault(tmp_path):
    text = (ROOT / "docker" / "Dockerfile").read_text()
    wrong = tmp_path / "Dockerfile"
    wrong.write_text(text.replace("slim-bookworm", "slim-bookworm\nRUN cd /tmp && pip install requests", 1))
    done = lint("hadolint", wrong)
    assert done.returncode != 0 and "DL3003" in done.stdout and "DL3013" in done.stdout


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_pass_shellcheck(path):
    assert lint("shellcheck", path).stdout == ""


def test_shellcheck_finds_a_planted_fault(tmp_path):
    (tmp_path / "wrong.sh").write_text('#!/usr/bin/env bash\ncd "$1"\nrm -r $2\n')
    assert "SC2086" in lint("shellcheck", tmp_path / "wrong.sh").stdout


def test_every_image_holds_the_locked_set_and_no_root():
    for path in DOCKERFILES:
        text = path.read_text()
        if path.suffix == ".beam":
            assert "FROM ${BASE}" in text and "ARG BASE=transferseg:cpu" in text
        else:
            assert "--no-deps -r /src/requirements.lock" in text
            assert text.rindex("USER 1000") > text.rindex("FROM ")


def test_beams_harness_is_the_locked_beams():
    [harness] = re.findall(r"beam_python3\.10_sdk:([\d.]+)", (ROOT / "docker" / "Dockerfile.beam").read_text())
    assert f"\napache-beam=={harness}\n" in (ROOT / "requirements.lock").read_text()


def test_the_build_context_holds_what_the_dockerfiles_copy():
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")}
    assert {"requirements.lock", "setup.py"} <= allowed and all((ROOT / name).exists() for name in allowed)
    setup = (ROOT / "setup.py").read_text()
    assert {name.rstrip("*") for name in re.findall(r'"(\w+\*)"', setup)} <= allowed


def test_without_docker_the_build_says_that_it_skips(tmp_path):
    (tmp_path / "docker").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "docker").chmod(0o755)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([ROOT / "docker" / "build.sh"], env=os.environ | path, capture_output=True, text=True)
    assert done.returncode == 0 and "skipped, nothing was built" in done.stdout


def test_a_build_that_fails_is_no_success(tmp_path):
    (tmp_path / "docker").write_text('#!/bin/sh\n[ "$1" = info ]\n')
    (tmp_path / "docker").chmod(0o755)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([ROOT / "docker" / "build.sh"], env=os.environ | path, capture_output=True, text=True)
    assert done.returncode != 0 and "built" not in done.stdout


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda path: path.name)
def test_workflows_fit_their_schema(path):
    import jsonschema  # takes a second

    schema = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "github-workflows.json"
    text = path.read_text().replace("\non:", '\n"on":')  # YAML 1.1 reads on as true
    jsonschema.validate(yaml.safe_load(text), json.loads(schema.read_text()))
