"""JSON exports in a folder: COCO files with their images, Label Studio's."""

from __future__ import annotations

import filecmp
import shlex
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain, combinations, islice
from pathlib import Path
from typing import Any

from components.dataset_import.coco import file_name, read_coco
from components.dataset_import.label_studio import read_label_studio
from components.dataset_import.label_studio_tasks import picture_texts
from components.dataset_import.yolo import SPLITS
from pipeline.init.parts import Part, below, split_of, split_said
from trainer.data.files import read_json
from trainer.data.names import plain
from trainer.errors import UserError

IMAGE_FOLDERS = ("images", "pictures", "photos")
_JSON_FILES = 50  # our choice: of one export, in one folder
_OTHER_TOOLS = {  # what a JSON of theirs has; all of them export COCO too
    "VIA": {"_via_img_metadata"},
    "Supervisely": {"size", "objects"},
    "Darwin": {"item", "annotations"},
    "SuperAnnotate": {"metadata", "instances"},
    "Datumaro": {"categories", "items"},
}
_BESIDE_INSTANCES = ("captions", "person_keypoints", "panoptic", "stuff", "image_info")  # of COCO's own files


def find_json(folder: Path) -> Iterator[Part]:
    """Label Studio exports and COCO files, Roboflow's folders of them too.

    Of COCO's own files of a split instances* is taken, which has what the others have.

    Raises:
      UserError: two other files are about the same pictures, or a name means one picture here and another there: only a
        person knows which is right; or a file beside them is no JSON.
    """
    parts: list[Part] = []
    fault: UserError | None = None
    coco: dict[str, dict[Path, tuple[set, Part]]] = defaultdict(dict)
    for path in json_files(folder):
        try:
            data = read_json(path, "a JSON file")
        except UserError as error:
            fault = fault or error
            continue
        said = split_of(path, folder)
        if isinstance(data, list) and data and isinstance(data[0], dict) and {"data", "annotation_id"} & set(data[0]):
            images = _folder_of(folder, list(picture_texts(data[0]).values()), said, "label-studio", path)
            parts.append(
                Part("Label Studio", said or "train", lambda p=path, images=images: read_label_studio(str(p), images))
            )
        elif _is_coco(data):
            part, shown = _coco(path, data, folder, said)
            coco[part.split][path] = shown, part
    for files in coco.values():
        if any(path.stem.startswith("instances") for path in files):
            files = {path: file for path, file in files.items() if not path.stem.startswith(_BESIDE_INSTANCES)}
        for (one, (shown, _)), (other, (also, _)) in combinations(files.items(), 2):
            if both := shown & also:
                raise UserError(
                    f"{one} and {other.name} are both about {min(both)}: take one of them away, or begin with "
                    f"transferseg import coco --annotations {shlex.quote(str(one))}"
                )
        parts += (part for _, part in files.values())
    if parts and fault:
        raise UserError(f"{fault}; mend it, or take it away")
    yield from parts


def json_files(folder: Path) -> Iterator[Path]:
    """Those of the folder, of `annotations` and of the splits' folders; without any there, those further below.

    A folder that holds a JSON for each picture is none of an export's.
    """
    places = [folder, folder / "annotations", *(folder / name for name in SPLITS if (folder / name).is_dir())]
    for group in (places, below(folder)):
        files = (sorted(path for path in place.glob("[!.]*.json") if path.is_file()) for place in group)
        paths = [path for several in files if len(several) <= _JSON_FILES for path in several]
        if paths:
            yield from paths
            return


def first_json(folder: Path) -> Iterator[Path]:
    """Three of those in a folder that may hold one for each picture."""
    yield from islice(sorted(folder.rglob("*.json")), 3)


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


def _is_coco(data: Any) -> bool:
    return isinstance(data, dict) and {"images", "annotations", "categories"} <= set(data) and bool(data["images"])


def _coco(path: Path, data: dict, folder: Path, said: str | None) -> tuple[Part, set[str]]:
    """(the part, the names of the pictures that it is about)."""
    entries = data["images"] if isinstance(data["images"], list) else []
    texts = [file_name(entry) for entry in entries[:20] if isinstance(entry, dict)]
    images = _folder_of(path.parent if path.parent.name in SPLITS else folder, texts, said, "coco", path)
    first = next(iter(data["annotations"] or ()), {})
    masks = str(path.with_suffix("")) if isinstance(first, dict) and "segments_info" in first else None
    part = Part("COCO", said or "train", lambda: read_coco(str(path), images, masks))
    return part, {str(file_name(entry)) for entry in entries if isinstance(entry, dict)}


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
