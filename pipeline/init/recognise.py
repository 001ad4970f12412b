"""What kind of dataset lies in a folder, and how to read it."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from pathlib import Path

from components.dataset_import.coco import read_coco
from components.dataset_import.cvat_xml import ANNOTATIONS
from components.dataset_import.folders import read_cvat, read_folder, read_sbd, read_voc
from components.dataset_import.items import Contents
from components.dataset_import.label_studio import read_label_studio
from components.dataset_import.labelme import is_labelme, read_labelme
from components.dataset_import.tfrecords import read_tfrecords
from components.dataset_import.yolo import read_yolo
from components.image_example_gen import voc
from trainer.categories import VOID
from trainer.data.boxes import is_boxes_table
from trainer.data.category_names import read_names
from trainer.data.files import read_bytes, read_json
from trainer.data.masks import ids_in, read_mask
from trainer.data.names import MASK_SUFFIXES, plain, suffix_of
from trainer.data.tags_table import is_tags_table, read_tags_table
from trainer.errors import ImageFault, UserError

KNOWN = (
    "VOC (JPEGImages/ with SegmentationClass/ or Annotations/), COCO (a JSON and its images; Roboflow's too), "
    "SBD (img/ and cls/), CVAT (annotations.xml or labelmap.txt), Label Studio (a JSON export and its images), "
    "labelme (a JSON by each picture), YOLO segmentation (data.yaml, images/, labels/), TFRecords with "
    "categories.txt, pictures with tags.csv or a folder masks/"
)
_DEPTH = 3  # our choice: folders of folders that an archive may have been unpacked into
_JSON_FILES = 50  # our choice: of one export, in one folder
_LOOKED_AT = 300  # our choice: masks that are opened to count ids
_BESIDE_INSTANCES = ("captions", "person_keypoints", "panoptic", "stuff", "image_info")  # of COCO's own files
_SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class Part:
    """A dataset or one split of it; `split` "train", "val" or "test"."""

    kind: str
    split: str
    read: Callable[[], Contents]


def is_ours(folder: Path) -> bool:
    """Whether the folder is laid out as training reads it."""
    return (folder / voc.IMAGES).is_dir() and (folder / voc.MASKS).is_dir() and not (folder / "labelmap.txt").exists()


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
    for place in _below(folder):
        if any(place.is_relative_to(other) for other, _ in found):
            continue
        parts = [] if is_ours(place) else list(_parts(place, names or names_in(place) or names_in(folder)))
        if parts or is_ours(place):
            found.append((place, parts))
    if not found:
        raise UserError(f"{folder}: no dataset of a known kind. Known: {KNOWN}")
    if len(found) > 1:
        ways = "; or ".join(f"transferseg init {shlex.quote(str(place))}" for place, _ in found[:5])
        raise UserError(f"{folder}: holds {len(found)} datasets; begin with one of them: {ways}")
    return found[0]


def _parts(folder: Path, names: Sequence[str] | None) -> Iterator[Part]:
    for find in (_cvat, _voc, _sbd, _json, _yolo, _labelme, _tfrecords, _pictures):
        if parts := list(find(folder, names)):
            yield from parts
            return


def _below(folder: Path) -> Iterator[Path]:
    """Folders at most _DEPTH below, nearest first, those of tools left out."""
    level = [folder]
    for _ in range(_DEPTH):
        level = [
            path
            for above in level
            for path in sorted(above.iterdir())
            if path.is_dir() and not path.is_symlink() and not path.name.startswith((".", "__"))
        ]
        yield from level


def names_in(folder: Path) -> list[str] | None:
    """The lines of categories.txt, if there is one."""
    path = folder / voc.CATEGORIES
    return read_names(path) if path.is_file() else None


def _cvat(folder: Path, names: Sequence[str] | None) -> Iterator[Part]:
    if any((folder / name).is_file() for name in ("labelmap.txt", ANNOTATIONS)):
        yield Part("CVAT", "train", lambda: read_cvat(str(folder)))


def _voc(folder: Path, names: Sequence[str] | None) -> Iterator[Part]:
    if (folder / voc.IMAGES).is_dir() and ((folder / voc.MASKS).is_dir() or (folder / "Annotations").is_dir()):
        yield Part("VOC", "train", lambda: read_voc(str(folder), names, None))


def _sbd(folder: Path, names: Sequence[str] | None) -> Iterator[Part]:
    if (folder / "img").is_dir() and (folder / "cls").is_dir():
        lists = [name for name in ("train", "val") if (folder / f"{name}.txt").is_file()]
        for split in lists or [None]:
            yield Part("SBD", split or "train", lambda split=split: read_sbd(str(folder), split))


def _json(folder: Path, names: Sequence[str] | None) -> Iterator[Part]:
    """Label Studio exports and COCO files, Roboflow's folders of them too.

    Of COCO's own files of a split instances* is taken, which has what the others have.

    Raises:
      UserError: two other files are about the same pictures: only a person knows which of them is right.
    """
    found: dict[str, dict[Path, tuple[set, Part]]] = defaultdict(dict)
    for path in _json_files(folder):
        try:
            data = read_json(path, "a JSON file")
        except UserError:
            continue
        split = _split_of(path, folder)
        if isinstance(data, list) and data and isinstance(data[0], dict) and {"data", "annotation_id"} & set(data[0]):
            given = data[0].get("data")
            texts = [text for text in given.values() if isinstance(text, str)] if isinstance(given, dict) else []
            images = _folder_of(folder, texts)
            yield Part("Label Studio", split, lambda path=path, images=images: read_label_studio(str(path), images))
        elif isinstance(data, dict) and {"images", "annotations", "categories"} <= set(data) and data["images"]:
            entries = data["images"] if isinstance(data["images"], list) else []
            texts = [entry.get("file_name") for entry in entries[:20] if isinstance(entry, dict)]
            images = _folder_of(path.parent if path.parent.name in _SPLITS else folder, texts)
            first = next(iter(data["annotations"] or ()), {})
            masks = str(path.with_suffix("")) if isinstance(first, dict) and "segments_info" in first else None
            shown = {str(entry.get("file_name")) for entry in entries if isinstance(entry, dict)}
            part = Part("COCO", split, lambda p=path, i=images, m=masks: read_coco(str(p), i, m))
            found[split][path] = shown, part
    for files in found.values():
        if any(path.stem.startswith("instances") for path in files):
            files = {path: file for path, file in files.items() if not path.stem.startswith(_BESIDE_INSTANCES)}
        for (one, (shown, _)), (other, (also, _)) in combinations(files.items(), 2):
            if both := shown & also:
                raise UserError(
                    f"{one} and {other.name} are both about {min(both)}: take one of them away, or begin with "
                    f"transferseg import coco --annotations {shlex.quote(str(one))}"
                )
        yield from (part for _, part in files.values())


def _json_files(folder: Path) -> Iterator[Path]:
    """Those of the folder, of `annotations` and of the splits' folders; without any there, those further below.

    A folder that holds a JSON for each picture is none of an export's.
    """
    places = [folder, folder / "annotations", *(folder / name for name in _SPLITS if (folder / name).is_dir())]
    for group in (places, _below(folder)):
        files = (sorted(place.glob("*.json")) for place in group)
        paths = [path for several in files if len(several) <= _JSON_FILES for path in several]
        if paths:
            yield from paths
            return


def _split_of(path: Path, folder: Path) -> str:
    """The split that a file's folder or name says."""
    if path.parent != folder and path.parent.name in _SPLITS:
        return _SPLITS[path.parent.name]
    parts = re.split(r"[^a-z]+", path.stem.lower())
    return next((_SPLITS[part] for part in parts if part in _SPLITS), "train")


def _yolo(folder: Path, names: Sequence[str] | None) -> Iterator[Part]:
    if (folder / "data.yaml").is_file():
        folders = {path.name for path in folder.rglob("*") if path.is_dir()}
        splits = [name for name in _SPLITS if name in folders]
        for split in splits or [None]:
            yield Part("YOLO", _SPLITS[split or "train"], lambda split=split: read_yolo(str(folder), split))


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
    splits = {path: _split_of(path, folder) for path in files}
    for split in dict.fromkeys(splits.values()):
        mine = [str(path) for path in files if splits[path] == split]
        yield Part("TFRecords", split, lambda mine=mine: read_tfrecords(mine, names))


def _pictures(folder: Path, names: Sequence[str] | None) -> Iterator[Part]:
    masks = next((folder / name for name in ("masks", "labels") if (folder / name).is_dir()), None)
    tables = sorted(folder.glob("*.csv"))
    tags = next((str(path) for path in tables if is_tags_table(path)), None)
    boxes = next((str(path) for path in tables if is_boxes_table(path)), None)
    if masks is None and not tables:
        return
    inside = [folder / name for name in ("images", "pictures", "photos") if (folder / name).is_dir()]
    images = inside[0] if inside else folder
    if not any(suffix_of(path.name) for path in images.rglob("*")):
        return
    if tables and tags is None and boxes is None:
        read_tags_table(tables[0])  # says what is wrong with it
    if masks is not None and names is None:
        number = _highest_id(masks)
        raise NamesMissing(
            f"{masks}: masks hold ids up to {number}: give the names with --categories, or a line each in "
            f"{folder / voc.CATEGORIES}; those that are only tagged come last",
            number,
        )
    yield Part(
        "pictures",
        "train",
        lambda: read_folder(str(images), str(masks) if masks else None, tags, names, boxes=boxes),
    )


def _highest_id(masks: Path) -> int:
    """The highest category id in a sample of the masks; 1 if they are black and white or cannot be read."""
    highest = 1
    for path in islice((path for path in sorted(masks.rglob("*")) if suffix_of(path.name, MASK_SUFFIXES)), _LOOKED_AT):
        with contextlib.suppress(ImageFault):
            highest = max(highest, *ids_in(read_mask(read_bytes(path), VOID)), 1)
    return highest


def _folder_of(root: Path, names: Sequence[object]) -> str:
    """The folder from which the first of the names is a path; else `root`: a reader looks below it too."""
    first = next((plain(name) for name in names if isinstance(name, str)), "")
    if first and not first.startswith("/") and ".." not in first:
        for folder in [root, *sorted(path for path in root.rglob("*") if path.is_dir())]:
            if (folder / first).is_file():
                return str(folder)
    return str(root)
