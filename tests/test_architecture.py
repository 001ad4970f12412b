"""A room imports only from floors below it, and files stay small."""

import ast
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = {"trainer": 1, "serving": 2, "components": 3, "pipeline": 4}
FILES = [path for room in FLOORS for path in sorted((ROOT / room).rglob("*.py"))]


def imported_modules(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downwards(path):
    floor = FLOORS[path.relative_to(ROOT).parts[0]]
    rooms = {module.split(".")[0] for module in imported_modules(path)} & set(FLOORS)
    assert {room for room in rooms if FLOORS[room] > floor} == set()


def test_the_public_module_lies_above_all_rooms():
    """`import transferseg` is for people; it only gathers, and needs no TFX."""
    assert not [path for path in FILES if "transferseg" in imported_modules(path)]
    tree = ast.parse((ROOT / "transferseg.py").read_text())
    assert {type(node) for node in tree.body} == {ast.Expr, ast.ImportFrom, ast.Assign}
    assert not imported_modules(ROOT / "transferseg.py") & {"tfx"}


@pytest.mark.parametrize("room", FLOORS)
def test_a_room_says_how_tensorflow_runs_before_it_is_imported(room):
    """TensorFlow reads it once; speed and last digits shall not hang on the order of imports."""
    names = ("TF_ENABLE_ONEDNN_OPTS", "TF_FORCE_GPU_ALLOW_GROWTH")
    code = f"import os, sys, {room}; print('tensorflow' in sys.modules, *map(os.environ.get, {names}))"
    environment = {name: value for name, value in os.environ.items() if name not in names}
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert shown.stdout.split() == ["False", "1", "true"], shown.stderr


def test_trainer_knows_no_tfx():
    for path in (ROOT / "trainer").rglob("*.py"):
        assert not {module.split(".")[0] for module in imported_modules(path)} & {"tfx", "apache_beam"}, path


def test_label_core_needs_only_numpy_scipy_and_opencv():
    for path in (ROOT / "components" / "weak_labels" / "core").glob("*.py"):
        assert not {module.split(".")[0] for module in imported_modules(path)} & {"tensorflow", "tfx", "apache_beam"}


@pytest.mark.parametrize("room", FLOORS)
def test_no_two_modules_of_a_room_share_a_name(room):
    """But those that TFX's components and Python's packages all have."""
    names = Counter(path.name for path in (ROOT / room).rglob("*.py"))
    assert {name for name, number in names.items() if number > 1} <= {"component.py", "__init__.py"}


@pytest.mark.parametrize("room", FLOORS)
def test_no_folders_of_a_room_import_each_other(room):
    """Folder, or module beside the folders -> those it imports from."""
    wants: dict[str, set[str]] = {}
    for path in (ROOT / room).rglob("*.py"):
        own = part_of(path.relative_to(ROOT).with_suffix("").parts)
        found = {part_of(module.split(".")) for module in imported_modules(path) if module.split(".")[0] == room}
        wants.setdefault(own, set()).update(found - {own, ""})
    while free := {folder for folder, others in wants.items() if not others & set(wants)}:
        wants = {folder: others for folder, others in wants.items() if folder not in free}
    assert not wants, {folder: others & set(wants) for folder, others in wants.items()}


def part_of(parts: Sequence[str]) -> str:
    """trainer.data.masks and trainer/data/masks -> "data"; trainer.errors -> "errors"; trainer -> ""."""
    return parts[1] if len(parts) > 1 else ""


def test_models_are_loaded_in_one_place():
    found = {str(path.relative_to(ROOT)) for path in FILES if re.search(r"saved_model\.load\b", path.read_text())}
    alone = "components/serving_validator/probe.py"  # knows nothing of this project; its caller gives it a plain path
    assert found == {"serving/saved_model.py", alone}


def test_graphs_are_made_without_autograph():
    assert [path for path in FILES if re.search(r"tf\.function\b", path.read_text())] == [ROOT / "trainer/graphs.py"]


def test_files_are_small():
    assert [str(path) for path in FILES if len(path.read_text().splitlines()) > 300] == []
