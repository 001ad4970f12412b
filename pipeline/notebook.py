"""Writes docs/quickstart.ipynb from the section "In a notebook" of docs/python.md: `python -m pipeline.notebook`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"
PAGE, NOTEBOOK = DOCS / "python.md", DOCS / "quickstart.ipynb"
SECTION = "## In a notebook\n"
BLOCK = re.compile(r"```(python|sh)\n(.*?)```\n", re.DOTALL)
_TITLE = "# transferseg: from a folder of photos to masks\n"


def section() -> str:
    """The section's text, without its heading and its first paragraph, which speaks of the notebook."""
    text = PAGE.read_text().partition(SECTION)[2].partition("\n## ")[0]
    return text.strip().partition("\n\n")[2] + "\n"


def notebook() -> dict[str, Any]:
    """The section in Jupyter's format (nbformat 4.5): prose as text cells, shell and Python blocks as code."""
    cells, place, text = [_cell("markdown", _TITLE)], 0, section()
    for block in BLOCK.finditer(text):
        cells.append(_cell("markdown", text[place : block.start()]))
        magic = "%%bash -e\n" if block[1] == "sh" else ""  # unlike a line with !, it stops the notebook when it fails
        cells.append(_cell("code", magic + block[2]))
        place = block.end()
    cells = [cell for cell in cells if cell["source"]]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def written() -> str:
    """The notebook's file."""
    return json.dumps(notebook(), indent=1) + "\n"


def _cell(kind: str, source: str) -> dict[str, Any]:
    cell = {"cell_type": kind, "metadata": {}, "source": source.strip().splitlines(keepends=True)}
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})


if __name__ == "__main__":
    NOTEBOOK.write_text(written())
