"""labelme's own files: one JSON beside each picture. labelme shows pictures upright, and so are its shapes."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from components.beam_masks.faults import dead_letter, faults_to
from components.dataset_import.drawing import Drawing, Object, size_in
from components.dataset_import.items import Contents, PictureFolder
from components.dataset_import.regions import Box, Polygon, Region, ellipse, placed
from trainer.data.categories import BACKGROUND, VOID, ids_of_classes
from trainer.data.category_names import clean_name
from trainer.data.files import join, read_json
from trainer.data.masks import read_mask
from trainer.data.names import plain, stem_of, suffix_of
from trainer.errors import ImageFault, UserError


def is_labelme(data: Any) -> bool:
    """Whether a JSON value is one of labelme's files."""
    return isinstance(data, dict) and isinstance(data.get("shapes"), list) and "imagePath" in data


def read_labelme(root: str, *, follow_links: bool = False) -> Contents:
    """Polygons, circles and masks are objects; rectangles are boxes, void in the mask.

    A picture that is not there as a file is taken out of the JSON's imageData.

    Args:
      root: folder of pictures and JSON files.
      follow_links: see `trainer.data.files.walk`.

    Raises:
      UserError: no file of labelme's, or labels that cannot be told apart.
    """
    pictures = PictureFolder(root, follow_links, may_be_empty=True)
    read: dict[str, dict] = {}
    embedded: dict[str, bytes] = {}
    faults = list(pictures.faults)
    for path in (path for path in pictures.others if suffix_of(path, (".json",))):
        try:
            data = read_json(join(root, path), "a JSON file of labelme's")
        except UserError as error:
            faults.append(dead_letter(path, ImageFault("read", error)))
            continue
        if not is_labelme(data):
            continue
        inside = data.pop("imageData", None)
        with faults_to(faults, path):
            beside = os.path.normpath(join(os.path.dirname(path) or ".", plain(str(data["imagePath"]))))
            called = str(data["imagePath"])
            found = map(pictures.files.get, (stem_of(path, (".json",)), beside, called))
            name = next(filter(None, found), None)
            image = None if name else _decoded(inside)
            if image is not None:
                name = stem_of(path, (".json",)) + suffix_of(called)
            name = name or pictures.files.find(called)
            if name in read:
                raise ImageFault("tags", f"another JSON file is about {name} too; keep one")
            read[name] = data
            if image is not None:
                embedded[name] = image
    shapes = {name: [shape for shape in data["shapes"] if isinstance(shape, dict)] for name, data in read.items()}
    labels = [(shape.get("label"), name) for name, several in shapes.items() for shape in several]
    classes = {clean_name(label, join(root, of)) for label, of in labels if isinstance(label, str) and label.strip()}
    names, ids = ids_of_classes(sorted(classes), root)
    if not names:
        first = f"; {faults[0]['key']}: {faults[0]['reason']}" if faults else ""
        raise UserError(f"{root}: no JSON file of labelme's with a labelled shape{first}")
    bare = [name for name in pictures.files.paths if name not in read]
    faults += [dead_letter(name, ImageFault("tags", "has no JSON file of labelme's")) for name in bare]
    notes = []
    if bare:
        notes.append(
            f"{len(bare)} of {len(bare) + len(read)} pictures have no JSON file of labelme's, so are left out; annotate"
            " them, move them away, or go on without them by import labelme --max-dead-share 1"
        )
    samples = []
    for name, data in read.items():
        with faults_to(faults, name):
            if not data["shapes"] and (flags := _flags(data)):
                raise ImageFault(
                    "tags",
                    f"has no shape, only flags ({', '.join(flags)}), which are not read; if these are "
                    "tags, list it in tags.csv and import that with `import folder`",
                )
            sample = pictures.sample(name, None, _drawing(data, ids))
            samples.append(replace(sample, image=embedded[name]) if name in embedded else sample)
    return Contents(names, samples, faults, notes)


def _decoded(image: Any) -> bytes | None:
    """The bytes of a picture in base64; None if it is none."""
    try:
        return base64.b64decode(image, validate=True)
    except (TypeError, ValueError):
        return None


def _flags(data: dict) -> list[str]:
    """Those that are set for the whole picture."""
    flags = data.get("flags")
    return [str(name) for name, is_set in flags.items() if is_set] if isinstance(flags, dict) else []


def _drawing(data: dict, ids: Mapping[str, int]) -> Drawing:
    size = size_in(data, "imageHeight", "imageWidth")  # labelme 3 does not give it
    objects = [_object(shape, number, ids) for number, shape in enumerate(data["shapes"], start=1)]
    return Drawing([one for one in objects if one.index != BACKGROUND], size, upright=True)


def _object(shape: Any, number: int, ids: Mapping[str, int]) -> Object:
    where = f"shape {number}"
    if not isinstance(shape, dict):
        return Object(where, VOID, None, problem="is no shape with a label and points")
    label, (region, only_box) = shape.get("label"), _region(shape)
    if not isinstance(label, str) or not label.strip():
        return Object(where, VOID, region, problem="has no label")
    index = ids[clean_name(label, where)]
    if index in (BACKGROUND, VOID):
        return Object(where, index, region)
    box = region if shape.get("shape_type") == "rectangle" else None  # a point or a line surrounds nothing
    return Object(where, index, region, only_void=only_box, where=box)


def _region(shape: dict) -> tuple[Any, bool]:
    """(what was drawn, whether it says not which pixels)."""
    points, kind = shape.get("points"), shape.get("shape_type") or "polygon"
    if kind == "polygon":
        return Polygon(points), False
    try:
        corners = np.asarray(points, np.float64).reshape(-1, 2)
        low, high = corners.min(0), corners.max(0)
        if kind == "circle":
            radius = np.linalg.norm(corners[1] - corners[0])
            return ellipse(corners[0], (radius, radius)), False
        if kind == "mask":
            return _Patch(str(shape.get("mask")), tuple(low)), False
        return Box([*low, *high]), True
    except (TypeError, ValueError, IndexError, OverflowError):
        return Box(None), True


@dataclass(frozen=True)
class _Patch(Region):
    """A region: a PNG in base64, not 0 inside, with its upper left corner at (x, y)."""

    data: str
    corner: tuple[float, float]

    def draw(self, size: tuple[int, int]) -> np.ndarray:
        try:
            patch = read_mask(base64.b64decode(self.data, validate=True), VOID) > 0
        except (binascii.Error, ValueError, ImageFault) as error:
            raise ImageFault("object", f"its mask is not readable: {error}") from None
        return placed(patch, self.corner, size)
