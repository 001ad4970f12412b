"""Boxes in the label core: superpixels cut at their borders, seeds that keep to them, and labels within them.

Outside all boxes of a tag its label cannot be, so what lies outside the boxes of all tags is background for sure.
Inside a box three things are asked: the diffusion, whose seeds and edges M has decided; the place in the box, since
objects fill the middle of their boxes and seldom the corners; and whether the colour is one of those in the middle of
boxes or outside of them. Their log-odds are weighed and added up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from components.weak_labels.core.region_graph import edge_weights
from trainer.data.boxes import TagBox, pixels_of
from trainer.data.categories import BACKGROUND

# Open: a logistic regression on 163 VOC images of strong categories that the L-Net asked had not seen. M once more, by
# itself or over its highest in the box, adds nothing there: mIoU .696 with it, .699 without, .703 with the colour. The
# bias is .33 above the regression's: for IoU a superpixel counts from a probability of IoU / (1 + IoU) = .42 on (mIoU
# .708 with bias 1.0, .711 with 1.2).
_BIAS, _OF_PRIOR, _OF_DIFFUSION, _OF_COLOUR = 1.1, 0.64, 0.75, 0.31
_NEAR = 0.05**0.5 / 2**0.5  # our choice: sigma of likeness in colour, exp(-distance / .05)
_RARE = 1e-3  # our choice: a density of colour below which none is told apart
_SEED = 0.8  # our choice: of a box's best superpixel; from there on it seeds the tag
_TOP = 0.9  # our choice: quantile of M in a box that counts as its highest
_LEAST_TOP = 0.1  # our choice: below, M has not seen the object and is not stretched further
_MOST = 3000  # our choice: superpixels, where boxes cut them; three seconds and half a gigabyte
_CERTAIN = 0.02  # our choice: no prediction is surer than this
# The mean shape of an object in its box, from the masks of 1,768 objects of all of VOC's categories: .9 in the middle,
# .5 at the sides' middles, .2 in the corners; see `_place`.
_MIDDLE, _EDGE, _SOFT, _ROUND = 0.9, 0.93, 0.17, 2.6


@dataclass(frozen=True)
class BoxRegions:
    """Which superpixels lie in which box.

    Attributes:
      inside: bool [N, B].
      tags: int [B], the index of each box's tag.
      prior: float [N, B] in 0..1, how often objects are at such a place of their boxes.
      area: float [B], of each box, in pixels.
      pixels: int [N], of each superpixel.
    """

    inside: np.ndarray
    tags: np.ndarray
    prior: np.ndarray
    area: np.ndarray
    pixels: np.ndarray

    def allowed(self, number: int) -> np.ndarray:
        """bool [N, K]: where each of K tags may be; one without boxes anywhere."""
        own = [self.inside[:, self.tags == tag] for tag in range(number)]
        return np.stack([boxes.any(1) | (boxes.shape[1] == 0) for boxes in own], 1)


def cut_at(
    labels: np.ndarray, boxes: Sequence[TagBox], tags: Sequence[int], size: tuple[int, int]
) -> tuple[np.ndarray, BoxRegions]:
    """Cuts superpixels along the boxes, so that each lies in a box or outside of it.

    Where that makes more than `_MOST` of them, they are cut along the smallest boxes alone; in another one lie those
    that have more than half of their pixels there, and if none has, the one that has most.

    Args:
      labels: int [h, w], 0..N-1.
      boxes: in the image; of these tags.
      tags: category ids.
      size: (H, W) of the image.

    Returns:
      (int [h, w] labels 0..N'-1, each used; which of them lie in which box: every box holds one at least).
    """
    scale = labels.shape[0] / size[0], labels.shape[1] / size[1]
    windows = [pixels_of(box, labels.shape, scale) for box in boxes]
    corners = np.array([box.corners for box in boxes])
    area = np.prod(corners[:, 2:] - corners[:, :2], 1)
    whole = labels
    for window in windows:
        labels = _cut(labels, window)
    if labels.max() >= _MOST:  # what follows takes their number's square in memory, and its cube in time
        labels = whole
        for index in np.argsort(area, kind="stable"):
            finer = _cut(labels, windows[index])
            labels = finer if finer.max() < _MOST else labels
    pixels = np.bincount(labels.ravel())
    inside = np.zeros((len(pixels), len(boxes)), bool)
    for index, window in enumerate(windows):
        share = np.bincount(labels[window].ravel(), minlength=len(pixels)) / pixels
        inside[:, index] = share >= min(share.max(), np.nextafter(0.5, 1))
    y, x = (np.bincount(labels.ravel(), axis.ravel()) / pixels for axis in np.indices(labels.shape))
    middles = np.stack([(x + 0.5) / scale[1], (y + 0.5) / scale[0]], 1)
    relative = (middles[:, None] - corners[:, :2]) / (corners[:, 2:] - corners[:, :2])
    own = np.array([tags.index(box.tag) for box in boxes])
    return labels, BoxRegions(inside, own, _place(relative), area, pixels)


def _cut(labels: np.ndarray, window: tuple[slice, slice]) -> np.ndarray:
    """Labels 0..N'-1 of which each lies in the window or outside of it."""
    labels = labels * 2
    labels[window] += 1
    return (np.cumsum(np.bincount(labels.ravel()) > 0) - 1)[labels]


def _place(relative: np.ndarray) -> np.ndarray:
    """How often an object is at a place of its box: float [..., 2] of 0..1 across and down -> float [...]."""
    distance = (np.abs(2 * relative - 1) ** _ROUND).sum(-1) ** (1 / _ROUND)  # 0 in the middle, 1 at a side's middle
    return _MIDDLE / (1 + np.exp((distance.clip(max=3) - _EDGE) / _SOFT))  # further out nothing changes


def box_seeds(boxes: BoxRegions, number: int, objectness: np.ndarray, free_seeds: np.ndarray) -> np.ndarray:
    """Seeds of every tag and of background; a superpixel seeds one label at most.

    A box's seeds are those of its superpixels where M and the place agree best that its tag is; of boxes that share one
    the smaller has it, which is in front more often than not. Background's seeds lie outside all boxes; where a tag has
    no box, only those of them that seed background anyway.

    Args:
      boxes: of the image.
      number: K, of tags.
      objectness: float [N], 0..1.
      free_seeds: bool [N, K + 1] as `find_seeds` has them without boxes; those of tags without boxes stay.

    Returns:
      bool [N, K + 1], background last.
    """
    best = relative_objectness(boxes, objectness) * boxes.prior * boxes.inside
    seeds = np.zeros((len(objectness), number + 1), bool)
    taken = np.zeros(len(objectness), bool)
    for index in np.argsort(boxes.area, kind="stable"):
        own = boxes.inside[:, index] & (best[:, index] >= _SEED * best[:, index].max()) & ~taken
        if not own.any():
            own = boxes.inside[:, index] & ~taken
        seeds[own, boxes.tags[index]] = True
        taken |= own
    boxed = np.isin(np.arange(number), boxes.tags)
    seeds[:, :-1] |= free_seeds[:, :-1] & ~boxed & ~taken[:, None]
    outside = ~boxes.inside.any(1)
    seeds[:, -1] = outside if boxed.all() else outside & free_seeds[:, -1] & ~seeds[:, :-1].any(1)
    return seeds


def box_scores(boxes: BoxRegions, lab: np.ndarray, share: np.ndarray) -> np.ndarray:
    """How surely a superpixel shows the tag of a box: float [N, B] in 0..1, 0 outside of it.

    Args:
      boxes: of the image.
      lab: float [N, 3], mean CIELAB in 0..1.
      share: float [N, B] in 0..1, the part of each box's tag in what the diffusion gives it and background.
    """
    weighed = _BIAS + _OF_PRIOR * _log_odds(boxes.prior) + _OF_DIFFUSION * _log_odds(share)
    weighed += _OF_COLOUR * colour_contrast(boxes, lab)[:, None]
    return boxes.inside / (1 + np.exp(-weighed))


def colour_contrast(boxes: BoxRegions, lab: np.ndarray) -> np.ndarray:
    """Log of how often a superpixel's colour is found in the middle of boxes over how often outside: float [N].

    Both are kernel densities over all other superpixels, weighed by their pixels and, in boxes, by their place squared.
    0 where nothing lies outside.
    """
    outside = boxes.pixels * ~boxes.inside.any(1)
    if not outside.any():
        return np.zeros(len(lab))
    middle = boxes.pixels * (boxes.prior * boxes.inside).max(1) ** 2
    likeness = edge_weights(lab, ~np.eye(len(lab), dtype=bool), _NEAR)
    return np.log((likeness @ middle / middle.sum() + _RARE) / (likeness @ outside / outside.sum() + _RARE))


def relative_objectness(boxes: BoxRegions, objectness: np.ndarray) -> np.ndarray:
    """M over the highest M of each box: float [N, B] in 0..1."""
    tops = [max(np.quantile(objectness[inside], _TOP), _LEAST_TOP) for inside in boxes.inside.T]
    return np.minimum(objectness[:, None] / np.array(tops), 1)


def _log_odds(probability: np.ndarray) -> np.ndarray:
    clipped = probability.clip(_CERTAIN, 1 - _CERTAIN)
    return np.log(clipped / (1 - clipped))


def keep_inside(mask: np.ndarray, boxes: Sequence[TagBox], tags: Sequence[int]) -> None:
    """Makes background of every pixel whose tag has boxes and none around it; the working resolution is a coarse one.

    Args:
      mask: uint8 [H, W] of ids, changed in place.
      boxes: in the image.
      tags: category ids; if all have boxes, void keeps to them too.
    """
    boxed = {box.tag for box in boxes}
    nowhere = np.ones(mask.shape, bool)
    for tag in boxed:
        outside = np.ones(mask.shape, bool)
        for box in boxes:
            if box.tag == tag:
                outside[pixels_of(box, mask.shape)] = False
        mask[outside & (mask == tag)] = BACKGROUND
        nowhere &= outside
    if boxed == set(tags):
        mask[nowhere] = BACKGROUND
