"""What is wrong with the examples, one readable line each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tensorflow_metadata.proto.v0 import anomalies_pb2

from trainer.data import features

_NEW_IDS = {anomalies_pb2.AnomalyInfo.INT_TYPE_BIG_INT, anomalies_pb2.AnomalyInfo.BOOL_TYPE_BIG_INT}
_REMEDIES = {
    "strong": "no usable training image shows strong categories only; list some and give them masks",
    "weak": "no usable training image has a weak category; list some and give them tags",
    "eval": "no usable image to evaluate on; list some, with masks, in the list dataset.eval names",
}


def empty_split_lines(counts: Mapping[str, int], required: Sequence[str]) -> list[str]:
    """One line for every required split without examples.

    Args:
      counts: split name -> number of examples.
      required: splits that must have at least one.
    """
    return [f"split {split} is empty: {_REMEDIES[split]}" for split in required if not counts.get(split)]


def anomaly_lines(split: str, anomalies: anomalies_pb2.Anomalies) -> list[str]:
    """One line for every anomaly of a split: split, feature, description.

    A tag larger than any that the schema was inferred from is none: ImageExampleGen writes ids of known categories
    alone, and a category that is new need not be in the images that the schema knows.
    """
    lines = [
        f"split {split}, feature {name}: {info.description or info.short_description}"
        for name, info in sorted(anomalies.anomaly_info.items())
        if not (name == features.TAGS and info.reason and {reason.type for reason in info.reason} <= _NEW_IDS)
    ]
    if anomalies.HasField("dataset_anomaly_info"):
        lines.append(f"split {split}: {anomalies.dataset_anomaly_info.description}")
    return lines
