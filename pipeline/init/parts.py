"""A dataset or a split of one, as `recognise` finds it, or what it lacks; and which split a name says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from components.beam_masks.faults import first_of
from components.dataset_import.items import Contents, ImportedPicture
from components.dataset_import.splits import SPLITS, split_said
from trainer.errors import UserError

_DEPTH = 3  # our choice: folders of folders that an archive may have been unpacked into


@dataclass(frozen=True)
class Part:
    """A dataset or one split of it; `split` "train", "val" or "test"."""

    kind: str
    split: str
    read: Callable[[], Contents]


class NamesMissing(UserError):
    """Masks or records hold ids and nobody says what they mean. `number`: how many names are wanted, at least."""

    def __init__(self, text: str, number: int):
        super().__init__(text)
        self.number = number


def split_of(path: Path, folder: Path) -> str | None:
    """The split that a file's folder or name says."""
    if path.parent != folder and path.parent.name in SPLITS:
        return SPLITS[path.parent.name]
    return split_said(path.stem)


def below(folder: Path) -> Iterator[Path]:
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


def has_splits(folder: Path) -> bool:
    """Whether folders in it are called as splits."""
    return any(path.is_dir() and split_said(path.name) for path in folder.iterdir())


def split_parts(kind: str, contents: Contents) -> Iterator[Part]:
    """The parts of a dataset: one for each split that it says itself, or that the first folders of all names say; else
    one, to train on.

    Pictures without masks cannot be scored on, so where a split to be judged by has some, all are to train on. Of a
    split without masks and tags a note is left.
    """
    own = {one.name: one.split or "train" for one in contents.samples} if any(s.split for s in contents.samples) else {}

    def split_in(name: str) -> str | None:
        first, slash, _ = name.partition("/")
        return own.get(name, "train") if own else split_said(first) if slash else None

    samples: dict[str | None, list[ImportedPicture]] = defaultdict(list)
    faults: dict[str | None, list[dict[str, str]]] = defaultdict(list)
    for sample in contents.samples:
        samples[split_in(sample.name)].append(sample)
    for fault in contents.faults:
        faults[split_in(fault["key"])].append(fault)
    found, notes = sorted(filter(None, samples), key=list(SPLITS.values()).index), list(contents.notes)
    bare = [one for split in found if split != "train" for one in samples[split] if not one.mask]
    if None in samples or len({*found, *faults} - {None}) < 2 or bare:
        if bare and len(found) > 1 and None not in samples:
            notes.append(
                f"{len(bare)} images of {' and '.join(found[1:])} have no mask to score on: all are to train on"
            )
        yield Part(kind, "train", lambda: replace(contents, notes=notes))
        return
    for split in [split for split in faults if split not in found]:
        if split and all(fault["stage"] == "tags" for fault in faults[split]):
            notes.append(f"{len(faults[split])} files of {split} are left out: {first_of(faults[split])}")
        else:
            faults[found[0]] += faults[split]
    for split in found:
        part = replace(contents, samples=samples[split], faults=faults[split], notes=notes if split == found[0] else [])
        yield Part(kind, split, lambda part=part: part)
