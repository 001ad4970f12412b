"""A pushed version holds the counts of its predictions that the Evaluator made."""

import io

import numpy as np
import pytest
import tensorflow as tf
from finished_run import CATEGORIES, CONFIG, summary_of
from rich.console import Console

from components.image_example_gen.records import EVAL
from pipeline.drift import compare, find_counts
from pipeline.report.facts import Facts
from pipeline.report.model_card import write_judged_counts
from pipeline.report.scoring import examples_of
from serving.prediction_counts import PredictionCounts
from trainer.data.features import image_of


def test_a_pushed_version_holds_what_it_predicted_where_it_was_judged(finished, tmp_path):
    version = tmp_path / "7"
    (version / "assets.extra").mkdir(parents=True)
    (version / "saved_model.pb").write_bytes(b"")
    facts = Facts(CONFIG, tmp_path, finished)
    path = write_judged_counts(facts, summary_of(finished, pushed_model=str(version)))
    assert path == version / "assets.extra" / "predictions.prom"

    images = [image_of(example) for example in examples_of(facts.output("examples"), EVAL)]
    model = tf.saved_model.load(facts.model)
    answer = model.signatures["scores"](image_bytes=tf.constant(images))
    expected = PredictionCounts(CATEGORIES.names)
    expected.add(answer["area"].numpy(), answer["confidence"].numpy())
    counts = find_counts(version, "--reference")
    assert counts.names == tuple(CATEGORIES.names) and counts.pictures == len(images) == 12
    np.testing.assert_array_equal(counts.table[:, :-1], expected.table[:, :-1])
    assert "transferseg_prediction_confidence_sum" in path.read_text()
    assert compare(path, tmp_path, Console(file=io.StringIO()))["psi"]["confidence"] == 0


@pytest.mark.parametrize("pushed", [None, "/models/7"])
def test_without_a_push_or_an_evaluation_there_is_nothing_to_hold(finished, tmp_path, pushed):
    components = finished if pushed is None else [one for one in finished if one.name != "evaluator"]
    summary = summary_of(finished, pushed_model=pushed)
    assert write_judged_counts(Facts(CONFIG, tmp_path, components), summary) is None
