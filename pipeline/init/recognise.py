"""What kind of dataset lies in a folder, and how to read it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice, permutations
from pathlib import Path

from components.dataset_import.cvat_xml import ANNOTATIONS
from components.dataset_import.folders import LABELMAP, read_cvat, read_folder, read_sbd, read_voc
from components.dataset_import.items import Contents
from components.dataset_import.labelme import is_labelme, read_labelme
from components.dataset_import.mask_decoding import highest_id
from components.dataset_import.tfrecords import read_tfrecords
from components.dataset_import.yolo import DATA, SPLITS, read_yolo, splits_of
from components.image_example_gen import voc
from pipeline.init.json_exports import IMAGE_FOLDERS, find_json, unreadable_json
from pipeline.init.parts import Part, below, split_of
from trainer.data import boxes, tags_table
from trainer.data.category_names import read_names
from trainer.data.csv_table import has_header
from trainer.data.files import read_json
from trainer.data.names import MASK_ENDINGS, MASK_SUFFIXES, stem_of, suffix_of
from trainer.data.tags_table import read_tags_table
from trainer.errors import UserError

KNOWN = (
    "VOC (JPEGImages/ with SegmentationClass/ or Annotations/), COCO (a JSON and its images; Roboflow's too), "
    "SBD (img/ and cls/), CVAT (annotations.xml or labelmap.txt), Label Studio (a JSON export and its images), "
    "labelme (a JSON by each picture), YOLO segmentation (data.yaml, images/, labels/), TFRecords with "
    "categories.txt, pictures with tags.csv or a folder masks/"
)
_TABLES = {"tags": tags_table.HEADER, "boxes": boxes.HEADER}
_FOLDERS = 30  # our choice: folders among which two with the same names are looked for


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


class NamesMissing(UserError):
    """Masks or records hold ids and nobody says what they mean. `number`: how many names are wanted, at least."""

    def __init__(self, text: str, number: int):
        super().__init__(text)
        self.number = number


def recognise(folder: Path, names: Sequence[str] | None) -> tuple[Path, list[Part]]:
    """How to read a folder.

    Args:
      folder: any; a dataset may lie in the only folder below it that holds one (an archive, unpacked).
      names: categories by id, where the files do not say.

    Returns:
      (where the dataset lies, its parts; none if it is laid out as training reads it).

    Raises:
      UserError: nothing known, or several datasets, with what would take one.
      NamesMissing: the files do not say what their ids mean.
    """
    if is_ours(folder):
        return folder, []
    if parts := list(_parts(folder, names or names_in(folder))):
        return folder, parts
    found: list[tuple[Path, list[Part]]] = []
    for place in below(folder):
        if any(place.is_relative_to(other) for other, _ in found):
            continue
        parts = [] if is_ours(place) else list(_parts(place, names or names_in(place) or names_in(folder)))
        if parts or is_ours(place):
            found.append((place, parts))
    if not found:
        fault = unreadable_json(folder) or _unnamed_yolo(folder) or folder
        if alike := _alike(folder):
            images, masks = map(shlex.quote, map(str, alike))
            way = f"transferseg import folder --images {images} --masks {masks} --categories a,b,c --output data"
            raise UserError(f"{fault}: {alike[1]} may hold masks of {alike[0]}: {way}, then transferseg init data")
        raise UserError(f"{fault}: no dataset of a known kind. Known: {KNOWN}")
    if len(found) > 1:
        ways = "; or ".join(f"transferseg init {shlex.quote(str(place))}" for place, _ in found[:5])
        raise UserError(f"{folder}: holds {len(found)} datasets; begin with one of them: {ways}")
    return found[0]


def _parts(folder: Path, names: Sequence[str] | None) -> Iterator[Part]:
    for find in (_cvat, _voc, _sbd, _json, _yolo, _labelme, _tfrecords, _pictures):
        if parts := list(find(folder, names)):
            yield from parts
            return


def names_in(folder: Path) -> list[str] | None:
    """The lines of categories.txt, or of the class_names.txt that labelme2voc writes beside masks, if there is one."""
    if (folder / voc.CATEGORIES).is_file():
        return read_names(folder / voc.CATEGORIES)
    of_labelme = folder / "class_names.txt"
    return read_names(of_labelme) if of_labelme.is_file() and (folder / voc.MASKS).is_dir() else None


def _cvat(folder: Path, names: Sequence[str] | None) -> Iterator[Part]:
    if (folder / ANNOTATIONS).is_file() or ((folder / LABELMAP).is_file() and not _has_xml(folder)):
        yield Part("CVAT", "train", lambda: read_cvat(str(folder)))


def _voc(folder: Path, names: Sequence[str] | None) -> Iterator[Part]:
    if (folder / voc.IMAGES).is_dir() and ((folder / voc.MASKS).is_dir() or _has_xml(folder)):
        yield Part("VOC", "train", lambda: read_voc(str(folder), names, None))


def _has_xml(folder: Path) -> bool:
    """Whether there are VOC's annotations; those beside LABELMAP are CVAT's "PASCAL VOC 1.1"."""
    return any((folder / "Annotations").rglob("*.xml"))


def _sbd(folder: Path, names: Sequence[str] | None) -> Iterator[Part]:
    if (folder / "img").is_dir() and (folder / "cls").is_dir():
        lists = [name for name in ("train", "val") if (folder / f"{name}.txt").is_file()]
        for split in lists or [None]:
            yield Part("SBD", split or "train", lambda split=split: read_sbd(str(folder), split))


def _json(folder: Path, names: Sequence[str] | None) -> Iterator[Part]:
    return find_json(folder)


def _yolo(folder: Path, names: Sequence[str] | None) -> Iterator[Part]:
    if (folder / DATA).is_file():
        splits = splits_of(str(folder))
        for split in splits or [None]:
            yield Part("YOLO", SPLITS[split or "train"], lambda split=split: read_yolo(str(folder), split))


def _unnamed_yolo(folder: Path) -> str | None:
    """What YOLO's labels lack; None if there are none in the folder's `labels`."""
    if not any((folder / "labels").rglob("*.txt")):
        return None
    return f"{folder}: YOLO's labels/ without {DATA}; write one there that says names: [the classes, from 0]"


def _labelme(folder: Path, names: Sequence[str] | None) -> Iterator[Part]:
    def is_one(path: Path) -> bool:
        try:
            return is_labelme(read_json(path, "a JSON file"))
        except UserError:
            return False

    if any(is_one(path) for path in islice(sorted(folder.rglob("*.json")), 3)):
        yield Part("labelme", "train", lambda: read_labelme(str(folder)))


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


def _pictures(folder: Path, names: Sequence[str] | None) -> Iterator[Part]:
    masks = _folder_called(folder, ("masks", "labels"))
    if masks is not None and not any(suffix_of(path.name, MASK_SUFFIXES) for path in masks.rglob("*")):
        if others := {suffix_of(path.name).lower() for path in masks.rglob("*")} - {""}:
            raise UserError(f"{masks}: holds {min(others)} files, which change ids; save the masks as PNG")
        masks = None  # YOLO's, or another's
    tables = sorted(folder.glob("*.csv"))
    if masks is None and not tables:
        return
    images = _images(folder)
    if not any(suffix_of(path.name) for path in images.rglob("*")):
        return
    (tags, tags_beside), (boxed, boxed_beside) = (_table(folder, *kind) for kind in _TABLES.items())
    if tables and tags is None and boxed is None:
        if masks is None and _alike(folder):
            return
        _refuse(tables[0])
    if masks is not None and names is None:
        number = highest_id(path for path in sorted(map(str, masks.rglob("*"))) if suffix_of(path, MASK_SUFFIXES))
        raise NamesMissing(
            f"{masks}: masks hold ids up to {number}: give the names with --categories, or a line each in "
            f"{folder / voc.CATEGORIES}; those that are only tagged come last",
            number,
        )

    def read() -> Contents:
        contents = read_folder(str(images), str(masks) if masks else None, tags, names, boxes=boxed)
        return replace(contents, notes=[*contents.notes, *tags_beside, *boxed_beside])

    yield Part("pictures", "train", read)


def _refuse(table: Path) -> None:
    """Raises UserError: a table that is neither of tags nor of boxes, which a person may have meant it to be."""
    try:
        read_tags_table(table)
    except UserError as error:
        raise UserError(f"{error}; or take the file away, if it is no table of tags") from None


def _alike(folder: Path) -> tuple[Path, Path] | None:
    """Two folders with files of the same names, the second one's for masks, if that is what the folder holds."""
    stems = {
        path: {stem_of(file.name): suffix_of(file.name).lower() for file in path.iterdir() if suffix_of(file.name)}
        for path in islice(below(folder), _FOLDERS)
    }
    for (images, named), (masks, drawn) in permutations(stems.items(), 2):
        bare = {MASK_ENDINGS.sub("", stem) for stem in drawn}
        as_masks = re.search("mask|label|ann|gt|seg", masks.name.lower()) or ".jpg" in named.values()
        if as_masks and len(bare & named.keys()) * 2 > len(bare) and set(drawn.values()) <= set(MASK_SUFFIXES):
            return images, masks
    return None


def tables_beside(folder: Path, parts: Sequence[Part], output: Path) -> list[str]:
    """Notes on tables of tags or boxes that no part reads, with the commands that bring them in."""
    if not parts or any(part.kind == "pictures" for part in parts):
        return []
    try:
        found = {name: _table(folder, name, header)[0] for name, header in _TABLES.items()}
    except UserError as error:
        return [f"not read with {parts[0].kind}: {error}"]
    options = [word for name, path in found.items() if path for word in (f"--{name}", path)]
    if not options:
        return []
    command = ["transferseg", "import", "folder", "--images", str(_images(folder)), *options, "--output", str(output)]
    command += ["--max-dead-share", "1"]  # the other pictures have no line there
    return [
        f"{' and '.join(options[1::2])}: not read with {parts[0].kind}; to have it: {shlex.join(command)}, then "
        f"transferseg init {shlex.quote(str(output))}"
    ]


def _images(folder: Path) -> Path:
    return _folder_called(folder, IMAGE_FOLDERS) or folder


def _folder_called(folder: Path, names: Sequence[str]) -> Path | None:
    """A folder of the first of those names that there is one of, in any case."""
    inside = {path.name.lower(): path for path in sorted(folder.iterdir(), reverse=True) if path.is_dir()}
    return next((inside[name] for name in names if name in inside), None)


def _table(folder: Path, name: str, header: Sequence[str]) -> tuple[str | None, list[str]]:
    """(the folder's table of a kind, notes on others).

    Raises:
      UserError: there are several, and none has the name that is documented.
    """
    found = [path for path in sorted(folder.glob("*.csv")) if has_header(path, header)]
    if folder / f"{name}.csv" in found:
        found.sort(key=lambda path: path.name != f"{name}.csv")
    elif len(found) > 1:
        raise UserError(f"{found[0]} and {found[1].name} are both tables of {name}; make them one, {name}.csv")
    return (str(found[0]) if found else None), [f"{path.name} is not read: {found[0].name} is" for path in found[1:]]
