"""labelme's own files: one JSON beside each picture. labelme shows pictures upright, and so are its shapes."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from components.beam_masks.faults import dead_letter
from components.dataset_import.drawing import Drawing, Object, size_in
from components.dataset_import.items import Contents, PictureFolder
from components.dataset_import.regions import Box, Polygon, Region, ellipse, placed
from trainer.data.categories import BACKGROUND, VOID, special_id
from trainer.data.category_names import check_distinct, clean_name
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
        image = data.pop("imageData", None)
        try:
            beside = os.path.normpath(join(os.path.dirname(path) or ".", plain(str(data["imagePath"]))))
            found = map(pictures.files.get, (stem_of(path, (".json",)), beside))
            name = next(filter(None, found), None) or pictures.files.find(str(data["imagePath"]))
            if name in read:
                raise ImageFault("tags", f"another JSON file is about {name} too; keep one")
            read[name] = data
        except ImageFault as fault:
            name = stem_of(path, (".json",)) + suffix_of(str(data["imagePath"]))
            if name in read or not (image := _decoded(image)):
                faults.append(dead_letter(path, fault))
                continue
            read[name], embedded[name] = data, image
    shapes = {name: [shape for shape in data["shapes"] if isinstance(shape, dict)] for name, data in read.items()}
    labels = [(shape.get("label"), name) for name, several in shapes.items() for shape in several]
    names = {clean_name(label, join(root, of)) for label, of in labels if isinstance(label, str) and label.strip()}
    names = tuple(sorted(name for name in names if special_id(name) is None))
    if not names:
        first = f"; {faults[0]['key']}: {faults[0]['reason']}" if faults else ""
        raise UserError(f"{root}: no JSON file of labelme's with a labelled shape{first}")
    check_distinct(names, root)
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
        try:
            if not data["shapes"] and (flags := _flags(data)):
                raise ImageFault(
                    "tags",
                    f"has no shape, only flags ({', '.join(flags)}), which are not read; if these are "
                    "tags, list it in tags.csv and import that with `import folder`",
                )
            sample = pictures.sample(name, None, _drawing(data, names))
            samples.append(replace(sample, image=embedded[name]) if name in embedded else sample)
        except ImageFault as fault:
            faults.append(dead_letter(name, fault))
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


def _drawing(data: dict, names: Sequence[str]) -> Drawing:
    size = size_in(data, "imageHeight", "imageWidth")  # labelme 3 does not give it
    objects = [_object(shape, number, names) for number, shape in enumerate(data["shapes"], start=1)]
    return Drawing([one for one in objects if one.index != BACKGROUND], size, upright=True)


def _object(shape: Any, number: int, names: Sequence[str]) -> Object:
    where = f"shape {number}"
    if not isinstance(shape, dict):
        return Object(where, VOID, None, problem="is no shape with a label and points")
    label, (region, only_box) = shape.get("label"), _region(shape)
    if not isinstance(label, str) or not label.strip():
        return Object(where, VOID, region, problem="has no label")
    name = clean_name(label, where)
    if (special := special_id(name)) is not None:
        return Object(where, special, region)
    box = region if shape.get("shape_type") == "rectangle" else None  # a point or a line surrounds nothing
    return Object(where, names.index(name) + 1, region, only_void=only_box, where=box)


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
