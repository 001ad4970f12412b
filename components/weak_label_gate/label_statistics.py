"""Statistics of a label set and the reasons to refuse it. Records are those of `read_labels`; no TFX here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from components.weak_label_gate.gate_config import LabelGateConfig
from trainer.categories import BACKGROUND, VOID, Categories

# Our choice: shares of the image, finer for small objects.
_AREA_EDGES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
_LEAST_CERTAIN = 12  # our choice: images quoted for review


def label_statistics(
    records: Sequence[Mapping[str, Any]], inputs: Mapping[str, Sequence[int]], categories: Categories
) -> dict[str, Any]:
    """What a label set looks like; JSON-ready. Shares are 0..1, means over images weigh every image alike.

    Args:
      records: dicts of key, tags (ids), confidence, shares (id as text -> share of the image's pixels); of images with
        boxes also boxes ([tag, share of the box that its label covers]).
      inputs: key -> tags of every weak example that was to be labelled.
      categories: names by id.

    Returns:
      images, labelled, coverage (labelled / images), foreground_share (of the pixels that are not void), void_share,
      empty_share (images without any foreground), confidence (mean), areas (histogram over (image, tag) pairs: edges,
      counts), least_certain (keys), unknown and changed (keys of records without an example, or with other tags), and
      tags: name -> weak (bool), images (tagged), labelled (of these, with a label), present (of those, with pixels),
      presence (present / labelled), mean_area (where present), tag_share (of all tags), pixel_share (of the
      foreground). If there are boxes, also boxes: count, covered (mean share of a box), empty (boxes without a pixel of
      their tag), images (keys of those).
    """
    tags_of = {record["key"]: record["tags"] for record in records}
    foreground = [_foreground(record, categories) for record in records]
    void = np.array([record["shares"].get(str(VOID), 0.0) for record in records])
    background = np.array([record["shares"].get(str(BACKGROUND), 0.0) for record in records])
    least = sorted(records, key=lambda record: (record["confidence"], record["key"]))[:_LEAST_CERTAIN]
    areas = [foreground[i].get(tag, 0.0) for i, record in enumerate(records) for tag in record["tags"]]
    certain = float((1 - void).sum())
    statistics = {
        "images": len(inputs),
        "labelled": len(records),
        "coverage": len(records) / len(inputs) if inputs else 0.0,
        "foreground_share": float((1 - void - background).sum()) / certain if certain else 0.0,
        "void_share": _mean(void),
        "empty_share": _mean([not any(shares.values()) for shares in foreground]),
        "confidence": _mean([record["confidence"] for record in records]),
        "areas": {"edges": list(_AREA_EDGES), "counts": np.histogram(areas, _AREA_EDGES)[0].tolist()},
        "least_certain": [record["key"] for record in least],
        "unknown": sorted(set(tags_of) - set(inputs)),
        "changed": sorted(key for key, tags in tags_of.items() if sorted(inputs.get(key, tags)) != sorted(tags)),
        "tags": _tag_statistics(records, foreground, inputs, categories),
    }
    if shares := [share for record in records for _, share in record.get("boxes", ())]:
        empty = [record["key"] for record in records if any(not share for _, share in record.get("boxes", ()))]
        boxes = {"count": len(shares), "covered": _mean(shares), "empty": shares.count(0), "images": sorted(empty)}
        statistics["boxes"] = boxes
    return statistics


def failures(statistics: Mapping[str, Any], settings: LabelGateConfig) -> list[str]:
    """Why the label set must not be trained on, one readable line each; empty if it may."""
    s = statistics
    if not s["images"]:
        return []
    if not s["labelled"]:
        return [f"none of the {s['images']} weak images has a label; see dead_letters.jsonl of the label step"]
    lines = []
    if s["unknown"] or s["changed"]:
        odd = [*s["unknown"], *s["changed"]]
        lines.append(
            f"stale: {len(odd)} labels do not belong to the present examples or their tags "
            f"({', '.join(odd[:3])}{', ...' if len(odd) > 3 else ''}); label again"
        )
    if s["void_share"] > settings.max_void_share:
        lines.append(
            f"{s['void_share']:.1%} of the pixels are void (limit {settings.max_void_share:.0%}); "
            "lower labels.ignore_band"
        )
    if s["foreground_share"] < settings.min_foreground_share:
        lines.append(
            f"all background: {s['foreground_share']:.2%} of the pixels are foreground (limit "
            f"{settings.min_foreground_share:.0%}); is the L-Net or the CAM trained? else lower labels.background_cut"
        )
    if s["foreground_share"] > settings.max_foreground_share:
        lines.append(
            f"all foreground: {s['foreground_share']:.1%} of the pixels are foreground (limit "
            f"{settings.max_foreground_share:.0%}); is the L-Net trained? else raise labels.background_cut"
        )
    if s["empty_share"] > settings.max_empty_share:
        lines.append(
            f"{s['empty_share']:.0%} of the labels are background only although their images have tags (limit "
            f"{settings.max_empty_share:.0%}); lower labels.background_cut"
        )
    for name, tag in s["tags"].items():
        judged = tag["labelled"] >= settings.min_tag_images
        if tag["labelled"] and not tag["present"] and (judged or tag["weak"]):
            lines.append(
                f"'{name}' is tagged in {tag['labelled']} labelled images and has not one pixel; train the CAM longer"
            )
        elif judged and tag["presence"] < settings.min_tag_presence:
            lines.append(
                f"'{name}' has pixels in only {tag['present']} of its {tag['labelled']} labelled images "
                f"({tag['presence']:.0%}, limit {settings.min_tag_presence:.0%}); train the CAM longer"
            )
    return lines


def _tag_statistics(
    records: Sequence[Mapping[str, Any]],
    foreground: Sequence[Mapping[int, float]],
    inputs: Mapping[str, Sequence[int]],
    categories: Categories,
) -> dict[str, dict[str, float]]:
    all_tags = sum(len(tags) for tags in inputs.values())
    all_pixels = sum(sum(shares.values()) for shares in foreground)
    found = {}
    for tag in sorted({tag for tags in inputs.values() for tag in tags}):
        images = sum(tag in tags for tags in inputs.values())
        pairs = zip(records, foreground, strict=True)
        areas = [shares.get(tag, 0.0) for record, shares in pairs if tag in record["tags"]]
        present = [area for area in areas if area > 0]
        found[categories.names[tag]] = {
            "weak": categories.names[tag] in categories.weak,
            "images": images,
            "labelled": len(areas),
            "present": len(present),
            "presence": len(present) / len(areas) if areas else 0.0,
            "mean_area": _mean(present),
            "tag_share": images / all_tags,
            "pixel_share": sum(areas) / all_pixels if all_pixels else 0.0,
        }
    return found


def _foreground(record: Mapping[str, Any], categories: Categories) -> dict[int, float]:
    shares = {int(name): share for name, share in record["shares"].items()}
    return {i: share for i, share in shares.items() if 0 < i < categories.num_classes}


def _mean(values: Sequence[float] | np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else 0.0
