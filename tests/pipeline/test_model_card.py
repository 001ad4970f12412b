"""The model card tells the run's own facts."""

import re
from pathlib import Path

import pytest
from finished_run import CATEGORIES, CONFIG, summary_of

from pipeline.report.facts import Facts
from pipeline.report.model_card import model_card, write_model_card
from pipeline.report.templates import percent
from serving.saved_model import MODEL_CARD

pytestmark = pytest.mark.slow  # whole cards

SERVING = {"latency_ms": 12.3, "memory_mb": 456.7, "load_s": 1.0, "agreement": 0.999}


def tables(card: str) -> dict[str, list[str]]:
    """First cell of every table row -> the others."""
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in card.splitlines() if line[:1] == "|"]
    return {row[0].strip("* "): [cell.strip("* ") for cell in row[1:]] for row in rows}


def test_the_card_says_what_the_run_measured(finished, tmp_path):
    summary = summary_of(finished, pushed_model="/m/7", serving=SERVING, warnings=["p_net: collapsed"])
    card = model_card(Facts(CONFIG, tmp_path, finished), summary)
    found = tables(card)
    for name, value in summary.per_class.items():
        assert percent(value) in found[name] or name in CATEGORIES.foreground
    assert found["dog"][-1] == percent(summary.per_class["dog"])
    assert found["mean"] == [percent(summary.miou)]
    assert found["categories with tags alone"] == [percent(summary.weak_miou)]
    assert re.search(r"\| dog \| 2 \| tags \| 0 \| 5 \| 0 \|", card), "images of the category by split"
    assert re.search(r"\| \*\*images\*\* \| \| \| 7 \| 10 \| 12 \|", card)
    assert "| cat | 1 | masks |" in card and "12 ms a picture" in card and "99.9 % of pixels" in card
    assert "`abc123`" in card and "p_net: collapsed" in card and "at least 30.0" in card
    assert "measured on 12 pictures" in card
    poor = {name for name, value in summary.per_class.items() if value is not None and value < 0.3}
    assert poor == set(re.findall(r"- (\w+) is poor", card))


def test_tables_are_whole(finished, tmp_path):
    """Every table has a head, a rule and rows of as many cells, with no blank line inside."""
    card = model_card(Facts(CONFIG, tmp_path, finished), summary_of(finished, pushed_model="/m/7"))
    blocks = re.findall(r"(?:^\|.*\n)+", card, re.MULTILINE)
    assert len(blocks) == 2
    for block in blocks:
        cells = [line.rstrip().strip("|").count("|") for line in block.splitlines()]
        assert len(block.splitlines()) > 2 and len(set(cells)) == 1, block
        assert set(block.splitlines()[1]) <= set("|-")


def test_a_pushed_version_gets_one_card_and_keeps_it(finished, tmp_path):
    (tmp_path / "7" / "assets.extra").mkdir(parents=True)
    summary = summary_of(finished, pushed_model=str(tmp_path / "7"))
    path = write_model_card(Facts(CONFIG, tmp_path, finished), summary)
    assert path == tmp_path / "7" / MODEL_CARD
    Path(path).write_text("edited by hand")
    write_model_card(Facts(CONFIG, tmp_path, finished), summary)
    assert path.read_text() == "edited by hand"
    assert write_model_card(Facts(CONFIG, tmp_path, finished), summary_of(finished)) is None
