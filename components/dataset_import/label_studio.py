"""Label Studio's JSON: polygons, brush strokes, boxes and choices; PNGs of its brush export may stand in for strokes.

Label Studio shows pictures upright, and so is all that is drawn there. Of several annotations of a task one counts: the
ground truth, else the newest.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from components.beam_masks.faults import dead_letter
from components.dataset_import.brush import Brush
from components.dataset_import.drawing import Drawing, Object
from components.dataset_import.items import Contents, ImportedPicture, PictureFolder
from components.dataset_import.label_studio_tasks import (
    annotations_of,
    has_value,
    is_region,
    picture_of,
    picture_texts,
    refuse_several_pictures,
    results_of,
    why_none,
)
from components.dataset_import.regions import Box, Pixels, Polygon, Region
from trainer.data.categories import BACKGROUND, VOID, ids_of_classes
from trainer.data.category_names import clean_name
from trainer.data.files import is_dir, join, read_bytes, read_json, walk
from trainer.data.masks import read_mask
from trainer.errors import ImageFault, UserError

_PNG = re.compile(r"task-(\d+)-annotation-(\d+)-by-.*?-tag-(.+)-\d+\.png$")
_WHAT = "Label Studio's JSON export (a list of tasks)"


@dataclass(frozen=True)
class _Item:
    """What an annotation says of one thing: a region with its labels, or labels (choices) alone."""

    label: str  # for letters
    names: tuple[str, ...]
    region: Any = None
    only_box: bool = False
    box: Box | None = None  # that surrounds it; a turned one and a point have none
    size: tuple[int, int] | None = None  # height, width
    problem: str | None = None
    is_painted: bool = False  # a PNG may stand in for it

    @property
    def is_tag(self) -> bool:
        return self.region is None and not self.only_box and self.problem is None


@dataclass(frozen=True)
class _Png(Region):
    """A stroke as a region: a PNG of the brush export, not 0 inside."""

    path: str

    def draw(self, size: tuple[int, int]) -> np.ndarray:
        try:
            inside = read_mask(read_bytes(self.path), VOID) > 0
        except ImageFault as fault:
            raise ImageFault("object", fault) from None
        return Pixels(inside, self.path).draw(size)


class _Bitmask(Region):
    """What a BitMask tag draws: somewhere, since only Label Studio knows what its colours mean."""

    def draw(self, size: tuple[int, int]) -> np.ndarray:
        raise ImageFault("object", "a bitmask, which is not read; draw with brushes, or export 'brush labels to PNG'")


def read_label_studio(
    annotations: str, images: str, masks: str | None = None, *, follow_links: bool = False
) -> Contents:
    """Reads a JSON export.

    Args:
      annotations: the JSON export.
      images: folder of the pictures; the name of an upload is found with and without its prefix.
      masks: folder of the export "brush labels to PNG".
      follow_links: see `trainer.data.files.walk`.

    Raises:
      UserError: not Label Studio's JSON, no such folder, or labels that cannot be told apart.
    """
    tasks = read_json(annotations, _WHAT)
    if not isinstance(tasks, list) or not tasks:
        raise UserError(f"{annotations}: not {_WHAT}")
    if all(isinstance(task, dict) and "annotation_id" in task and "annotations" not in task for task in tasks):
        raise UserError(f"{annotations}: this is the export JSON-MIN, which does not say what is what; export as JSON")
    pngs = _pngs(masks) if masks else {}
    pictures = PictureFolder(images, follow_links)
    made = [annotations_of(task) for task in tasks]
    named = [picture_texts(task, results_of(several)) for task, several in zip(tasks, made, strict=True)]
    pictures.files.claim(text for texts in named for text in texts.values())
    found = [{field: pictures.files.get(text) for field, text in texts.items()} for texts in named]
    fields = {field for paths in found for field, path in paths.items() if path}  # others name no picture in any task
    read: dict[str, list[_Item]] = {}
    faults, doubtful = list(pictures.faults), []
    for number, (task, several, texts, paths) in enumerate(zip(tasks, made, named, found, strict=True), start=1):
        key = label = f"task {task.get('id', number)}" if isinstance(task, dict) else f"task {number}"
        try:
            refuse_several_pictures(task, results_of(several), label)
            key = picture_of(texts, {field: path for field, path in paths.items() if field in fields}, pictures, label)
            if not several:
                raise why_none(task, label)
            items = _items(several[0].get("result"), label)
            items = _with_pngs(items, pngs.get(str(task.get("id")), {}), several[0], label)
            if not items:
                raise ImageFault(
                    "tags", f"{label}: its annotation has no label; if it shows nothing, tag it background"
                )
            if key in read:
                raise ImageFault("tags", f"{label}: another task shows the same picture, and is used")
            read[key] = items
            doubtful += [label] if len(several) > 1 else []
        except ImageFault as fault:
            faults.append(dead_letter(key, fault))
        except UserError as error:
            raise UserError(f"{annotations}: {error}") from None
    notes = []
    if doubtful:
        of = f"{len(doubtful)} tasks, e.g. {doubtful[0]},"
        notes.append(f"{of} have several annotations and not one ground truth: of each the newest counts")
    labels = {name for items in read.values() for item in items for name in item.names}
    names, ids = ids_of_classes(sorted(labels), annotations)
    return Contents(names, [_sample(key, items, names, ids, pictures) for key, items in read.items()], faults, notes)


def _sample(
    key: str, items: Sequence[_Item], names: tuple[str, ...], ids: Mapping[str, int], pictures: PictureFolder
) -> ImportedPicture:
    tags = sorted({ids[name] for item in items if item.is_tag for name in item.names} - {BACKGROUND, VOID})
    objects = []
    for item in items:
        if not item.is_tag:
            problem = item.problem or (None if len(item.names) == 1 else f"has {len(item.names)} labels, must be one")
            category = VOID if problem else ids[item.names[0]]
            objects.append(
                Object(item.label, category, item.region, only_void=item.only_box, where=item.box, problem=problem)
            )
    if not objects:
        return pictures.sample(key, tuple(names[i - 1] for i in tags))
    size = next((item.size for item in items if item.size), None)
    return pictures.sample(key, None, Drawing(objects, size, upright=True, tags=tuple(tags)))


def _is_mark(result: dict) -> bool:
    """Whether it is a region or a region's label."""
    return is_region(result) or str(result.get("type")).endswith("labels")


def _items(results: Any, label: str) -> list[_Item]:
    """Results with one id put together: a region, its label and what else is said of it are several."""
    groups: dict[str, list[dict]] = defaultdict(list)
    if not isinstance(results, list):
        raise ImageFault("tags", f"{label}: its result is no list")
    marks = {str(result.get("id")) for result in results if has_value(result) and _is_mark(result)}
    for number, result in enumerate(results, start=1):
        if isinstance(result, dict) and result.get("type") == "relation":
            continue  # between two regions, which come on their own
        if not has_value(result):
            raise ImageFault("tags", f"{label}: result {number} has no value")
        of_mark = str(result.get("id")) in marks
        groups[str((of_mark and result.get("id")) or f"#{number}")].append(result)
    items = [_item(several, f"{label}, region {name}") for name, several in groups.items()]
    return [item for item in items if item.names or not item.is_tag]


def _item(results: Sequence[dict], label: str) -> _Item:
    names: list[str] = []
    region, only_box, box, size, problem = None, False, None, None, None
    is_mark = any(map(_is_mark, results))
    for result in results:
        value, kind = result["value"], str(result.get("type"))
        if kind.endswith("labels") or not is_mark:  # choices that belong to a region are none of its labels
            names += _names(value.get(kind), label)
        names += _names(value.get("labels"), label)
        found, is_box = _region(value)
        if found is None and not is_box:
            continue
        region, only_box = found, is_box
        box = found if is_box and not value.get("rotation") and {"width", "radiusX"} & value.keys() else None
        size = (result.get("original_height"), result.get("original_width"))
        if not all(isinstance(side, int) and side > 0 for side in size):
            size, problem = None, f"its original_height and original_width are {size[0]!r} and {size[1]!r}"
        if result.get("image_rotation"):
            region = box = None
            problem = f"drawn on a picture turned by {result['image_rotation']} degrees; turn it back"
    names = list(dict.fromkeys(names))
    if (region is not None or only_box) and not names:
        problem = "has no label"
    painted = any({"rle", "imageDataURL"} & result["value"].keys() for result in results)
    return _Item(label, tuple(names), region, only_box, box, size, problem, painted)


def _names(given: Any, label: str) -> list[str]:
    """Labels as Label Studio writes them: a list of names, or of paths in a taxonomy, whose last step counts."""
    given = given if isinstance(given, list) else []
    last = [entry[-1] if isinstance(entry, list) and entry else entry for entry in given]
    return [clean_name(name, label) for name in last if isinstance(name, str) and name.strip()]


def _region(value: dict) -> tuple[Any, bool]:
    """(the drawing in a result's value or None, whether it is a box or a point, which say not which pixels)."""
    if "points" in value:
        return Polygon(value["points"], "percent"), False
    if "imageDataURL" in value:
        return _Bitmask(), False
    if "rle" in value:
        return Brush(value["rle"]), False
    if "x" not in value or "y" not in value:
        return None, False
    try:  # a rectangle, which may be turned about its corner; an ellipse; a point
        x, y, width, height = value["x"], value["y"], value.get("width", 0), value.get("height", 0)
        beside, above = value.get("radiusX", 0), value.get("radiusY", 0)
        if value.get("rotation"):
            beside = above = max(beside, above, width + height)
        return Box([x - beside, y - above, x + width + beside, y + height + above], "percent"), True
    except (TypeError, OverflowError):
        return Box(None, "percent"), True


def _pngs(folder: str) -> dict[str, dict[str, list[_Item]]]:
    """task id -> annotation id -> the strokes of a brush export."""
    if not is_dir(folder):
        raise UserError(f"--masks: no folder {folder}")
    found: dict[str, dict[str, list[_Item]]] = defaultdict(lambda: defaultdict(list))
    for path in walk(folder)[0]:
        if match := _PNG.match(path.rsplit("/", 1)[-1]):
            found[match[1]][match[2]].append(_Item(path, (clean_name(match[3], path),), _Png(join(folder, path))))
    return found


def _with_pngs(items: list[_Item], pngs: dict[str, list[_Item]], annotation: dict, label: str) -> list[_Item]:
    """The annotation's PNGs in the place of its strokes with their labels.

    Raises:
      ImageFault: nothing says which of several annotations' PNGs are meant.
    """
    if "id" in annotation:
        strokes = pngs.get(str(annotation["id"]), [])
    elif len(pngs) > 1:
        raise ImageFault("tags", f"{label}: has PNGs of {len(pngs)} annotations, and the JSON gives its own no id")
    else:
        strokes = [stroke for several in pngs.values() for stroke in several]
    as_files = {item.names: "-".join(item.names) or "no_label" for item in items if item.is_painted}
    names = {re.sub(r"[/\\]", "-", text): names for names, text in as_files.items()}
    strokes = [replace(stroke, names=names.get(stroke.names[0], stroke.names)) for stroke in strokes]
    covered = {stroke.names for stroke in strokes}
    return [*(item for item in items if not (item.is_painted and item.names in covered)), *strokes]
