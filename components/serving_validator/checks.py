"""Runs the probe on a model and judges what it found. No TFX in here."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from components.serving_validator.check_config import ServingCheckConfig
from components.serving_validator.requests import hostile_images, named, odd_images, size_of
from serving.export import read_categories
from serving.saved_model import plain_path
from serving.trainer_predictions import read_trainer_predictions
from trainer.data.categories import Categories
from trainer.errors import UserError, few

_PYTHON = [sys.executable, "-m", "components.serving_validator.probe"]
_ROOT = Path(__file__).parents[2]  # the probe is found from any working directory
ALL_BACKGROUND = "all background"  # what the masks of a network that has learned nothing are
_SHOWN = 3  # our choice: failures quoted of a kind


@dataclass(frozen=True)
class ServingReport:
    """What the check found. `reasons` is empty for a model that may be served.

    latency_ms (median of one image's call), memory_mb (peak resident) and load_s are nan if it never got so far;
    agreement is the share of pixels, 0..1, as in the trainer's own predictions.
    """

    reasons: list[str]
    latency_ms: float = float("nan")
    memory_mb: float = float("nan")
    load_s: float = float("nan")
    agreement: float = float("nan")
    requests: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)


def check_model(
    model: Path, images: Sequence[bytes], categories: Categories, settings: ServingCheckConfig, work: Path
) -> ServingReport:
    """Loads `model` in a fresh process and asks it everything it promises.

    Args:
      model: SavedModel folder.
      images: real images, encoded; at least one.
      categories: the run's; the model must know the same.
      settings: limits.
      work: an empty folder for the images sent and the masks that came back.
    """
    kept = read_trainer_predictions(model)
    known = images[: settings.images]
    sent = named([image for image, _ in kept] + list(known), "good")
    sent |= odd_images(known[0]) | hostile_images(known[0])
    (work / "images").mkdir(parents=True)
    for name, data in sent.items():
        (work / "images" / name).write_bytes(data)
    try:
        with plain_path(model) as path:
            command = [*_PYTHON, path, str(work), str(settings.timed_calls)]
            run = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=settings.timeout_s)
    except subprocess.TimeoutExpired:
        return ServingReport([f"the check did not end within {settings.timeout_s:g} s and was killed"])
    if run.returncode:
        last = (run.stderr.strip().splitlines() or [f"exit status {run.returncode}"])[-1]
        return ServingReport([f"the model does not load and answer in a fresh process: {last[:300]}"])
    facts = json.loads((work / "facts.json").read_text())
    masks = {path.stem: np.array(Image.open(path)) for path in (work / "masks").iterdir()}
    agreement = _agreement([mask for _, mask in kept], masks)
    latency = statistics.median(facts["latency_ms"])
    reasons = [*_broken(model, facts, categories), *_wrong_masks(masks, sent, categories.num_classes)]
    if not kept:
        reasons.append("the export holds no predictions of the trainer to compare with; export it again")
    elif agreement < settings.min_agreement:
        reasons.append(
            f"served masks agree with the trainer's own in {agreement:.4f} of the pixels, "
            f"{settings.min_agreement - agreement:.4f} below the threshold {settings.min_agreement:.4f}"
        )
    budgets = (
        ("the median call with one image takes", latency, settings.max_latency_ms, "ms"),
        ("serving takes at its peak", facts["memory_mb"], settings.max_memory_mb, "MB"),
        ("loading and warm-up take", facts["load_s"], settings.max_load_s, "s"),
    )
    for what, value, limit, unit in budgets:
        if value > limit:
            reasons.append(
                f"{what} {value:.4g} {unit}, {value - limit:.4g} {unit} over the budget of {limit:.4g} {unit}"
            )
    kinds = {kind: sum(name.startswith(kind) for name in sent) for kind in ("good", "odd", "hostile")}
    requests = {**kinds, "warm-up": facts["warmup_requests"]}
    return ServingReport(reasons, latency, facts["memory_mb"], facts["load_s"], agreement, requests)


def _broken(model: Path, facts: dict, categories: Categories) -> list[str]:
    reasons = []
    if facts["bad_weights"]:
        reasons.append(f"{len(facts['bad_weights'])} weights hold NaN or infinity: {few(facts['bad_weights'], _SHOWN)}")
    elif not facts["finite_scores"] and facts["num_classes"] is not None:
        reasons.append("scores are NaN or infinite on real images")
    if facts["foreign_ops"]:
        reasons.append(f"ops that TF Serving has not got: {few(facts['foreign_ops'], _SHOWN)}")
    if facts["num_classes"] not in (None, categories.num_classes):
        reasons.append(f"predicts {facts['num_classes']} classes; this run has {categories.num_classes}")
    try:
        known = read_categories(model, "segmentation")
        if known.names != categories.names:
            reasons.append(f"its assets name other categories: {few(known.names, _SHOWN)}")
    except UserError as error:
        reasons.append(str(error))
    if not facts["warmup_requests"]:
        reasons.append("holds no warm-up requests: the first clients would wait for TensorFlow")
    if facts["failures"]:
        reasons.append(f"{len(facts['failures'])} wrong predictions: {few(facts['failures'], _SHOWN, '; ')}")
    return reasons


def _wrong_masks(masks: dict[str, np.ndarray], sent: dict[str, bytes], num_classes: int) -> list[str]:
    reasons = []
    for name, mask in sorted(masks.items()):
        if mask.shape != size_of(sent[name]):
            reasons.append(f"{name}: the mask is {mask.shape}, the image {size_of(sent[name])} (height, width)")
        if mask.max() >= num_classes:
            reasons.append(f"{name}: the mask holds id {mask.max()}; ids are 0..{num_classes - 1}")
    good = [mask for name, mask in masks.items() if name.startswith("good")]
    constant = {int(mask.flat[0]) for mask in good if (mask == mask.flat[0]).all()}
    if good and len(constant) == 1 and all((mask == mask.flat[0]).all() for mask in good):
        what = ALL_BACKGROUND if constant == {0} else f"all of class {constant.pop()}"
        reasons.append(f"all {len(good)} masks of real images are {what}")
    return reasons[:_SHOWN]


def _agreement(expected: Sequence[np.ndarray], masks: dict[str, np.ndarray]) -> float:
    """Share of equal pixels over the first images sent; 0 for a mask that did not come or has another size."""
    same = total = 0
    for i, mask in enumerate(expected):
        served = masks.get(f"good-{i:03}")
        total += mask.size
        same += int((served == mask).sum()) if served is not None and served.shape == mask.shape else 0
    return same / total if total else float("nan")
