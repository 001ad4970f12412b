"""Drift: the index against its definition, chance against simulation, and the command."""

import io
import json
import math

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from pipeline.cli import cli
from pipeline.drift import compare, stability_index
from serving.prediction_counts import PredictionCounts
from trainer.errors import UserError

NAMES = ("background", "cat", "dog")


def test_the_index_is_its_definition():
    first, second = [4, 0, 6, 0, 30], [10, 0, 5, 3, 2]
    pairs = [(a + 0.5, b + 0.5) for a, b in zip(first, second, strict=True) if a or b]
    totals = [sum(side) for side in zip(*pairs, strict=True)]
    expected = sum((a / totals[0] - b / totals[1]) * math.log((a / totals[0]) / (b / totals[1])) for a, b in pairs)
    index, _ = stability_index(np.array(first, float), np.array(second, float))
    assert index == pytest.approx(expected) and index > 0.25
    assert stability_index(np.array(first, float), np.array(first, float))[0] == 0
    assert stability_index(np.array([0.0, 9]), np.array([0.0, 5]))[0] == 0


@pytest.mark.parametrize(("pictures", "judged"), [(60, 100), (1000, 300)])
def test_chance_gives_no_more_than_is_said(pictures, judged):
    """Histograms of one distribution pass the limit hardly ever, but come near it: it is neither loose nor useless."""
    rng = np.random.default_rng(0)
    shares = np.array([0.1, 0.15, 0.2, 0.25, 0.3])
    ratios = []
    for _ in range(2000):
        index, by_chance = stability_index(*(rng.multinomial(n, shares).astype(float) for n in (pictures, judged)))
        ratios.append(index / by_chance)
    assert np.mean(np.array(ratios) >= 1) < 0.004
    assert max(ratios) > 0.7


def write_counts(path, pictures, confidence, areas=(8, 1, 1), seed=0, names=NAMES):
    rng = np.random.default_rng(seed)
    counts = PredictionCounts(names)
    counts.add(rng.dirichlet(areas, pictures), rng.beta(20, 20 * (1 - confidence) / confidence, pictures))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(counts.text())
    return path


@pytest.fixture
def judged(tmp_path):
    """A pushed version."""
    write_counts(tmp_path / "serving" / "7" / "assets.extra" / "predictions.prom", 400, 0.85)
    (tmp_path / "serving" / "7" / "saved_model.pb").write_bytes(b"")
    return tmp_path / "serving"


def said(*arguments):
    screen = io.StringIO()
    return compare(*arguments, Console(file=screen, width=200)), screen.getvalue()


def test_the_same_kind_of_pictures_is_no_drift(judged, tmp_path):
    write_counts(tmp_path / "out" / "predictions.prom", 300, 0.85, seed=1)
    result, screen = said(tmp_path / "out", judged)
    assert (result["pictures"], result["reference_pictures"], result["drifted"]) == (300, 400, [])
    assert list(result["psi"]) == ["confidence", "area of background", "area of cat", "area of dog"]
    assert all(0 <= value < 0.1 for value in result["psi"].values()) and "warning" not in screen


def test_other_pictures_are_named_by_what_changed(judged, tmp_path):
    result, screen = said(write_counts(tmp_path / "served.prom", 300, 0.6), judged)
    assert result["drifted"] == ["confidence"] and "warning predictions have drifted" in screen
    result, _ = said(write_counts(tmp_path / "served.prom", 300, 0.85, areas=(8, 1, 10), seed=2), judged)
    assert {"area of background", "area of dog"} <= set(result["drifted"]) and "confidence" not in result["drifted"]


def test_few_pictures_are_no_drift(judged, tmp_path):
    result, _ = said(write_counts(tmp_path / "few.prom", 4, 0.85, seed=3), judged)
    assert max(result["psi"].values()) > 0.25 and result["drifted"] == []


def test_what_cannot_be_compared_is_named(judged, tmp_path):
    batch = write_counts(tmp_path / "out" / "predictions.prom", 9, 0.8)
    with pytest.raises(UserError, match=r"--prediction .*none: no counts of predictions \(predictions.prom\) there"):
        said(tmp_path / "none", judged)
    with pytest.raises(UserError, match="--reference .*: is of a model with other categories"):
        said(batch, write_counts(tmp_path / "other.prom", 9, 0.8, names=("background", "cat", "cow")))
    with pytest.raises(UserError, match="--reference .*empty.prom: counts no picture"):
        said(batch, write_counts(tmp_path / "empty.prom", 0, 0.8))
    (tmp_path / "metrics.prom").write_text("one 1\n")
    with pytest.raises(UserError, match="--reference .*metrics.prom: no counts of predictions in it"):
        said(batch, tmp_path / "metrics.prom")


def test_the_command(judged, tmp_path):
    write_counts(tmp_path / "out" / "predictions.prom", 300, 0.6)
    arguments = ["evaluate", "--prediction", str(tmp_path / "out")]
    done = CliRunner().invoke(cli, [*arguments, "--reference", str(judged), "--json", str(tmp_path / "d.json")])
    assert done.exit_code == 0 and "predictions have drifted" in done.output, done.output
    assert json.loads((tmp_path / "d.json").read_text())["drift"]["drifted"] == ["confidence"]
    for more in ([], ["--truth", str(tmp_path)], ["--categories", "a,b", "--reference", str(judged)]):
        done = CliRunner().invoke(cli, [*arguments, *more])
        assert isinstance(done.exception, UserError) and "give --truth and --categories" in str(done.exception)
