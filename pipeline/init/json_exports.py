"""JSON exports in a folder: COCO files with their images, Label Studio's."""

from __future__ import annotations

import filecmp
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, combinations, islice
from pathlib import Path
from typing import Any

from components.dataset_import.coco import file_name, read_coco
from components.dataset_import.items import Contents
from components.dataset_import.label_studio import read_label_studio
from components.dataset_import.label_studio_tasks import picture_texts
from components.dataset_import.splits import SPLITS, split_said
from pipeline.init.parts import Part, below, split_of, split_parts
from trainer.data.files import read_json
from trainer.data.names import names_picture, plain, variants_of
from trainer.errors import UserError

IMAGE_FOLDERS = ("images", "pictures", "photos")
_IMPORTERS = {"COCO": "coco", "Label Studio": "label-studio"}
_JSON_FILES = 50  # our choice: of one export, in one folder
_OTHER_TOOLS = {  # what a JSON of theirs has; all of them export COCO too
    "VIA": {"_via_img_metadata"},
    "Supervisely": {"size", "objects"},
    "Darwin": {"item", "annotations"},
    "SuperAnnotate": {"metadata", "instances"},
    "Datumaro": {"categories", "items"},
}
_BESIDE_INSTANCES = ("captions", "person_keypoints", "panoptic", "stuff", "image_info")  # of COCO's own files


@dataclass(frozen=True)
class _Export:
    """A file of a tool, the split that its name says, the pictures that it is about."""

    kind: str
    said: str | None
    pictures: set[str]
    read: Callable[[], Contents]

    def both_show(self, other: _Export) -> set[str]:
        if self.kind == other.kind == "COCO":
            return self.pictures & other.pictures
        mine, theirs = ({name.rpartition("/")[2] for name in one.pictures} for one in (self, other))
        return mine & theirs


def find_json(folder: Path) -> Iterator[Part]:
    """Label Studio exports and COCO files, Roboflow's folders of them too.

    Of COCO's own files of a split instances* is taken, which has what the others have.

    Raises:
      UserError: two other files are about the same pictures, or a name means one picture here and another there: only a
        person knows which is right; or a file beside them is no JSON.
    """
    fault: UserError | None = None
    files: dict[Path, _Export] = {}
    for path in json_files(folder):
        try:
            data = read_json(path, "a JSON file")
        except UserError as error:
            fault = fault or error
            continue
        said = split_of(path, folder)
        if _is_label_studio(data):
            images = _folder_of(folder, list(picture_texts(data[0]).values()), said, "label-studio", path)
            files[path] = _Export("Label Studio", said, _shown_in(data), partial(read_label_studio, str(path), images))
        elif _is_coco(data):
            files[path] = _coco(path, data, folder, said)
    whole = {file.said for path, file in files.items() if path.stem.startswith("instances")}
    files = {p: f for p, f in files.items() if not (f.said in whole and p.stem.startswith(_BESIDE_INSTANCES))}
    for (one, file), (other, also) in combinations(files.items(), 2):
        if (file.said or "train") == (also.said or "train") and (both := file.both_show(also)):
            raise UserError(
                f"{one} and {other.name} are both about {min(both)}: take one of them away, or begin with transferseg "
                f"import {_IMPORTERS[file.kind]} --annotations {shlex.quote(str(one))}"
            )
    if files and fault:
        raise UserError(f"{fault}; mend it, or take it away")
    for file in files.values():
        if file.said is None and len({split_said(name.partition("/")[0]) for name in file.pictures} - {None}) > 1:
            yield from split_parts(file.kind, file.read())
        else:
            yield Part(file.kind, file.said or "train", file.read)


def exports_in(folder: Path) -> Iterator[Path]:
    """Those of `json_files` that `find_json` reads."""
    for path in json_files(folder):
        try:
            data = read_json(path, "a JSON file")
        except UserError:
            continue
        if _is_label_studio(data) or _is_coco(data):
            yield path


def json_files(folder: Path) -> Iterator[Path]:
    """Those of the folder, of `annotations` and of the splits' folders; without any there, those further below.

    A folder that holds a JSON for each picture is none of an export's.
    """
    places = [folder, folder / "annotations", *(folder / name for name in SPLITS if (folder / name).is_dir())]
    for group in (places, below(folder)):
        files = (sorted(filter(_is_json, place.glob("[!.]*"))) for place in group)
        paths = [path for several in files if len(several) <= _JSON_FILES for path in several]
        if paths:
            yield from paths
            return


def first_json(folder: Path) -> Iterator[Path]:
    """Three of those in a folder that may hold one for each picture."""
    yield from islice(sorted(filter(_is_json, folder.rglob("*"))), 3)


def _is_json(path: Path) -> bool:
    return path.suffix.lower() == ".json" and path.is_file()


def unusable_json(folder: Path) -> str | None:
    """What is wrong with the first of `json_files` that is no JSON; else which tool's files are here, of those that
    nothing here reads."""
    for path in chain(json_files(folder), first_json(folder)):
        try:
            data = read_json(path, "a JSON file")
        except UserError as error:
            return str(error)
        if tool := _other_tool(data):
            return f"{path}: of {tool}, which can export COCO; take that"
    return None


def _other_tool(data: Any) -> str | None:
    if not isinstance(data, dict):
        return None
    one = next(iter(data.values()), None)
    if isinstance(one, dict) and {"filename", "regions"} <= set(one):
        return "VIA"
    return next((tool for tool, has in _OTHER_TOOLS.items() if has <= set(data)), None)


def _is_label_studio(data: Any) -> bool:
    first = data[0] if isinstance(data, list) and data else None
    return isinstance(first, dict) and not {"data", "annotation_id"}.isdisjoint(first)


def _is_coco(data: Any) -> bool:
    return isinstance(data, dict) and {"images", "annotations", "categories"} <= set(data) and bool(data["images"])


def _shown_in(tasks: Sequence[Any]) -> set[str]:
    """The pictures that Label Studio's tasks are about, without folders and upload prefixes."""
    texts = (text for task in tasks for text in picture_texts(task).values())
    return {variants_of(text)[-1].rpartition("/")[2] for text in texts if names_picture(text)}


def _coco(path: Path, data: dict, folder: Path, said: str | None) -> _Export:
    entries = data["images"] if isinstance(data["images"], list) else []
    texts = [file_name(entry) for entry in entries[:20] if isinstance(entry, dict)]
    images = _folder_of(path.parent if path.parent.name in SPLITS else folder, texts, said, "coco", path)
    first = next(iter(data["annotations"] or ()), {})
    masks = str(path.with_suffix("")) if isinstance(first, dict) and "segments_info" in first else None
    shown = {str(file_name(entry)) for entry in entries if isinstance(entry, dict)}
    return _Export("COCO", said, shown, partial(read_coco, str(path), images, masks))


def _folder_of(root: Path, names: Sequence[object], split: str | None, importer: str, source: Path) -> str:
    """The folder from which the first of the names is a path; else `root`: a reader looks below it too.

    Of several it is that of the split, or one that is called images: pictures of two splits often have the same names.

    Raises:
      UserError: several are left, with different pictures.
    """
    first = next((plain(name) for name in names if isinstance(name, str)), "")
    if not first or first.startswith("/") or ".." in first or (root / first).is_file():
        return str(root)
    chosen = [path for path in sorted(root.rglob("*")) if (path / first).is_file()]
    for fits in (lambda part: split and split_said(part) == split, lambda part: part in IMAGE_FOLDERS):
        chosen = [path for path in chosen if any(map(fits, path.relative_to(root).parts))] or chosen
    if any(not filecmp.cmp(chosen[0] / first, other / first, shallow=False) for other in chosen[1:]):
        raise UserError(
            f"{source}: {first} lies in {chosen[0]} and, another picture, in {chosen[1]}; say which it is about: "
            f"transferseg import {importer} --annotations {shlex.quote(str(source))} "
            f"--images {shlex.quote(str(chosen[0]))}"
        )
    return str(chosen[0] if chosen else root)
