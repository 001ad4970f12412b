"""COCO instances and panoptic JSON; also what Label Studio and CVAT export as COCO."""

from __future__ import annotations

import contextlib
import io
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from pycocotools import mask as rle

from components.batch.faults import dead_letter
from components.dataset_import.samples import Contents, Sample, join, key_of, read_bytes, read_png
from trainer.categories import VOID
from trainer.errors import ImageFault, UserError


def read_coco(annotations: str, images: str, masks: str | None = None) -> Contents:
    """Reads an annotations file.

    Polygons and run lengths are drawn largest first, so that small objects lie on top; crowds are void. Panoptic files
    give their things; stuff is background.

    Args:
      annotations: JSON file.
      images: folder of the images that it names.
      masks: folder of the PNGs of a panoptic file.

    Raises:
      UserError: not COCO's JSON, or a panoptic file without `masks`.
    """
    try:
        data = json.loads(read_bytes(annotations))
        categories = [entry for entry in data["categories"] if entry.get("isthing", 1)]
        names = tuple(entry["name"] for entry in categories)
        ids = {entry["id"]: index for index, entry in enumerate(categories, start=1)}
        files = {entry["id"]: entry for entry in data["images"]}
        by_image: dict[Any, list[dict]] = defaultdict(list)
        for annotation in data["annotations"]:
            by_image[annotation["image_id"]].append(annotation)
    except ImageFault as fault:
        raise UserError(str(fault)) from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{annotations}: not COCO's JSON (images, annotations, categories); {error!r}") from None
    panoptic = any("segments_info" in annotation for annotation in data["annotations"][:1])
    if panoptic and masks is None:
        raise UserError(f"{annotations}: a panoptic file; give the folder of its PNGs with --masks")
    samples, faults = [], []
    for number, entry in files.items():
        key = key_of(PurePosixPath(entry["file_name"]).name if "://" in entry["file_name"] else entry["file_name"])
        try:
            found = by_image.get(number, [])
            mask = _panoptic(found, ids, masks) if panoptic else _instances(entry, found, ids)
        except (KeyError, TypeError) as error:
            faults.append(dead_letter(key, ImageFault("tags", f"its annotations are incomplete: {error!r}")))
            continue
        tags = tuple(sorted({names[i - 1] for i in mask.shown}, key=names.index))
        samples.append(Sample(key, join(images, entry["file_name"]), tags, mask))
    return Contents(names, samples, faults)


@dataclass(frozen=True)
class CocoMask:
    """Objects to draw: (index of the category or 255, polygons or run lengths), in the order of drawing."""

    height: int
    width: int
    objects: list[tuple[int, Any]]

    @property
    def shown(self) -> set[int]:
        return {index for index, _ in self.objects if index != VOID}

    def __call__(self) -> np.ndarray:
        mask = np.zeros((self.height, self.width), np.uint8)
        for index, segmentation in self.objects:
            try:
                mask[_decode(segmentation, self.height, self.width)] = index
            except Exception as error:  # pycocotools raises bare Exceptions and wrong shapes index badly
                raise ImageFault("decode", f"a segmentation cannot be drawn: {error}") from None
        return mask


@dataclass(frozen=True)
class PanopticMask:
    """A PNG whose colours are segment ids (R + 256 G + 65536 B), and what they show."""

    path: str
    segments: dict[int, int]  # segment id -> index of the category or 255

    @property
    def shown(self) -> set[int]:
        return set(self.segments.values()) - {VOID}

    def __call__(self) -> np.ndarray:
        pixels, mode = read_png(self.path)
        if mode not in ("RGB", "RGBA"):
            raise ImageFault("decode", f"{self.path}: a {mode} image; panoptic PNGs are RGB")
        ids = pixels[..., 0] + 256 * pixels[..., 1].astype(np.int64) + 65536 * pixels[..., 2].astype(np.int64)
        mask = np.zeros(ids.shape, np.uint8)
        for segment, index in self.segments.items():
            mask[ids == segment] = index
        return mask


def _instances(entry: dict, annotations: list[dict], ids: dict[Any, int]) -> CocoMask:
    def order(annotation: dict) -> tuple[bool, float]:
        return not annotation.get("iscrowd", 0), -float(annotation.get("area", 0))

    objects = [
        (VOID if annotation.get("iscrowd", 0) else ids[annotation["category_id"]], annotation["segmentation"])
        for annotation in sorted(annotations, key=order)
        if annotation.get("segmentation")
    ]
    return CocoMask(int(entry["height"]), int(entry["width"]), objects)


def _panoptic(annotations: list[dict], ids: dict[Any, int], masks: str) -> PanopticMask:
    [annotation] = annotations
    segments = {
        int(segment["id"]): VOID if segment.get("iscrowd", 0) else ids[segment["category_id"]]
        for segment in annotation["segments_info"]
        if segment["category_id"] in ids
    }
    return PanopticMask(join(masks, annotation["file_name"]), segments)


def _decode(segmentation: Any, height: int, width: int) -> np.ndarray:
    """Polygons, or run lengths packed or not -> bool [H, W]."""
    with contextlib.redirect_stdout(io.StringIO()):
        if isinstance(segmentation, list):
            packed = rle.merge(rle.frPyObjects(segmentation, height, width))
        elif isinstance(segmentation["counts"], list):
            packed = rle.frPyObjects(segmentation, height, width)
        else:
            packed = segmentation
    return rle.decode(packed).astype(bool)
