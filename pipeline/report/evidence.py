"""Why a category or a picture came out as it did, in words, from what the run left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.report.facts import Facts
from pipeline.report.scoring import Scored, scored_pictures
from trainer.data.categories import BACKGROUND

_WORST = 3  # pictures that are named
FEW_LABELS = 0.7  # our choice: share of a tag's labels that show it, below which they are to blame


@dataclass(frozen=True)
class Evidence:
    """What is known of each category, by name.

    Attributes:
      trained, judged: pictures it was learned from, and pictures that judge it.
      labels: of tagged ones: see `label_statistics`, its `tags`.
      predictions: true category -> (prediction, share of its pixels), the largest first.
      pictures: the scored ones, worst first.
    """

    trained: Mapping[str, int]
    judged: Mapping[str, int]
    labels: Mapping[str, Mapping[str, Any]]
    predictions: Mapping[str, list[tuple[str, float]]]
    pictures: list[Scored]

    def worst(self, name: str) -> list[Scored]:
        """The worst pictures that show a category, at most three."""
        shown = [picture for picture in self.pictures if name in picture.truth]
        return sorted(shown, key=lambda picture: (picture.iou.get(name, 0.0), picture.key))[:_WORST]

    def cause(self, name: str) -> str | None:
        """The likely cause of a category's low IoU; None if nothing stands out."""
        if not self.trained.get(name):
            return "no training picture shows it"
        label = self.labels.get(name)
        if label and label["labelled"] and label["presence"] < FEW_LABELS:
            return f"only {label['present']} of its {label['labelled']} weak labels show it"
        if not self.judged.get(name):
            return "no picture to judge by shows it"
        for prediction, share in self.predictions.get(name, [])[:1]:
            if prediction != name and share > 0:
                return f"{100 * share:.0f} % of its pixels were called {prediction}"
        return None


def cause_of(picture: Scored) -> str:
    """Why nothing of a picture's objects was hit."""
    missed = [name for name in picture.truth if not picture.iou.get(name)]
    if not picture.truth:
        return f"nothing to see, but {', '.join(picture.prediction)} was found"
    if not picture.prediction:
        return "nothing was found"
    others = [name for name in picture.prediction if name not in picture.truth]
    if others:
        return f"{', '.join(missed)} was taken for {', '.join(others)}"
    return f"{', '.join(missed)} was found in another place"


def gather(facts: Facts) -> Evidence:
    """Reads it from a run's artifacts; what the run has not got is empty."""
    by_split = (facts.dataset or {}).get("images_per_category", {})
    trained = {
        name: sum(by_split.get(split, {}).get(name, 0) for split in ("strong", "weak"))
        for name in facts.categories.foreground
    }
    predictions = {}
    for index, (name, shares) in enumerate(facts.confusion):
        named = [(other, share or 0.0) for (other, _), share in zip(facts.confusion, shares, strict=True)]
        if index != BACKGROUND:
            predictions[name] = sorted(named, key=lambda item: -item[1])
    labels = (facts.labels or {}).get("tags", {})
    return Evidence(trained, by_split.get("eval", {}), labels, predictions, scored_pictures(facts))
