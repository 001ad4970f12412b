"""What is wrong with the examples, one readable line each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tensorflow_metadata.proto.v0 import anomalies_pb2

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
    """One line for every anomaly of a split: split, feature, description."""
    lines = [
        f"split {split}, feature {name}: {info.description or info.short_description}"
        for name, info in sorted(anomalies.anomaly_info.items())
    ]
    if anomalies.HasField("dataset_anomaly_info"):
        lines.append(f"split {split}: {anomalies.dataset_anomaly_info.description}")
    return lines
