"""What kind of dataset lies in a folder, and how to read it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from components.dataset_import.coco import read_coco
from components.dataset_import.folders import read_cvat, read_folder, read_sbd, read_voc
from components.dataset_import.label_studio import read_label_studio
from components.dataset_import.samples import Contents
from components.dataset_import.tfrecords import read_tfrecords
from components.dataset_import.writer import CATEGORIES, read_names
from components.image_example_gen import voc
from trainer.data.names import DECODED_SUFFIXES as SUFFIXES
from trainer.errors import UserError

KNOWN = (
    "VOC (JPEGImages/ with SegmentationClass/ or Annotations/), COCO (a JSON and its images), SBD (img/ and cls/), "
    "CVAT (labelmap.txt), Label Studio (a JSON export and its images), TFRecords with categories.txt, pictures with "
    "tags.csv or a folder masks/"
)


@dataclass(frozen=True)
class Part:
    """A dataset or one split of it; `split` "train" or "val"."""

    kind: str
    split: str
    read: Callable[[], Contents]


def is_ours(folder: Path) -> bool:
    """Whether the folder is laid out as training reads it."""
    return (folder / voc.IMAGES).is_dir() and (folder / voc.MASKS).is_dir() and not (folder / "labelmap.txt").exists()


def recognise(folder: Path, names: Sequence[str] | None) -> list[Part]:
    """How to read a folder that is not laid out as ours.

    Args:
      folder: any.
      names: categories by id, where the files do not say.

    Raises:
      UserError: nothing known, or names are missing.
    """
    names = names or names_in(folder)
    for find in (_cvat, _voc, _sbd, _json, _tfrecords, _pictures):
        if parts := list(find(folder, names)):
            return parts
    raise UserError(f"{folder}: no dataset of a known kind. Known: {KNOWN}")


def names_in(folder: Path) -> list[str] | None:
    """The lines of categories.txt, if there is one."""
    path = folder / CATEGORIES
    return read_names(path) if path.is_file() else None


def _cvat(folder: Path, names: Sequence[str] | None) -> Iterator[Part]:
    if (folder / "labelmap.txt").is_file():
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
    """Label Studio exports and COCO files; of several COCO files of one split the one named instances* is taken."""
    found: dict[str, Part] = {}
    for path in sorted([*folder.glob("*.json"), *folder.glob("annotations/*.json")]):
        try:
            data = json.loads(path.read_text())
        except (ValueError, UnicodeDecodeError):
            continue
        split = "val" if "val" in path.stem else "train"
        if isinstance(data, list) and data and isinstance(data[0], dict) and "data" in data[0]:
            images = _folder_of(folder, str(next(iter(data[0]["data"].values()), "")).rsplit("/", 1)[-1])
            yield Part("Label Studio", split, lambda path=path, images=images: read_label_studio(str(path), images))
        elif isinstance(data, dict) and {"images", "annotations", "categories"} <= set(data) and data["images"]:
            if split in found and not path.stem.startswith("instances"):
                continue
            images = _folder_of(folder, data["images"][0]["file_name"])
            masks = str(path.with_suffix("")) if "segments_info" in next(iter(data["annotations"]), {}) else None
            found[split] = Part("COCO", split, lambda p=path, i=images, m=masks: read_coco(str(p), i, m))
    yield from found.values()


def _tfrecords(folder: Path, names: Sequence[str] | None) -> Iterator[Part]:
    files = [path.name for path in folder.iterdir() if ".tfrecord" in path.name]
    if not files:
        return
    if names is None:
        raise UserError(f"{folder}: TFRecords hold ids: give the names with --categories a,b,c (id 1, 2, 3)")
    held = [split for split in ("train", "val") if any(split in name for name in files)]
    for split in held or ["train"]:
        pattern = f"{folder}/*{split if held else ''}*.tfrecord*"
        yield Part("TFRecords", split, lambda pattern=pattern: read_tfrecords(pattern, names))


def _pictures(folder: Path, names: Sequence[str] | None) -> Iterator[Part]:
    masks = next((folder / name for name in ("masks", "labels") if (folder / name).is_dir()), None)
    tables = sorted(folder.glob("*.csv"))
    tags = next((path for path in tables if _is_tags(path)), None)
    if masks is None and not tables:
        return
    inside = [folder / name for name in ("images", "pictures", "photos") if (folder / name).is_dir()]
    images = inside[0] if inside else folder
    if not any(path.suffix.lower() in SUFFIXES for path in images.rglob("*")):
        return
    if tables and tags is None:
        raise UserError(f"{tables[0]}: line 1 must be the header image,tags, with a comma between them")
    if masks is not None and names is None:
        raise UserError(f"{masks}: masks hold ids: give the names with --categories a,b,c (id 1, 2, 3)")
    yield Part(
        "pictures",
        "train",
        lambda: read_folder(str(images), str(masks) if masks else None, str(tags) if tags else None, names),
    )


def _is_tags(path: Path) -> bool:
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        return [cell.strip() for cell in file.readline().split(",")] == ["image", "tags"]


def _folder_of(root: Path, name: str) -> str:
    """The folder below `root` from which `name` is a path that exists; `root` if none."""
    for folder in [root, *sorted(path for path in root.rglob("*") if path.is_dir())]:
        if (folder / name).is_file():
            return str(folder)
    return str(root)
