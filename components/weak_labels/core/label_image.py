"""The weak label of one image (method: seeds, superpixels, self-diffusion; paper, "Generating Label Maps").

Pure numpy, SciPy and OpenCV: workers that label need no TensorFlow for this part.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from components.weak_labels.core.assignment import assign, assign_boxed, margin
from components.weak_labels.core.boxed import BoxRegions, box_seeds, cut_at, keep_inside
from components.weak_labels.core.diffusion import discounted, random_walk, truncated
from components.weak_labels.core.label_config import LabelConfig
from components.weak_labels.core.region_graph import adjacency, edge_weights, region_means
from components.weak_labels.core.seeds import find_seeds
from components.weak_labels.core.superpixels import segment
from trainer.data.boxes import TagBox, box_fault, pixels_of
from trainer.data.categories import VOID


@dataclass(frozen=True)
class LabelResult:
    """A weak label and how sure it is.

    Attributes:
      mask: uint8 [H, W] of category ids, 0 background, 255 ignored.
      confidence: mean over the image of best less second-best q, 0..1; 0 if a tag found no seed, since the mask then
        contradicts the tags; 1 without tags.
      seed_share: tag -> share of the image that seeds it, 0..1; 0 if its map is empty.
      void_share: share of ignored pixels, 0..1.
      box_shares: of each box, in their order, the share of its pixels that have its tag, 0..1; 0 says that none has.
    """

    mask: np.ndarray
    confidence: float
    seed_share: dict[int, float]
    void_share: float
    box_shares: tuple[float, ...] = ()


def label_image(
    image: np.ndarray,
    objectness: np.ndarray,
    activations: np.ndarray,
    tags: Sequence[int],
    settings: LabelConfig,
    boxes: Sequence[TagBox] = (),
) -> LabelResult:
    """Labels one image from what the networks say about it.

    Args:
      image: uint8 [H, W, 3] RGB.
      objectness: float32 [h, w] in 0..1, L-Net's map M. Any size that spans the same image, also for `activations`:
        both are brought to the working resolution of the superpixels.
      activations: float32 [h', w', K] in 0..1, the activation map of each tag divided by its maximum.
      tags: K category ids (1..254), each once; none makes the whole image background.
      settings: see LabelConfig.
      boxes: in the image's pixels, see trainer.data.boxes; each of one of the tags.

    Returns:
      LabelResult; deterministic.

    Raises:
      ValueError: shapes, tags or values (not finite, outside 0..1) break this contract.
    """
    if not len(tags):
        _check(image, objectness, activations, tags, boxes)
        return LabelResult(np.zeros(image.shape[:2], np.uint8), 1.0, {}, 0.0)
    regions = describe(image, objectness, activations, tags, settings, boxes)
    seeds = find_seeds(regions.activations, regions.objectness, settings)
    if regions.boxes is not None:
        seeds = box_seeds(regions.boxes, len(tags), regions.objectness, seeds)
    q = diffuse(regions.edges(settings.sigma), seeds, settings)
    if regions.boxes is None:
        ids = assign(q, regions.objectness, tags, settings)
    else:
        ids = assign_boxed(q, regions.objectness, regions.lab, regions.boxes, tags, settings)
    mask = cv2.resize(ids[regions.labels], image.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    if boxes:
        keep_inside(mask, boxes, tags)
    area = np.bincount(regions.labels.ravel()) / regions.labels.size
    return LabelResult(
        mask=mask,
        confidence=float(area @ margin(q)) if seeds[:, :-1].any(0).all() else 0.0,
        seed_share={int(tag): float(area @ own) for tag, own in zip(tags, seeds.T, strict=False)},
        void_share=float(np.mean(mask == VOID)),
        box_shares=tuple(float(np.mean(mask[pixels_of(box, mask.shape)] == box.tag)) for box in boxes),
    )


@dataclass(frozen=True)
class Regions:
    """The superpixels of an image and the means over each.

    Attributes:
      labels: int [h, w], 0..N-1, at the working resolution.
      lab: float [N, 3], CIELAB in 0..1.
      objectness: float [N], 0..1.
      activations: float [N, K], 0..1.
      linked: bool [N, N], see `adjacency`.
      boxes: None without boxes.
    """

    labels: np.ndarray
    lab: np.ndarray
    objectness: np.ndarray
    activations: np.ndarray
    linked: np.ndarray
    boxes: BoxRegions | None = None

    def edges(self, sigma: float) -> np.ndarray:
        """Edge weights between superpixels, float64 [N, N]."""
        return edge_weights(np.column_stack([self.lab, self.objectness]), self.linked, sigma)


def describe(
    image: np.ndarray,
    objectness: np.ndarray,
    activations: np.ndarray,
    tags: Sequence[int],
    settings: LabelConfig,
    boxes: Sequence[TagBox] = (),
) -> Regions:
    """Superpixels, their features and links; arguments and errors as for `label_image`, with at least one tag."""
    _check(image, objectness, activations, tags, boxes)
    labels, lab = segment(
        image, settings.superpixels_of(*image.shape[:2]), settings.compactness, settings.superpixel_method
    )
    inside = None
    if boxes:
        labels, inside = cut_at(labels, boxes, tags, image.shape[:2])
    return Regions(
        labels,
        region_means(labels, lab),
        region_means(labels, _resized(objectness[..., None], labels.shape))[:, 0],
        region_means(labels, _resized(activations, labels.shape)),
        adjacency(labels, settings.second_neighbours, settings.border_links),
        inside,
    )


def diffuse(weights: np.ndarray, seeds: np.ndarray, settings: LabelConfig) -> np.ndarray:
    """q by the formulation the settings name: float [N, N], bool [N, K] -> float64 [N, K] in 0..1."""
    if settings.formulation == "discounted":
        return discounted(weights, seeds, settings.discount)
    if settings.formulation == "truncated":
        return truncated(weights, seeds, settings.iterations)
    return random_walk(weights, seeds)


def _resized(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    shrinks = maps.shape[0] >= size[0] and maps.shape[1] >= size[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    # One map at a time: OpenCV averages areas of at most four channels, and an image may have more tags.
    return np.dstack([cv2.resize(plane, size[::-1], interpolation=method) for plane in np.moveaxis(maps, -1, 0)])


def _check(
    image: np.ndarray,
    objectness: np.ndarray,
    activations: np.ndarray,
    tags: Sequence[int],
    boxes: Sequence[TagBox] = (),
) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"image must be uint8 [H, W, 3], not {image.dtype} {list(image.shape)}")
    if objectness.ndim != 2:
        raise ValueError(f"objectness must be [h, w], not {list(objectness.shape)}")
    if activations.ndim != 3 or activations.shape[2] != len(tags):
        raise ValueError(f"activations must be [h, w, {len(tags)}], one map a tag, not {list(activations.shape)}")
    if len(set(tags)) < len(tags) or not all(0 < tag < VOID for tag in tags):
        raise ValueError(f"tags must be distinct ids in 1..{VOID - 1}, not {list(tags)}")
    if odd := {box.tag for box in boxes}.difference(tags):
        raise ValueError(f"boxes must be of the tags {list(tags)}, not {sorted(odd)}")
    for box in boxes:
        if fault := box_fault(box.corners):
            raise ValueError(f"boxes: of tag {box.tag}: {fault}")
    for name, maps in (("objectness", objectness), ("activations", activations)):
        if maps.dtype not in (np.float32, np.float64) or 0 in maps.shape[:2]:
            raise ValueError(f"{name} must be float32 and not empty, not {maps.dtype} {list(maps.shape)}")
        # Comparisons with NaN are false, so this catches it too.
        if not (maps.min(initial=0) >= 0 and maps.max(initial=0) <= 1 + 1e-5):
            raise ValueError(f"{name} must be finite and in 0..1; its range is {maps.min()} to {maps.max()}")
