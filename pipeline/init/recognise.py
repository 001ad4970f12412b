"""What kind of dataset lies in a folder, and how to read it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from components.dataset_import.cvat_xml import ANNOTATIONS
from components.dataset_import.folders import read_cvat
from components.dataset_import.labelme import is_labelme, read_labelme
from components.dataset_import.splits import SPLITS, split_said, words_of
from components.dataset_import.tfrecords import read_tfrecords
from components.dataset_import.voc_folders import LABELMAP, read_sbd, read_voc
from components.dataset_import.yolo import DATA, read_yolo, splits_of
from components.image_example_gen import voc
from pipeline.init.json_exports import exports_in, find_json, first_json, unusable_json
from pipeline.init.parts import NamesMissing, Part, below, split_of, split_parts
from pipeline.init.plain_folders import ROBOFLOW, ROBOFLOW_HEADER, find_pictures, imports_of_pairs
from trainer.data.category_names import is_background, names_by_id, read_names
from trainer.data.csv_table import has_header, read_lines, refuse
from trainer.data.files import read_json
from trainer.errors import UserError

KNOWN = (
    "VOC (JPEGImages/ with SegmentationClass/ or Annotations/), COCO (a JSON and its images; Roboflow's too), "
    "SBD (img/ and cls/), CVAT (annotations.xml or labelmap.txt), Label Studio (a JSON export and its images), "
    "labelme (a JSON by each picture), YOLO segmentation (data.yaml, images/, labels/), TFRecords with "
    "categories.txt, pictures with tags.csv or a folder masks/"
)


def is_ours(folder: Path) -> bool:
    """Whether the folder is laid out as training reads it.

    Raises:
      UserError: its masks lie where labelme2voc once put them.
    """
    if not (folder / voc.IMAGES).is_dir() or not (folder / voc.MASKS).is_dir() or (folder / LABELMAP).exists():
        return False
    if (pngs := folder / f"{voc.MASKS}PNG").is_dir():
        raise UserError(f"{pngs}: holds the masks; take {voc.MASKS} away, and give this folder its name")
    return True


def recognise(folder: Path, names: Sequence[str] | None, output: Path | None = None) -> tuple[Path, list[Part]]:
    """How to read a folder.

    Args:
      folder: any; a dataset may lie in the only folder below it that holds one (an archive, unpacked).
      names: categories by id, where the files do not say.
      output: what was brought there before is no dataset beside others.

    Returns:
      (where the dataset lies, its parts; none if it is laid out as training reads it).

    Raises:
      UserError: nothing known, or several datasets, with what would take one.
      NamesMissing: the files do not say what their ids mean.
    """
    if is_ours(folder):
        return folder, []
    if parts := _parts(folder, names or names_in(folder)):
        return folder, parts
    found: list[tuple[Path, list[Part]]] = []
    for place in below(folder):
        if any(place.is_relative_to(other) for other, _ in found):
            continue
        parts = [] if is_ours(place) else _parts(place, names or names_in(place) or names_in(folder))
        if parts or is_ours(place):
            found.append((place, parts))
    if not found:
        fault = unusable_json(folder) or _unnamed_yolo(folder) or folder
        if way := imports_of_pairs(folder, names):
            raise UserError(f"{fault}: {way}")
        raise UserError(f"{fault}: no dataset of a known kind. Known: {KNOWN}")
    if len(found) > 1 and output:
        found = [(place, parts) for place, parts in found if place.resolve() != output.resolve()]
    if len(found) > 1:
        if parts := _as_splits(found):
            return found[0][0].parent, parts
        ways = "; or ".join(f"transferseg init {shlex.quote(str(place))}" for place, _ in found[:5])
        raise UserError(f"{folder}: holds {len(found)} datasets; begin with one of them: {ways}")
    return found[0]


def _as_splits(found: Sequence[tuple[Path, list[Part]]]) -> list[Part]:
    """The parts of several datasets as one's splits, if that is what their folders' names say; else none."""
    splits = {split_said(place.name): parts for place, parts in found}
    called = {(place.parent, *(word for word in words_of(place.name) if word not in SPLITS)) for place, _ in found}
    if None in splits or len(splits) < len(found) or len(called) > 1 or any(len(p) != 1 for p in splits.values()):
        return []
    return [replace(splits[split][0], split=split) for split in sorted(splits, key=list(SPLITS.values()).index)]


def _parts(folder: Path, names: Sequence[str] | None) -> list[Part]:
    ways = [_cvat(folder), _voc(folder, names), _sbd(folder), find_json(folder), _yolo(folder), _labelme(folder)]
    ways += [_tfrecords(folder, names), find_pictures(folder, names)]
    parts = next(filter(None, map(list, ways)), [])
    if {part.split for part in parts} == {"test"}:  # so a name says; but there is nothing else to train on
        return [replace(part, split="train") for part in parts]
    return parts


def others_beside(folder: Path, parts: Sequence[Part]) -> list[str]:
    """Notes on annotations of other kinds in the folder than those of its parts."""
    if not parts:
        return []
    kind = parts[0].kind
    files = {"CVAT": folder / ANNOTATIONS, "YOLO": folder / DATA}
    found = [path.name for other, path in files.items() if other != kind and path.is_file()]
    if kind in ("CVAT", "VOC", "SBD"):  # found before anybody looked for an export
        found += [path.name for path in islice(exports_in(folder), 1)]
    return [f"{name}: not read with {kind}; transferseg import brings it into the same dataset" for name in found]


def names_in(folder: Path) -> list[str] | None:
    """The lines of categories.txt, or of what Roboflow or labelme2voc (class_names.txt) writes beside masks.

    Raises:
      UserError: it cannot be read, or see `names_by_id`.
    """
    if (folder / voc.CATEGORIES).is_file():
        return read_names(folder / voc.CATEGORIES)
    if has_header(table := folder / ROBOFLOW, ROBOFLOW_HEADER):
        rows, faults = read_lines(table, ROBOFLOW_HEADER, lambda _, cells, __: cells)
        refuse(table, faults)
        wanted = [[str(number), cells[-1].strip()] for number, cells in enumerate(rows)]
        found = [[cell.strip() for cell in cells] for cells in rows]
        if not found or found != wanted or not is_background(found[0][1]):
            raise UserError(f"{table}: must give values 0, 1, 2 and so on a class each, 0 that of background")
        return names_by_id([cells[-1] for cells in rows], str(table))
    of_labelme = folder / "class_names.txt"
    return read_names(of_labelme) if of_labelme.is_file() and (folder / voc.MASKS).is_dir() else None


def _cvat(folder: Path) -> Iterator[Part]:
    if (folder / ANNOTATIONS).is_file() or ((folder / LABELMAP).is_file() and not _has_xml(folder)):
        yield from split_parts("CVAT", read_cvat(str(folder)))


def _voc(folder: Path, names: Sequence[str] | None) -> Iterator[Part]:
    if (folder / voc.IMAGES).is_dir() and ((folder / voc.MASKS).is_dir() or _has_xml(folder)):
        yield from split_parts("VOC", read_voc(str(folder), names, None))


def _has_xml(folder: Path) -> bool:
    """Whether there are VOC's annotations; those beside LABELMAP are CVAT's "PASCAL VOC 1.1"."""
    return any((folder / "Annotations").rglob("*.xml"))


def _sbd(folder: Path) -> Iterator[Part]:
    if (folder / "img").is_dir() and (folder / "cls").is_dir():
        lists = [name for name in ("train", "val") if (folder / f"{name}.txt").is_file()]
        for split in lists or [None]:
            yield Part("SBD", split or "train", lambda split=split: read_sbd(str(folder), split))


def _yolo(folder: Path) -> Iterator[Part]:
    if (folder / DATA).is_file():
        splits = splits_of(str(folder))
        for split in splits or [None]:
            yield Part("YOLO", SPLITS[split or "train"], lambda split=split: read_yolo(str(folder), split))


def _unnamed_yolo(folder: Path) -> str | None:
    """What YOLO's labels lack; None if there are none in the folder's `labels`."""
    if not any((folder / "labels").rglob("*.txt")):
        return None
    return f"{folder}: YOLO's labels/ without {DATA}; write one there that says names: [the classes, from 0]"


def _labelme(folder: Path) -> Iterator[Part]:
    def is_one(path: Path) -> bool:
        try:
            return is_labelme(read_json(path, "a JSON file"))
        except UserError:
            return False

    if any(map(is_one, first_json(folder))):
        yield from split_parts("labelme", read_labelme(str(folder)))


def _tfrecords(folder: Path, names: Sequence[str] | None) -> Iterator[Part]:
    files = sorted(path for path in folder.iterdir() if ".tfrecord" in path.name)
    if not files:
        return
    if names is None:
        raise NamesMissing(f"{folder}: TFRecords hold ids: give the names with --categories a,b,c (id 1, 2, 3)", 3)
    splits = {path: split_of(path, folder) or "train" for path in files}
    for split in dict.fromkeys(splits.values()):
        mine = [str(path) for path in files if splits[path] == split]
        yield Part("TFRecords", split, lambda mine=mine: read_tfrecords(mine, names))
