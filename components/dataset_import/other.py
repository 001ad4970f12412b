"""About eighty more formats, read by Datumaro (an optional package): Cityscapes, CamVid, Mapillary, Open Images, ...

Datumaro reads a dataset whole or not at all; what it says of a broken one is passed on.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from components.beam_masks.faults import faults_to
from components.dataset_import.drawing import Drawing, Object
from components.dataset_import.items import Contents, Drawn, ImportedPicture
from components.dataset_import.regions import Box, Pixels, Polygon
from trainer.data.boxes import TagBox
from trainer.data.categories import BACKGROUND, VOID, ids_of_classes
from trainer.data.category_names import clean_name
from trainer.data.files import read_bytes
from trainer.data.masks import encode_grey, fit
from trainer.data.pictures import Header, read_header
from trainer.errors import ImageFault, UserError, one_line


def read_other(root: str, format_: str, split: str | None = None, *, follow_links: bool = False) -> Contents:
    """Masks, polygons and boxes of a dataset that Datumaro knows; boxes are void there, labels alone are tags.

    Args:
      root: the dataset's folder.
      format_: Datumaro's name of the format, e.g. cityscapes.
      split: only this subset; None: all.
      follow_links: also take pictures outside `root` that the dataset names.

    Raises:
      UserError: Datumaro is not installed, does not know the format or cannot read the dataset; or there is no such
        subset.
    """
    try:
        import datumaro
        from datumaro.components.environment import Environment
    except ImportError:
        raise UserError("import other needs Datumaro, which is not installed; docs/formats.md says how") from None
    known = sorted(Environment().importers)
    if format_ not in known:
        raise UserError(f"--format {format_}: not known to Datumaro; known: {', '.join(known)}")
    try:
        dataset = datumaro.Dataset.import_from(root, format_)
        items = [item for item in dataset if split in (None, item.subset)]
    except Exception as error:  # Datumaro's readers raise many kinds
        raise UserError(f"{root}: Datumaro cannot read it as {format_}: {one_line(error.__cause__ or error)}") from None
    if not items:
        raise UserError(f"{root}: holds nothing of the subset {split}; it has {', '.join(sorted(dataset.subsets()))}")
    labels = dataset.categories().get(datumaro.AnnotationType.label)
    classes = [clean_name(label.name, root) for label in labels.items] if labels else []
    names, by_name = ids_of_classes(classes, root)
    if not names:
        raise UserError(f"{root}: names no category")
    ids = [by_name[name] for name in classes]
    samples, faults = [], []
    for item in items:
        with faults_to(faults, str(item.id)):
            samples.append(_sample(item, names, ids, None if follow_links else root))
    return Contents(names, samples, faults)


@dataclass(frozen=True)
class _Ready:
    """A mask that was drawn when the dataset was read, packed: a thousand of them fit into memory."""

    png: bytes
    shown: tuple[int, ...]
    dropped: tuple[tuple[str, str], ...]
    boxes: tuple[TagBox, ...]

    def __call__(self, picture: Header) -> Drawn:
        with Image.open(io.BytesIO(self.png)) as image:
            return Drawn(fit(np.array(image), picture), self.shown, self.dropped, self.boxes)


def _sample(item: Any, names: tuple[str, ...], ids: list[int], inside: str | None) -> ImportedPicture:
    path = getattr(item.media, "path", None)
    if path is None:
        raise ImageFault("read", "Datumaro finds no picture of it")
    if inside and not os.path.realpath(path).startswith(os.path.realpath(inside) + os.sep):
        raise ImageFault("read", f"{path} is outside of {inside}; --follow-links takes it")
    if not item.annotations:
        raise ImageFault("tags", "Datumaro finds no annotation of it")
    image = read_bytes(path)
    header = read_header(image)
    objects, tags = [], set()
    for number, one in enumerate(item.annotations, start=1):
        index = ids[one.label] if isinstance(getattr(one, "label", None), int) and one.label < len(ids) else None
        label, kind = f"annotation {number}", one.type.name
        if index is None or kind == "label":
            tags |= {index} - {None, BACKGROUND, VOID}
        elif index != BACKGROUND and kind == "mask":
            pixels = np.asarray(one.image, bool)
            objects.append(Object(label, index, Pixels(pixels)))
        elif index != BACKGROUND and kind == "polygon":
            objects.append(Object(label, index, Polygon(one.points)))
        elif index != BACKGROUND and kind == "bbox":
            box = Box([one.x, one.y, one.x + one.w, one.y + one.h])
            upright = None if one.attributes.get("rotation") else box  # CVAT turns boxes; around what, is not said
            objects.append(Object(label, index, box, only_void=True, where=upright))
    name = f"{item.id}.jpg"  # its suffix is not asked for: the bytes say what it is
    if not objects:
        return ImportedPicture(name, image, tuple(names[i - 1] for i in sorted(tags)))
    drawn = Drawing(objects, header.size, tags=tuple(tags), by_area=True)(header)
    return ImportedPicture(name, image, None, _Ready(encode_grey(drawn.ids), drawn.shown, drawn.dropped, drawn.boxes))
