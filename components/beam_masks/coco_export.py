"""Masks as COCO's annotations.json: run lengths of every category, or polygons of every connected object."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from components.beam_masks.images import Source
from components.beam_masks.masks import mask_path, read_mask, write_atomic
from trainer.data.categories import BACKGROUND, Categories
from trainer.data.instances import instances
from trainer.data.masks import ids_in

COCO = "annotations.json"
_TOLERANCE = 0.5  # our choice: pixels by which a polygon may miss its object
_LEAST = 4  # our choice: smaller objects are no polygon


def write_coco(output: Path, sources: Sequence[Source], categories: Categories, polygons: bool = False) -> None:
    """annotations.json: for each category of an image a compressed RLE, or for each of its connected objects a polygon.

    Void is left out. A polygon fills the holes of its object; objects of less than 4 pixels have none.
    """
    images, annotations = [], []
    for number, source in enumerate(sources, 1):
        mask = read_mask(mask_path(str(output), source.key))
        height, width = mask.shape
        images.append({"id": number, "file_name": Path(source.path).name, "height": height, "width": width})
        for entry in _polygons(mask) if polygons else _run_lengths(mask):
            annotations.append({"id": len(annotations) + 1, "image_id": number, **entry, "iscrowd": 0})
    named = [{"id": i, "name": name} for i, name in enumerate(categories.names) if i != BACKGROUND]
    document = {"images": images, "annotations": annotations, "categories": named}
    write_atomic(f"{output}/{COCO}", json.dumps(document).encode())


def _run_lengths(mask: np.ndarray) -> Iterator[dict[str, Any]]:
    for category in ids_in(mask):
        rle = coco_mask.encode(np.asfortranarray(mask == category, np.uint8))
        yield {
            "category_id": category,
            "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
            "area": int(coco_mask.area(rle)),
            "bbox": coco_mask.toBbox(rle).tolist(),
        }


def _polygons(mask: np.ndarray) -> Iterator[dict[str, Any]]:
    for one in instances(mask):
        if one.area >= _LEAST:
            tag, x1, y1, x2, y2 = one.box
            yield {
                "category_id": tag,
                "segmentation": one.outlines(_TOLERANCE),
                "area": one.area,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
            }
