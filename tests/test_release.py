"""What a release says of itself is true: requirements, files in the wheel, version, citation."""

import ast
import re
import subprocess
import sys
import zipfile
from importlib.metadata import distribution, requires
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
ROOMS = ("pipeline", "components", "serving", "trainer")
FILES = [ROOT / "transferseg.py", *(path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py")))]
OPTIONAL = {
    "airflow": "requirements-airflow.lock, an environment of its own",
    "datumaro": "extra: formats",
    "httpx": "extra: hf, of huggingface_hub",
    "huggingface_hub": "extra: hf",
    "tf2onnx": "extra: onnx",
    "onnxruntime": "extra: onnx",
}
SHARED = {"google": "protobuf"}  # a namespace of many packages; ours comes from this one
# keras is imported as tensorflow.keras, which is the installed keras


def imported() -> dict[str, Path]:
    """Top-level modules from outside -> a file that imports them."""
    found = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
            found |= {name.split(".")[0]: path for name in names}
    return {name: path for name, path in found.items() if name not in (*sys.stdlib_module_names, *ROOMS, "transferseg")}


def provided() -> dict[str, set[str]]:
    """Required package -> the top-level modules that it installs."""
    names = [re.match(r"[\w.-]+", line)[0] for line in requires("transferseg") if "extra ==" not in line]
    return {name: {file.parts[0].removesuffix(".py") for file in distribution(name).files} for name in names}


def test_every_import_is_required():
    packages = provided()
    modules = set().union(*packages.values()) | {name for name, package in SHARED.items() if package in packages}
    missing = {name: str(path) for name, path in imported().items() if name not in modules | set(OPTIONAL)}
    assert missing == {}, "add them to install_requires in setup.py"


def test_every_requirement_is_imported():
    names = set(imported()) - set(SHARED)
    idle = {package for package, modules in provided().items() if not modules & names}
    assert idle == {*SHARED.values(), "keras"}, "take them out of install_requires in setup.py"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "setup.py", "-q", "build", "--build-base", str(out / "build")]
    done = subprocess.run([*command, "bdist_wheel", "-d", str(out)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    [path] = out.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_every_module_and_every_file_that_the_code_reads(wheel):
    names = set(wheel.namelist())
    wanted = {path.relative_to(ROOT) for path in FILES}
    for room in ROOMS:
        others = (path for path in (ROOT / room).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        wanted |= {path.relative_to(ROOT) for path in others}
    assert {str(path) for path in wanted} - names == set(), "see package_data in setup.py"
    assert not [name for name in names if name.startswith(("tests", "benchmarks", "docs"))]


def test_the_version_is_one(wheel):
    [metadata] = [name for name in wheel.namelist() if name.endswith("METADATA")]
    version = re.search(r"^Version: (.+)$", wheel.read(metadata).decode(), re.MULTILINE)[1]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    newest = re.search(r"^## ([\d.]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1]
    assert version == citation["version"] == newest
    assert citation["preferred-citation"]["year"] == 2018


def test_hooks_run_what_is_there():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    for hook in (hook for repo in config["repos"] for hook in repo["hooks"]):
        program = hook["entry"].split()[0]
        assert (Path(sys.executable).parent / Path(program).name).exists(), program
