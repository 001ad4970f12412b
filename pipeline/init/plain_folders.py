"""Pictures with masks or tables beside them, in no tool's layout."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice, permutations
from pathlib import Path

from components.beam_masks.faults import first_of
from components.dataset_import.folders import read_folder
from components.dataset_import.items import Contents, ImportedPicture
from components.dataset_import.mask_decoding import highest_id, shared_ending
from components.dataset_import.yolo import SPLITS
from components.image_example_gen import voc
from pipeline.init.json_exports import IMAGE_FOLDERS
from pipeline.init.parts import NamesMissing, Part, below, split_said
from trainer.data import boxes, tags_table
from trainer.data.categories import VOID
from trainer.data.csv_table import has_header
from trainer.data.files import read_bytes
from trainer.data.masks import read_mask
from trainer.data.names import MASK_ENDINGS, MASK_SUFFIXES, stem_of, suffix_of
from trainer.data.tags_table import read_tags_table
from trainer.errors import ImageFault, UserError

ROBOFLOW = "_classes.csv"  # ids and names of Roboflow's masks, which lie beside the pictures
_TABLES = {"tags": tags_table.HEADER, "boxes": boxes.HEADER}
_COLOURS = ("name", "r", "g", "b")  # class_dict.csv
_FOLDERS = 30  # our choice: folders among which two with the same names are looked for


def find_pictures(folder: Path, names: Sequence[str] | None) -> Iterator[Part]:
    masks = _folder_called(folder, ("masks", "labels"))
    if masks is not None and not any(suffix_of(path.name, MASK_SUFFIXES) for path in masks.rglob("*")):
        if others := {suffix_of(path.name).lower() for path in masks.rglob("*")} - {""}:
            raise UserError(f"{masks}: holds {min(others)} files, which change ids; save the masks as PNG")
        masks = None  # YOLO's, or another's
    images, colours = _images(folder), _colour_table(folder)
    tables = [path for path in sorted(folder.glob("*.csv")) if path != colours and path.name != ROBOFLOW]
    if masks is None and (colours or (folder / ROBOFLOW).exists()) and _has_masks(images):
        masks = images
    if masks is None and not tables:
        return
    if not any(suffix_of(path.name) for path in images.rglob("*")):
        return
    (tags, tags_beside), (boxed, boxed_beside) = (_table(folder, *kind) for kind in _TABLES.items())
    if tables and tags is None and boxed is None:
        if masks is None and _alike(folder):
            return
        _refuse(tables[0])
    if masks is not None and names is None and not colours:
        paths = [path for path in sorted(map(str, masks.rglob("*"))) if suffix_of(path, MASK_SUFFIXES)]
        try:
            read_mask(read_bytes(paths[0]), VOID)
        except ImageFault as fault:
            raise UserError(f"{paths[0]}: {fault}") from None
        number = highest_id(paths)
        raise NamesMissing(
            f"{masks}: masks hold ids up to {number}: give the names with --categories, or a line each in "
            f"{folder / voc.CATEGORIES}; those that are only tagged come last",
            number,
        )

    def read() -> Contents:
        contents = read_folder(
            str(images), str(masks) if masks else None, tags, names, boxes=boxed, colours=colours and str(colours)
        )
        return replace(contents, notes=[*contents.notes, *tags_beside, *boxed_beside])

    inside = [path for path in images.glob("[!.]*") if path.is_dir() or suffix_of(path.name)]
    if len({split_said(path.name) for path in inside if path.is_dir()}) > 1 and all(split_said(p.name) for p in inside):
        yield from _split_parts(read())
    else:
        yield Part("pictures", "train", read)


def _split_parts(contents: Contents) -> Iterator[Part]:
    """Pictures by the split that their first folder says; of a split without masks and tags a note is left."""
    samples: dict[str, list[ImportedPicture]] = defaultdict(list)
    faults: dict[str, list[dict[str, str]]] = defaultdict(list)
    for sample in contents.samples:
        samples[split_said(sample.name.partition("/")[0])].append(sample)
    found = sorted(samples, key=list(SPLITS.values()).index) or ["train"]
    for fault in contents.faults:
        faults[split_said(fault["key"].partition("/")[0]) or found[0]].append(fault)
    empty = [split for split in faults if split not in found]
    notes = [f"{len(faults[split])} files of {split} are left out: {first_of(faults[split])}" for split in empty]
    for split in found:
        own = replace(contents, samples=samples[split], faults=faults[split])
        own = replace(own, notes=[*contents.notes, *notes] if split == found[0] else [])
        yield Part("pictures", split, lambda own=own: own)


def _colour_table(folder: Path) -> Path | None:
    return next((path for path in sorted(folder.glob("*.csv")) if has_header(path, _COLOURS)), None)


def _has_masks(folder: Path) -> bool:
    """Whether masks lie beside pictures: 1_mask.png."""
    return any(suffix_of(p.name, MASK_SUFFIXES) and MASK_ENDINGS.search(stem_of(p.name)) for p in folder.rglob("*"))


def _refuse(table: Path) -> None:
    """Raises UserError: a table that is neither of tags nor of boxes, which a person may have meant it to be."""
    try:
        read_tags_table(table)
    except UserError as error:
        raise UserError(f"{error}; or take the file away, if it is no table of tags") from None


def _alike(folder: Path) -> list[tuple[Path, Path]]:
    """Pairs of folders with files of the same names, the second one's for masks: nearest ones, each folder once."""
    stems = {
        path: {stem_of(file.name): suffix_of(file.name).lower() for file in path.glob("[!.]*") if suffix_of(file.name)}
        for path in islice(below(folder), _FOLDERS)
    }
    found: list[tuple[Path, Path]] = []
    for (images, named), (masks, drawn) in permutations(stems.items(), 2):
        own = len(shared_ending(drawn))
        bare = {stem[: len(stem) - own] if own else MASK_ENDINGS.sub("", stem) for stem in drawn}
        called = " ".join(part for part in masks.parts if part not in images.parts).lower()
        as_masks = re.search("mask|label|ann|gt|seg", called) or ".jpg" in named.values()
        same_split = _split_in(images.relative_to(folder)) == _split_in(masks.relative_to(folder))
        same_names = len(bare & named.keys()) * 2 > len(bare) and set(drawn.values()) <= set(MASK_SUFFIXES)
        if as_masks and same_split and same_names:
            found.append((images, masks))
    pairs: list[tuple[Path, Path]] = []
    for pair in sorted(found, key=lambda pair: -len(set(pair[0].parts) & set(pair[1].parts))):
        if not {path for taken in pairs for path in taken} & set(pair):
            pairs.append(pair)
    return sorted(pairs, key=lambda pair: [None, *SPLITS.values()].index(_split_in(pair[0].relative_to(folder))))


def _split_in(path: Path) -> str | None:
    """The split that the last folder says that says one."""
    return next(filter(None, map(split_said, reversed(path.parts))), None)


def imports_of_pairs(folder: Path, names: Sequence[str] | None) -> str | None:
    """The commands that bring in folders that may belong together and make a config; None if there are none."""
    if not (pairs := _alike(folder)):
        return None
    colours, commands = _colour_table(folder), []
    for images, masks in pairs:
        command = ["transferseg", "import", "folder", "--images", str(images), "--masks", str(masks)]
        command += ["--colours", str(colours)] if colours else ["--categories", ",".join(names or "abc")]
        split = _split_in(images.relative_to(folder)) or "train"
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
