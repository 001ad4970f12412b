"""Pictures with masks or tables beside them, in no tool's layout."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice, permutations
from pathlib import Path

from PIL import Image

from components.dataset_import.folders import read_folder
from components.dataset_import.items import Contents
from components.dataset_import.mask_decoding import highest_id, shared_ending
from components.dataset_import.splits import SPLITS, split_said
from components.image_example_gen import voc
from pipeline.init.json_exports import IMAGE_FOLDERS
from pipeline.init.parts import NamesMissing, Part, below, has_splits, split_parts
from trainer.data import boxes, tags_table
from trainer.data.categories import VOID
from trainer.data.csv_table import has_header
from trainer.data.files import read_bytes, walk
from trainer.data.masks import read_mask
from trainer.data.names import MASK_ENDINGS, MASK_SUFFIXES, stem_of, suffix_of
from trainer.data.tags_table import read_tags_table
from trainer.errors import ImageFault, UserError

ROBOFLOW, ROBOFLOW_HEADER = "_classes.csv", ("pixel value", "class")  # of masks that lie beside the pictures
_TABLES = {"tags": tags_table.HEADER, "boxes": boxes.HEADER}
_COLOURS = ("name", "r", "g", "b")  # class_dict.csv
_FOLDERS = 30  # our choice: folders among which two with the same names are looked for


def find_pictures(folder: Path, names: Sequence[str] | None) -> Iterator[Part]:
    masks = _folder_called(folder, ("masks", "labels"))
    files = _masks_in(masks) if masks else []
    if masks is not None and not files:
        if others := {suffix_of(path.name).lower() for path in masks.rglob("*")} - {""}:
            raise UserError(f"{masks}: holds {min(others)} files, which change ids; save the masks as PNG")
        masks = None  # YOLO's, or another's
    images, colours = _images(folder), _colour_table(folder)
    is_roboflow = has_header(folder / ROBOFLOW, ROBOFLOW_HEADER)
    tables = [path for path in sorted(folder.glob("*.csv")) if path != colours]
    if masks is None and (colours or is_roboflow):
        files = _masks_in(images)
        masks = images if any(MASK_ENDINGS.search(stem_of(name)) for name in files) else None
    if masks is None and not tables:
        return
    if not any(suffix_of(path.name) for path in images.rglob("*")):
        return
    (tags, tags_beside), (boxed, boxed_beside) = (_table(folder, *kind) for kind in _TABLES.items())
    unread = [path for path in tables if str(path) not in (tags, boxed) and path.name != ROBOFLOW]
    if tables and tags is None and boxed is None and not colours and not is_roboflow:
        if masks is None and _alike(folder):
            return
        _refuse(tables[0])
    if masks is not None and (not colours or _are_grey(masks, files)):
        colours = None
        if names is None:
            raise _names_missing(folder, masks, files)

    def read() -> Contents:
        contents = read_folder(
            str(images), str(masks) if masks else None, tags, names, boxes=boxed, colours=colours and str(colours)
        )
        told = [*tags_beside, *boxed_beside]
        told += [f"{path.name} is not read" for path in unread if not any(path.name in note for note in told)]
        return replace(contents, notes=[*contents.notes, *told])

    if has_splits(images):
        yield from split_parts("pictures", read())
    else:
        yield Part("pictures", "train", read)


def _masks_in(folder: Path) -> list[str]:
    return [name for name in walk(folder)[0] if suffix_of(name, MASK_SUFFIXES)]


def _are_grey(masks: Path, files: Sequence[str]) -> bool:
    """Whether the masks are of greys, by the first that can be read: then these are ids, not colours of a table."""
    for name in files:
        with contextlib.suppress(OSError, ValueError, Image.DecompressionBombError), Image.open(masks / name) as image:
            return image.mode not in ("P", "RGB", "RGBA")
    return False


def _names_missing(folder: Path, masks: Path, files: Sequence[str]) -> UserError:
    """That the masks' ids have no names; or what is wrong with every mask."""
    paths, fault = [str(masks / name) for name in files], None
    for path in paths[:_FOLDERS]:
        try:
            read_mask(read_bytes(path), VOID)
            break
        except ImageFault as error:
            fault = fault or UserError(f"{path}: {error}")
    else:
        if fault:
            return fault
    number = highest_id(paths)
    return NamesMissing(
        f"{masks}: masks hold ids up to {number}: give the names with --categories, or a line each in "
        f"{folder / voc.CATEGORIES}; those that are only tagged come last",
        number,
    )


def _colour_table(folder: Path) -> Path | None:
    """Beside the folders, or beside those of the splits."""
    places = (folder, folder.parent) if split_said(folder.name) else (folder,)
    return next((path for place in places for path in sorted(place.glob("*.csv")) if has_header(path, _COLOURS)), None)


def _refuse(table: Path) -> None:
    """Raises UserError: a table that is neither of tags nor of boxes, which a person may have meant it to be."""
    try:
        read_tags_table(table)
    except UserError as error:
        raise UserError(f"{error}; or take the file away, if it is no table of tags") from None


def _alike(folder: Path) -> list[tuple[Path, Path, str]]:
    """(images, masks, split) of folders with files of the same names: nearest ones, each folder once."""
    stems = {
        path: {stem_of(file.name): suffix_of(file.name).lower() for file in path.glob("[!.]*") if suffix_of(file.name)}
        for path in islice(below(folder), _FOLDERS)
    }
    found: list[tuple[Path, Path, str]] = []
    for (images, named), (masks, drawn) in permutations(stems.items(), 2):
        own = len(shared_ending(drawn))
        readings = ({stem, MASK_ENDINGS.sub("", stem), stem[: len(stem) - own]} for stem in drawn)
        same_names = sum(not read.isdisjoint(named) for read in readings) * 2 > len(drawn)
        called = " ".join(part for part in masks.parts if part not in images.parts).lower()
        as_masks = re.search("mask|label|ann|gt|seg", called) or ".jpg" in named.values()
        splits = {_split_in(path.relative_to(folder)) for path in (images, masks)} - {None}
        if as_masks and same_names and set(drawn.values()) <= set(MASK_SUFFIXES) and len(splits) < 2:
            found.append((images, masks, *(splits or {"train"})))
    pairs: list[tuple[Path, Path, str]] = []
    for images, masks, split in sorted(found, key=lambda pair: -len(set(pair[0].parts) & set(pair[1].parts))):
        if not any({images, masks} & set(taken[:2]) for taken in pairs):
            pairs.append((images, masks, split))
    return sorted(pairs, key=lambda pair: list(SPLITS.values()).index(pair[2]))


def _split_in(path: Path) -> str | None:
    """The split that the last folder says that says one."""
    return next(filter(None, map(split_said, reversed(path.parts))), None)


def imports_of_pairs(folder: Path, names: Sequence[str] | None) -> str | None:
    """The commands that bring in folders that may belong together and make a config; None if there are none."""
    if not (pairs := _alike(folder)):
        return None
    colours, commands = _colour_table(folder), []
    for images, masks, split in pairs:
        command = ["transferseg", "import", "folder", "--images", str(images), "--masks", str(masks)]
        command += ["--colours", str(colours)] if colours else ["--categories", ",".join(names or "abc")]
        commands.append(shlex.join([*command, "--output", "data", *(["--split", split] if split != "train" else [])]))
    return f"{pairs[0][1]} may hold masks of {pairs[0][0]}: {', then '.join([*commands, 'transferseg init data'])}"


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
        f"transferseg init {shlex.quote(str(output))} --force"
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
