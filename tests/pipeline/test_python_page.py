"""docs/python.md runs as it stands, and the notebook is its last section."""

import json
import re
from pathlib import Path

import pytest
from commands import ROOT
from labelling_samples import encode, scene

from pipeline.notebook import NOTEBOOK, PAGE, SECTION, written

pytestmark = pytest.mark.slow  # runs all the page says


@pytest.fixture
def after_the_tutorial(tmp_path, models, monkeypatch) -> Path:
    """The work folder of docs/tutorial.md, with networks that need no training."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(encode(scene(1)[0], "JPEG", quality=95))
    places = {"l_net": "artifacts/l_net/model/5/Format-Serving", "cam": "artifacts/cam/model/4/Format-Serving"}
    for kind, place in (places | {"segmentation": "serving/transferseg/1700000000"}).items():
        folder = tmp_path / "runs" / "first" / place
        folder.parent.mkdir(parents=True)
        folder.symlink_to(models[kind])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_blocks_run_in_their_order(after_the_tutorial, capsys):
    text = PAGE.read_text().partition(SECTION)[0]
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 8
    names: dict = {}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    assert names["mask"].shape == (72, 96) or names["mask"].shape == (64, 64)
    assert (names["label"].mask == 1).any() and names["scores"].per_class["disc"] > 0.5
    assert "mIoU 0." in capsys.readouterr().out


def test_ten_lines_train_a_network():
    [block] = [b for b in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if "transferseg.train(" in b]
    assert len(block.splitlines()) <= 10


def test_the_notebook_is_the_pages_section():
    assert NOTEBOOK.read_text() == written(), "run: python -m pipeline.notebook"


def test_the_notebook_fits_its_format():
    import nbformat

    nbformat.validate(nbformat.reads(NOTEBOOK.read_text(), as_version=4))
    assert "outputs" in json.loads(NOTEBOOK.read_text())["cells"][2]
    assert (ROOT / "docs" / "quickstart.ipynb").samefile(NOTEBOOK)
