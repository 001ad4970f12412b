"""Open values of the label core, found on images whose masks are known.

Strong images are treated as if they were weak: labelled from their tags, scored against their masks. The search is
coordinate descent over the diffusion's values; within each of its steps every pair of objectness weight and background
cut is tried at once, since neither needs another solve. Scores are those of the labels at full resolution without an
ignore band: every superpixel counts with the histogram of the true ids under it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from threadpoolctl import threadpool_limits

from components.weak_labels.core.assignment import foreground_scores
from components.weak_labels.core.label_config import LabelConfig
from components.weak_labels.core.label_image import Regions, describe, diffuse
from components.weak_labels.core.seeds import find_seeds
from trainer.data.categories import BACKGROUND, VOID

# What is tried for each value, in the order of the search (our choice).
GRID: dict[str, tuple[Any, ...]] = {
    "seed_threshold": (0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    "background_seed": (0.1, 0.3, 0.5),
    "background_activation": (0.3, 0.5, 0.7, 1.0),
    "sigma": (0.1, 0.16, 0.22, 0.3, 0.45),
    "discount": (0.9, 0.97, 0.99),
    "superpixels": (200, 300, 400),
}
WEIGHTS = tuple(np.round(np.arange(0, 1.01, 0.1), 2).tolist())  # objectness_weight
CUTS = tuple(np.round(np.arange(0.1, 0.91, 0.05), 2).tolist())  # background_cut
_DECIDE_REGIONS = {"superpixels", "superpixel_method", "compactness", "second_neighbours", "border_links"}
_ROUNDS = 2
_CLEARLY = 5e-4  # mIoU a value must gain to replace the present one: less is noise


@dataclass(frozen=True)
class KnownImage:
    """An image, what the networks say about it, and the truth.

    Attributes:
      image, objectness, activations, tags: as for `label_image`.
      truth: uint8 [H, W], 0, the tags' ids, or 255.
    """

    image: np.ndarray
    objectness: np.ndarray
    activations: np.ndarray
    tags: tuple[int, ...]
    truth: np.ndarray


@dataclass(frozen=True)
class Calibration:
    """What was found.

    Attributes:
      settings: the given ones with the best values.
      miou: of the labels by these, 0..1; over background and every category that the images have.
      start_miou: by the given settings.
      curves: value name -> {value as text: mIoU with everything else as found}.
      images: how many images it was found on.
    """

    settings: LabelConfig
    miou: float
    start_miou: float
    curves: dict[str, dict[str, float]]
    images: int


def calibrate(
    images: Sequence[KnownImage],
    settings: LabelConfig,
    grid: Mapping[str, Sequence[Any]] = GRID,
    progress: Callable[[str, float], None] = lambda name, miou: None,
) -> Calibration:
    """Searches the values of `grid`, objectness_weight and background_cut from `settings` on; deterministic.

    Args:
      images: each with at least one tag.
      progress: called with the name of a value once it is settled, and the best mIoU so far.

    Raises:
      ValueError: no images.
    """
    if not images:
        raise ValueError("no images to calibrate on")
    # numpy and LAPACK work outside the interpreter's lock: threads for the images, none within a solve.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor() as pool:
        search = _Search(images, pool)
        start = search.score_of(settings)
        best, miou = search.settle(settings)
        for _ in range(_ROUNDS):
            before = best
            for name, values in grid.items():
                for value in values:
                    candidate, score = search.settle(best.model_copy(update={name: value}))
                    if score > miou + _CLEARLY:
                        best, miou = candidate, score
                progress(name, miou)
            if best == before:
                break
        if start > miou:  # its weight and cut lie between those that are tried
            best, miou = settings, start
        curves = {
            name: {str(value): search.settled_score(best, {name: value}) for value in values}
            for name, values in grid.items()
        }
        table = search.scores(best)
    weight, cut = _index(best)
    curves["objectness_weight"] = {str(w): float(s) for w, s in zip(WEIGHTS, table[:, cut], strict=True)}
    curves["background_cut"] = {str(c): float(s) for c, s in zip(CUTS, table[weight], strict=True)}
    return Calibration(best, float(miou), float(start), curves, len(images))


class _Search:
    """mIoU of settings on the images, for all weights and cuts at once."""

    def __init__(self, images: Sequence[KnownImage], pool: ThreadPoolExecutor):
        self._images, self._pool = images, pool
        self._described: dict[str, list[tuple[Regions, np.ndarray]]] = {}
        self._scores: dict[str, np.ndarray] = {}

    def settle(self, settings: LabelConfig) -> tuple[LabelConfig, float]:
        """The settings with the best weight and cut, and their mIoU."""
        table = self.scores(settings)
        weight, cut = np.unravel_index(table.argmax(), table.shape)
        found = {"objectness_weight": WEIGHTS[weight], "background_cut": CUTS[cut]}
        return settings.model_copy(update=found), float(table.max())

    def settled_score(self, settings: LabelConfig, change: dict[str, Any]) -> float:
        return float(self.scores(settings.model_copy(update=change))[_index(settings)])

    def scores(self, settings: LabelConfig) -> np.ndarray:
        """mIoU, float [weights, cuts]."""
        key = settings.model_copy(update={"objectness_weight": 0, "background_cut": 0}).model_dump_json()
        if key not in self._scores:
            self._scores[key] = self._miou(settings, WEIGHTS, CUTS)
        return self._scores[key]

    def score_of(self, settings: LabelConfig) -> float:
        """mIoU by the weight and cut that the settings have."""
        return self._miou(settings, [settings.objectness_weight], [settings.background_cut]).item()

    def _miou(self, settings: LabelConfig, weights: Sequence[float], cuts: Sequence[float]) -> np.ndarray:
        def tally(known: KnownImage, described: tuple[Regions, np.ndarray]) -> dict[int, np.ndarray]:
            return _tally(known, *described, settings, weights, cuts)

        return _miou(_sum(self._pool.map(tally, self._images, self._regions(settings))))

    def _regions(self, settings: LabelConfig) -> list[tuple[Regions, np.ndarray]]:
        key = settings.model_dump_json(include=_DECIDE_REGIONS)
        if key not in self._described:
            self._described[key] = list(self._pool.map(lambda known: _describe(known, settings), self._images))
        return self._described[key]


def _describe(known: KnownImage, settings: LabelConfig) -> tuple[Regions, np.ndarray]:
    """Regions, and how many pixels of every id lie in each: int [N, 256]."""
    regions = describe(known.image, known.objectness, known.activations, known.tags, settings)
    count = len(regions.objectness)
    size = known.truth.shape[::-1]
    labels = cv2.resize(regions.labels.astype(np.float32), size, interpolation=cv2.INTER_NEAREST_EXACT).astype(np.int64)
    histogram = np.bincount(labels.ravel() * 256 + known.truth.ravel(), minlength=256 * count)
    return regions, histogram.reshape(count, 256)


def _tally(
    known: KnownImage,
    regions: Regions,
    histogram: np.ndarray,
    settings: LabelConfig,
    weights: Sequence[float],
    cuts: Sequence[float],
) -> dict[int, np.ndarray]:
    """id -> float [3, weights, cuts]: pixels labelled so rightly, labelled so at all, and truly so."""
    seeds = find_seeds(regions.activations, regions.objectness, settings)
    q = diffuse(regions.edges(settings.sigma), seeds, settings)
    best, scores = foreground_scores(q, regions.objectness, np.array(weights)[:, None])
    foreground = (scores[:, None] >= np.array(cuts)[:, None]) & (q[:, :-1].max(1) > 0)  # [weights, cuts, N]
    histogram = histogram.astype(float)  # products of integers are slow
    pixels = histogram.sum(1) - histogram[:, VOID]
    counts = {}
    for index, tag in enumerate((*known.tags, BACKGROUND)):
        labelled = (~foreground if tag == BACKGROUND else foreground & (best == index)).astype(float)
        right, all_so = labelled @ histogram[:, tag], labelled @ pixels
        counts[tag] = np.stack([right, all_so, np.full(right.shape, histogram[:, tag].sum())])
    return counts


def _sum(counts: Iterable[dict[int, np.ndarray]]) -> dict[int, np.ndarray]:
    """Adds up the counts of images."""
    total: dict[int, np.ndarray] = {}
    for image in counts:
        for tag, values in image.items():
            total[tag] = total.get(tag, 0) + values
    return total


def _miou(counts: dict[int, np.ndarray]) -> np.ndarray:
    iou = [right / np.maximum(labelled + true - right, 1) for right, labelled, true in counts.values()]
    return np.mean(iou, axis=0)


def _index(settings: LabelConfig) -> tuple[int, int]:
    """The nearest tried weight and cut."""
    weight = np.abs(np.array(WEIGHTS) - settings.objectness_weight).argmin()
    cut = np.abs(np.array(CUTS) - settings.background_cut).argmin()
    return int(weight), int(cut)
