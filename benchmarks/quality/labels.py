"""Weak labels against held-back masks: the whole method beside its parts alone.

Every variant gets its own values from calibration on strong images, so that none wins by a better threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from benchmarks.quality.boxes import boxes_filled, boxes_in
from components.label_calibration.search import GRID, KnownImage, calibrate
from components.weak_labels.core.label_config import LabelConfig
from components.weak_labels.core.label_image import label_image
from trainer.baselines.adversarial_erasing import best_cut, region_ids
from trainer.data.boxes import TagBox
from trainer.data.categories import VOID, Categories
from trainer.metrics import class_iou, confusion_matrix
from trainer.threads import in_threads

LabelFn = Callable[[KnownImage], np.ndarray]  # -> uint8 [H, W] of ids
_ASSIGNMENT = ("objectness_weight", "background_cut")


def label_rows(strong: Sequence[KnownImage], weak: Sequence[KnownImage], categories: Categories) -> list[dict]:
    """A row for each variant: mIoU over background and the weak categories, per class, and on single-tag images alone.

    Args:
      strong: images to calibrate on, see `rehearsal_images`.
      weak: images to label; their truth only scores.
    """
    start = LabelConfig(ignore_band=0)
    full = calibrate(strong, start)
    without_m = calibrate([_without_m(image) for image in strong], start)
    degenerate = full.settings.model_copy(update={"discount": 1 - 1e-9, "objectness_weight": 0.0, "background_seed": 0})
    cam_cut = best_cut(strong, cam_alone, VOID)
    m_cut = best_cut(strong, m_alone, VOID)
    variants: dict[str, LabelFn] = {
        "full method, calibrated": lambda image: _label(image, full.settings),
        "full method, default values": lambda image: _label(image, start),
        "full method with ignore band": lambda image: _label(
            image, full.settings.model_copy(update={"ignore_band": LabelConfig().ignore_band})
        ),
        "CAM thresholded": lambda image: cam_alone(image, cam_cut),
        "M thresholded, the tag": lambda image: m_alone(image, m_cut),
        "diffusion without M": lambda image: _label(_without_m(image), without_m.settings),
        "Eq. (2) as printed": lambda image: _label(image, degenerate),
    }
    kept = {
        "full method, calibrated": {
            "settings": full.settings.model_dump(include={*GRID, *_ASSIGNMENT}),
            "curves": full.curves,
            "calibrated_on": len(strong),
        },
        "CAM thresholded": {"settings": {"cut": cam_cut}},
        "M thresholded, the tag": {"settings": {"cut": m_cut}},
    }
    return [{**row, **kept.get(row["variant"], {})} for row in _rows(weak, variants, categories)]


def box_rows(weak: Sequence[KnownImage], categories: Categories) -> list[dict]:
    """Rows as `label_rows` has them, of the method with default values: with tags, and with boxes from the truth."""
    plain, band = LabelConfig(ignore_band=0), LabelConfig()
    variants: dict[str, LabelFn] = {
        "tags": lambda image: _label(image, plain),
        "tags with ignore band": lambda image: _label(image, band),
        "boxes": lambda image: _label(image, plain, boxes_in(image.truth)),
        "boxes with ignore band": lambda image: _label(image, band, boxes_in(image.truth)),
        "boxes, one for each tag": lambda image: _label(image, plain, boxes_in(image.truth, one_a_tag=True)),
        "boxes filled": lambda image: boxes_filled(image.truth, boxes_in(image.truth)),
    }
    return _rows(weak, variants, categories)


def _rows(weak: Sequence[KnownImage], variants: Mapping[str, LabelFn], categories: Categories) -> list[dict]:
    return [
        {"variant": name, "images": len(weak), **_scores(weak, variant, categories)}
        for name, variant in variants.items()
    ]


def cam_alone(image: KnownImage, cut: float) -> np.ndarray:
    """The most active tag where its activation reaches the cut, else background."""
    return region_ids(image.activations, image.tags, cut)


def m_alone(image: KnownImage, cut: float) -> np.ndarray:
    """The tag where M reaches the cut; M cannot tell tags apart, so of several the first gets all."""
    return np.where(image.objectness >= cut, image.tags[0], 0).astype(np.uint8)


def _without_m(image: KnownImage) -> KnownImage:
    return KnownImage(image.image, np.zeros_like(image.objectness), image.activations, image.tags, image.truth)


def _label(image: KnownImage, settings: LabelConfig, boxes: Sequence[TagBox] = ()) -> np.ndarray:
    return label_image(image.image, image.objectness, image.activations, image.tags, settings, boxes).mask


def _scores(images: Sequence[KnownImage], variant: LabelFn, categories: Categories) -> dict:
    """Void pixels of the truth and of the labels do not count: neither trains a network."""
    number = categories.num_classes
    every, single = (np.zeros((number, number), np.int64) for _ in range(2))
    for image, made in zip(images, in_threads(variant, images), strict=True):
        confusion = confusion_matrix(image.truth, made, number)[:, :-1]
        every += confusion
        if len(image.tags) == 1:
            single += confusion
    wanted = [0, *categories.weak_ids]
    iou = class_iou(every)
    return {
        "miou_weak_and_background": float(np.nanmean(iou[wanted])),
        "miou_single_tag": float(np.nanmean(class_iou(single)[wanted])),
        "per_class": {categories.names[i]: float(iou[i]) for i in wanted},
    }
