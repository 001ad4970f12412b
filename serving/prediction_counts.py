"""What a model predicts, in counts: Prometheus histograms of its confidence and of each class's area.

The server, `transferseg predict` and the Evaluator count alike, so that any two can be compared (pipeline/drift.py).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

MASKS_AND_SCORES = "masks_and_scores"  # the signature that tells what is counted
FILE = "predictions.prom"
ASSET = f"assets.extra/{FILE}"  # of a pushed version: what it predicted on the pictures it was judged on
# our choice: upper bounds of the bins. Close to 0, where most classes' areas are, and to 1, where confidences are.
BOUNDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
_CONFIDENCE, _AREA = "transferseg_prediction_confidence", "transferseg_prediction_area"


class PredictionCounts(Collector):
    """Counts of pictures by what `masks_and_scores` tells of them; a Prometheus collector. Threads may share it.

    Attributes:
      names: of the classes by id, the background first.
      table: float64 [1 + C, bins + 1]: for the confidence and each class's area the pictures of each bin, and the sum
        of their values.
    """

    def __init__(self, names: Sequence[str], table: np.ndarray | None = None):
        self.names = tuple(names)
        self.table = empty_table(len(names)) if table is None else table
        self._adding = threading.Lock()

    def add(self, area: np.ndarray, confidence: np.ndarray) -> None:
        """Counts pictures: float [B, C], float [B]."""
        more = counted(area, confidence)
        with self._adding:
            self.table = self.table + more  # replaced, never changed: a scrape needs no lock

    @property
    def pictures(self) -> int:
        return int(self.table[0, :-1].sum())

    def rows(self) -> dict[str, np.ndarray]:
        """float64 [bins] of `confidence` and of `area of <class>`."""
        titles = ["confidence", *(f"area of {name}" for name in self.names)]
        return dict(zip(titles, self.table[:, :-1], strict=True))

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """As prometheus_client asks its collectors."""
        table = self.table
        confidence = HistogramMetricFamily(_CONFIDENCE, "Mean probability of the winning class in a picture.")
        area = HistogramMetricFamily(_AREA, "Mean probability of a class in a picture.", labels=["category"])
        for family, labels, row in [
            (confidence, [], table[0]),
            *((area, [name], row) for name, row in zip(self.names, table[1:], strict=True)),
        ]:
            bounds = [*map(str, BOUNDS[:-1]), "+Inf"]
            family.add_metric(labels, list(zip(bounds, np.cumsum(row[:-1]), strict=True)), row[-1])
        yield confidence
        yield area

    def text(self) -> bytes:
        """In Prometheus's text format."""
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)


def empty_table(num_classes: int) -> np.ndarray:
    """`PredictionCounts.table` of no picture."""
    return np.zeros((1 + num_classes, len(BOUNDS) + 1))


def counted(area: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """`PredictionCounts.table` of some pictures: float [B, C], float [B]."""
    values = np.concatenate([np.asarray(confidence, np.float64)[:, np.newaxis], np.asarray(area, np.float64)], 1)
    bins = np.searchsorted(BOUNDS[:-1], values)  # [B, 1 + C]; the last bin takes what rounding makes larger than 1
    table = empty_table(values.shape[1] - 1)
    np.add.at(table, (np.arange(values.shape[1]), bins), 1)
    table[:, -1] = values.sum(0)
    return table


def read_counts(text: str) -> PredictionCounts:
    """Counts out of Prometheus's text format, among whatever else it holds.

    Raises:
      ValueError: none in it, or of other bins.
    """
    rows: dict[str | None, dict[float, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == f"{_CONFIDENCE}_bucket" or sample.name == f"{_AREA}_bucket":
                name = sample.labels.get("category")
                rows.setdefault(name, {})[float(sample.labels["le"])] = sample.value
    names = [name for name in rows if name is not None]
    if None not in rows or not names:
        raise ValueError("no counts of predictions in it")
    if any(list(row) != [*BOUNDS[:-1], float("inf")] for row in rows.values()):
        raise ValueError("its counts have other bins")
    table = empty_table(len(names))
    for row, name in zip(table, [None, *names], strict=True):
        row[:-1] = np.diff(list(rows[name].values()), prepend=0)
    return PredictionCounts(names, table)
