"""Counts of predictions: against numpy, through Prometheus's text and back, and from the server."""

import numpy as np
import pytest
import requests
import tensorflow as tf
from serving_samples import CATEGORIES, draw, encode

from serving.client import SegmentationClient
from serving.local_server.server import serve
from serving.prediction_counts import BOUNDS, PredictionCounts, read_counts

NAMES = ("background", 'a "quoted"', "b\\c")


def some_predictions(pictures: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.dirichlet([3, 0.3, 0.1], pictures), rng.uniform(0.4, 1, pictures)


def test_pictures_are_counted_as_numpy_counts_them():
    area, confidence = some_predictions(500)
    counts = PredictionCounts(NAMES)
    counts.add(area[:100], confidence[:100])
    counts.add(area[100:], confidence[100:])
    assert counts.pictures == 500
    for row, values in zip(counts.table, [confidence, *area.T], strict=True):
        # Bins hold their upper bound, as Prometheus's do; numpy's hold the lower one.
        expected = np.histogram(-values, [-np.inf, *(-bound for bound in BOUNDS[-2::-1]), np.inf])[0][::-1]
        np.testing.assert_array_equal(row[:-1], expected)
        assert row[-1] == pytest.approx(values.sum())


def test_the_text_holds_all_that_is_counted():
    counts = PredictionCounts(NAMES)
    counts.add(*some_predictions(50))
    text = counts.text().decode()
    assert "transferseg_prediction_confidence_count 50.0" in text
    again = read_counts("# TYPE other gauge\nother 1\n" + text)
    assert again.names == NAMES
    np.testing.assert_array_equal(again.table[:, :-1], counts.table[:, :-1])


@pytest.mark.parametrize(
    ("text", "message"),
    [("other 1\n", "no counts"), ("one two three", ""), ("le", "other bins")],
)
def test_other_texts_are_refused(text, message):
    if text == "le":
        text = PredictionCounts(NAMES).text().decode().replace('le="0.99"', 'le="0.98"')
    with pytest.raises(ValueError, match=message):
        read_counts(text)


@pytest.mark.slow
def test_one_look_gives_the_masks_and_the_scores(signatures):
    images = tf.constant([encode(draw(40, 60, 1)), encode(draw(90, 30, 2), "JPEG")])
    both = signatures["masks_and_scores"](image_bytes=images)
    assert sorted(both) == ["area", "confidence", "mask_bytes"]
    assert both["mask_bytes"].numpy().tolist() == (
        signatures["serving_default"](image_bytes=images)["mask_bytes"].numpy().tolist()
    )
    scores = signatures["scores"](image_bytes=images)
    for name in ("area", "confidence"):
        np.testing.assert_allclose(both[name], scores[name], rtol=1e-5)


@pytest.mark.slow
def test_the_server_counts_what_it_predicts(saved_model, signatures):
    """Every picture that gets a mask, once, and none of the warm-up; the answer itself stays as it was."""
    running = serve(saved_model.parent, grpc_port=0, rest_port=0)
    try:
        url = f"http://127.0.0.1:{running.rest_port}/metrics"
        assert read_counts(requests.get(url).text).pictures == 0
        images = [encode(draw(40, 60, seed)) for seed in range(3)]
        with SegmentationClient(f"127.0.0.1:{running.rest_port}", transport="rest") as client:
            client.predict(images[:2])
            client.predict(images[2:])
        counts = read_counts(requests.get(url).text)
    finally:
        running.stop()
    answer = signatures["scores"](image_bytes=tf.constant(images))
    expected = PredictionCounts(CATEGORIES.names)
    expected.add(answer["area"].numpy(), answer["confidence"].numpy())
    assert counts.names == tuple(CATEGORIES.names) and counts.pictures == 3
    np.testing.assert_array_equal(counts.table[:, :-1], expected.table[:, :-1])
