"""COCO instances and panoptic JSON; also what Label Studio, CVAT, Roboflow and labelme2coco export as COCO."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from components.beam_masks.faults import dead_letter, faults_to
from components.dataset_import.drawing import Drawing, Object, size_in
from components.dataset_import.items import Contents, PictureFolder
from components.dataset_import.panoptic_mask import PanopticMask
from components.dataset_import.regions import Box, Polygon, RunLengths, Size, turned_box
from trainer.data.categories import BACKGROUND, VOID, ids_of_classes
from trainer.data.category_names import MOST, clean_name
from trainer.data.files import join, read_json
from trainer.data.names import plain
from trainer.errors import ImageFault, UserError

Crowd = Literal["void", "object"]
_WHAT = "COCO's JSON (lists images, annotations, categories)"


def read_coco(
    annotations: str,
    images: str,
    masks: str | None = None,
    *,
    crowd: Crowd = "void",
    follow_links: bool = False,
) -> Contents:
    """Reads an annotations file.

    Polygons and run lengths are drawn largest first, so that small objects lie on top. An object that has a box alone
    is a tag with a box, and void. Panoptic files give their things; stuff is background.

    Args:
      annotations: JSON file.
      images: folder of the images that it names; nothing outside it is read.
      masks: folder of the PNGs of a panoptic file.
      crowd: whether crowd regions are void or objects.
      follow_links: see `trainer.data.files.walk`.

    Raises:
      UserError: not COCO's JSON, categories that cannot be told apart, or a panoptic file without `masks`.
    """
    data = _checked(read_json(annotations, _WHAT), annotations)
    names, ids, notes = _categories(data, annotations)
    pictures = PictureFolder(images, follow_links)
    entries, faults = _entries(data["images"], pictures)
    known = {_id(entry.get("id")) for entry in data["images"] if isinstance(entry, dict)}
    found: dict[str, list[dict]] = defaultdict(list)
    for number, annotation in enumerate(data["annotations"]):
        image = _id(annotation.get("image_id")) if isinstance(annotation, dict) else None
        if image in entries:
            found[image].append(annotation)
        elif image not in known:
            label = _label(annotation, number)
            faults.append(dead_letter(label, ImageFault("object", f"{label}: its image_id {image} is no image")))
    if crowd == "void":
        notes += _notes_on_crowds([a for several in found.values() for a in several], ids, names)
    panoptic = any("segments_info" in annotation for several in found.values() for annotation in several[:1])
    if panoptic and BACKGROUND not in ids.values():
        notes.append("no category is stuff (isthing 0): no pixel is background, those of no segment are void")
    if panoptic and masks is None:
        raise UserError(f"{annotations}: a panoptic file; give the folder of its PNGs with --masks")
    by_picture: dict[str, list[tuple[dict, list[dict]]]] = defaultdict(list)
    for image, (path, entry) in entries.items():
        by_picture[path].append((entry, found.get(image, [])))
    samples = []
    for path, several in by_picture.items():
        with faults_to(faults, path):
            sizes = {size_in(entry, "height", "width") for entry, _ in several}
            if len(sizes) > 1:
                raise ImageFault("size", f"{len(several)} entries name it, with other sizes; keep one")
            mine = [annotation for _, some in several for annotation in some]
            mask = _panoptic(mine, ids, masks) if panoptic else _instances(sizes.pop(), mine, ids, crowd)
            samples.append(pictures.sample(path, None, mask))
    return Contents(names, samples, faults + pictures.faults, notes)


def _checked(data: Any, path: str) -> dict[str, list]:
    """Raises UserError if a part of COCO's JSON is missing or no list."""
    keys = ("images", "annotations", "categories")
    if not isinstance(data, dict) or not all(key in data for key in keys):
        raise UserError(f"{path}: not {_WHAT}")
    if wrong := [key for key in keys if not isinstance(data[key], list)]:
        raise UserError(f"{path}: not {_WHAT}: '{wrong[0]}' is no list")
    return data


def _categories(data: dict[str, list], path: str) -> tuple[tuple[str, ...], dict[str, int], list[str]]:
    """(names by id, category_id as text -> id, notes). Stuff and background are 0, "ignore" and "void" 255."""
    used = {_id(a.get("category_id")) for a in data["annotations"] if isinstance(a, dict)}
    used |= {_id(s.get("category_id")) for a in data["annotations"] for s in _segments(a)}
    panoptic = any(_segments(a) for a in data["annotations"])
    parents = {str(entry.get("supercategory")) for entry in data["categories"] if isinstance(entry, dict)}
    classes: dict[str, str] = {}
    notes: list[str] = []
    unused = 0
    for number, entry in enumerate(data["categories"], start=1):
        where = f"{path}: category {number}"
        if not isinstance(entry, dict) or "id" not in entry:
            raise UserError(f"{where} has no id; categories are {{id, name}}")
        shows = _id(entry["id"])
        if shows in classes:
            raise UserError(f"{where}: the id {shows} is given twice; make ids unique")
        if shows not in used and len(data["categories"]) > MOST:  # LVIS names 1203
            unused += 1
            continue
        blank = not str(entry.get("name") or "").strip()
        if shows not in used and (blank or (str(entry["name"]) in parents and entry.get("supercategory") == "none")):
            what = "has no name" if blank else f"'{entry['name']}' is the root of the others"
            notes.append(f"category {number} {what} and nothing shows it: left out")
            continue
        name = clean_name(entry.get("name") or "", where)
        classes[shows] = name if entry.get("isthing", 1) or not panoptic else "background"
    if unused:
        notes.append(f"{unused} categories that nothing shows are left out: masks hold ids up to {MOST}")
    names, ids = ids_of_classes(list(dict.fromkeys(classes.values())), path)
    if not names:
        raise UserError(f"{path}: no category has a name that can be learned")
    return names, {shows: ids[name] for shows, name in classes.items()}, notes


def _notes_on_crowds(annotations: list[dict], ids: Mapping[str, int], names: Sequence[str]) -> list[str]:
    """What becomes of regions that are marked as crowd, where crowds are void."""
    crowds = [annotation for annotation in annotations if _is_crowd(annotation)]
    notes = []
    if drawn := sum(map(_is_brushed, crowds)):
        notes.append(f"{drawn} regions marked as crowd are objects: CVAT marks all that was drawn with a brush so")
    lost = Counter(_id(a.get("category_id")) for a in crowds if not _is_brushed(a))
    if lost:
        whole = Counter(_id(a.get("category_id")) for a in annotations)
        alone = [names[ids[one] - 1] for one in lost if lost[one] == whole[one] and 0 < ids.get(one, VOID) < VOID]
        of = f", and {', '.join(alone[:3])} has no others" * bool(alone)
        notes.append(f"{sum(lost.values())} crowd regions are void{of}: import coco --crowd object makes them objects")
    return notes


def _is_crowd(annotation: dict) -> bool:
    return annotation.get("iscrowd") in (1, True, "1")


def _is_brushed(crowd: dict) -> bool:
    """Whether a crowd is an object: Datumaro, and so CVAT, writes all masks as crowds, with attributes of its own."""
    said = crowd.get("attributes")
    return isinstance(said, dict) and "occluded" in said and isinstance(crowd.get("segmentation"), dict)


def file_name(entry: dict) -> object:
    """The picture's name; LVIS gives an address alone, of which the folder and the name count."""
    address = entry.get("coco_url")
    return entry.get("file_name") or (isinstance(address, str) and "/".join(address.split("/")[-2:])) or None


def _entries(images: list, pictures: PictureFolder) -> tuple[dict[str, tuple[str, dict]], list[dict[str, str]]]:
    """(image id -> (relative path, entry), dead letters)."""
    entries: dict[str, tuple[str, dict]] = {}
    twice: set[str] = set()
    faults = []
    named = (file_name(entry) for entry in images if isinstance(entry, dict))
    pictures.files.claim(name for name in named if isinstance(name, str))
    for number, entry in enumerate(images, start=1):
        label = f"image {number}"
        try:
            if not isinstance(entry, dict):
                raise ImageFault("tags", f"{label} is no entry with id and file_name")
            name, image = file_name(entry), _id(entry.get("id"))
            label = plain(name) if isinstance(name, str) and name.strip() else f"image {image}"
            if label != plain(str(name)):
                raise ImageFault("read", f"{label}: its file_name is {name!r}; it must be the name of a file")
            if image in entries or image in twice:
                twice.add(image)
                raise ImageFault("tags", f"two images have the id {image}; whose annotations are whose nobody knows")
            entries[image] = (pictures.files.find(name), entry)
        except ImageFault as fault:
            faults.append(dead_letter(label, fault))
    for image in twice & set(entries):
        path = entries.pop(image)[0]
        faults.append(dead_letter(path, ImageFault("tags", f"two images have the id {image}")))
    return entries, faults


def _instances(size: Size | None, annotations: list[dict], ids: Mapping[str, int], crowd: Crowd) -> Drawing:
    if size is None:
        size = next((tuple(s["size"]) for a in annotations if _is_sized(s := a.get("segmentation"))), None)
    objects = [one for number, a in enumerate(annotations) for one in _objects(a, number, ids, crowd)]
    return Drawing(objects, size, by_area=True)


def _objects(annotation: dict, number: int, ids: Mapping[str, int], crowd: Crowd) -> list[Object]:
    """An annotation's parts: each polygon by itself, so that a bad one costs no other."""
    label = _label(annotation, number)
    category = _id(annotation.get("category_id"))
    index, problem, of = ids.get(category, VOID), None, None
    if category not in ids:
        problem = f"its category_id {category} is none of the categories"
    if _is_crowd(annotation) and crowd == "void" and not _is_brushed(annotation):
        index, problem, of = VOID, None, index
    if index == BACKGROUND:
        return []
    box = annotation.get("bbox")
    where = None
    if isinstance(box, list) and len(box) == 4 and all(isinstance(v, int | float) and abs(v) < 1e12 for v in box):
        where = Box([box[0], box[1], box[0] + box[2], box[1] + box[3]])
    shape = annotation.get("segmentation")
    if not shape or annotation.get("isbbox") is True:  # a box, or a tag, alone; COCO Annotator gives its corners too
        turned = _turned(annotation, where)
        return [
            Object(
                label, index, turned or where, only_void=True, where=None if turned else where, of=of, problem=problem
            )
        ]
    if isinstance(shape, dict):
        regions = [RunLengths(shape)]
    elif isinstance(shape, list) and (not any(isinstance(part, list) for part in shape) or all(map(_is_point, shape))):
        regions = [Polygon(shape)]  # one that nobody wrapped in a list
    else:
        regions = [Polygon(part) for part in shape] if isinstance(shape, list) else [Polygon(shape)]
    parts = [label if len(regions) == 1 else f"{label}, polygon {i}" for i in range(1, len(regions) + 1)]
    return [
        Object(part, index, region, where=where, of=of, whole=label, problem=problem)
        for part, region in zip(parts, regions, strict=True)
    ]


def _turned(annotation: dict, box: Box | None) -> Box | None:
    """The box around a box that CVAT turned; None where it did not."""
    said = annotation.get("attributes")
    angle = said.get("rotation") if isinstance(said, dict) else None
    if box is None or not isinstance(angle, int | float) or not angle:
        return None
    return turned_box(box.corners, math.radians(angle))


def _panoptic(annotations: list[dict], ids: Mapping[str, int], masks: str) -> PanopticMask:
    if len(annotations) != 1 or not isinstance(annotations[0].get("file_name"), str):
        raise ImageFault("tags", f"has {len(annotations)} panoptic annotations with a file_name, must be one")
    name = plain(annotations[0]["file_name"])
    if ".." in name.split("/") or name.startswith("/"):
        raise ImageFault("read", f"its mask '{name}' leads out of the folder of masks")
    segments: dict[int, int] = {}
    problems = []
    for segment in _segments(annotations[0]):
        number, category = segment.get("id"), _id(segment.get("category_id"))
        if not isinstance(number, int) or number in segments:
            raise ImageFault("tags", f"a segment's id is {number!r}; each must be a number of its own")
        segments[number] = VOID if segment.get("iscrowd") else ids.get(category, VOID)
        if not segment.get("iscrowd") and category not in ids:
            problems.append((f"segment {number}", f"its category_id {category} is none of the categories"))
    return PanopticMask(join(masks, name), segments, tuple(problems))


def _segments(annotation: Any) -> list[dict]:
    found = annotation.get("segments_info") if isinstance(annotation, dict) else None
    return [segment for segment in found if isinstance(segment, dict)] if isinstance(found, list) else []


def _is_point(part: Any) -> bool:
    return isinstance(part, list) and len(part) == 2 and not any(isinstance(value, list) for value in part)


def _is_sized(segmentation: Any) -> bool:
    size = segmentation.get("size") if isinstance(segmentation, dict) else None
    return isinstance(size, list) and len(size) == 2 and all(isinstance(side, int) for side in size)


def _label(annotation: Any, number: int) -> str:
    known = annotation.get("id") if isinstance(annotation, dict) else None
    return f"annotation {number + 1 if known is None else known}"


def _id(value: Any) -> str:
    """Ids as text: some tools write them so in one place and as numbers in another."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
