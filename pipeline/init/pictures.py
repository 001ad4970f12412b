"""What a dataset in our layout says of each picture, and which categories masks and which tags are to teach."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from components.dataset_import.writer import TAGS
from components.image_example_gen import voc
from trainer.data.categories import VOID
from trainer.data.files import read_bytes
from trainer.data.masks import ids_in, read_mask
from trainer.data.tags_table import read_tags_table
from trainer.errors import ImageFault
from trainer.progress import progress

_LOOKED_AT = 30  # our choice: masks that are opened to see why none shows anything


@dataclass(frozen=True)
class Picture:
    """A picture's key, the names in its mask (`pixels`; None without a mask) and those in the tags table (`tags`)."""

    key: str
    pixels: frozenset[str] | None
    tags: frozenset[str]

    @property
    def names(self) -> frozenset[str]:
        """All that it shows."""
        return self.tags | (self.pixels or frozenset())

    def fault(self, weak: Collection[str]) -> str | None:
        """Why it cannot be trained on if those categories are weak; None if it can."""
        if not self.names:
            return "has neither a mask nor tags" if self.pixels is None else None
        if self.tags.isdisjoint(weak) and (hidden := (self.pixels or frozenset()).intersection(weak)) and self.tags:
            return f"its mask shows {min(hidden)}, its tags do not"
        if not self.pixels and self.names.isdisjoint(weak):
            return "shows only what is learned from masks, and has none"
        return None


def read_pictures(root: Path, names: Sequence[str]) -> tuple[list[Picture], bool]:
    """(every picture of the dataset, by key; whether it has a tags table). `validate` names what cannot be read."""
    tags, has_tags = _tags(root)
    return [
        Picture(key, _pixels(root, key, names), tags.get(key, frozenset()))
        for key in progress(voc.keys(root), desc="masks", unit="image", leave=False)
    ], has_tags


def why_no_mask(root: Path, names: Sequence[str]) -> str | None:
    """What is wrong with the first of the masks that shows no category; None if there are none."""
    known = set(voc.keys(root))
    for path in sorted(path for path in (root / voc.MASKS).glob("[!.]*") if path.is_file())[:_LOOKED_AT]:
        try:
            ids = read_mask(read_bytes(path), len(names))
        except ImageFault as fault:
            return f"{path}: {fault}"
        if not ids_in(ids) and (ids == VOID).any():
            return f"{path}: its mask holds 255 alone, which is void"
        if ids_in(ids) and path.stem not in known:
            return f"{path}: the mask's name is that of no picture in {voc.IMAGES}"
    return None


def count(pictures: Collection[Picture]) -> tuple[Counter, Counter]:
    """How many pictures show each name: (in a mask, by a tag alone)."""
    masked = Counter(name for picture in pictures for name in picture.pixels or ())
    tagged = Counter(name for picture in pictures if not picture.pixels for name in picture.tags)
    return masked, tagged


def choose_weak(pictures: Collection[Picture], asked: Collection[str]) -> set[str]:
    """The categories to learn from tags: those asked for, those without masks, and those that mostly have tags alone.

    The last are those of which more pictures wait for a mask (no tag of theirs is weak yet) than have one: their few
    masks are worth more as evaluation. Where no category of one kind would be left, the one that is nearest changes
    sides.
    """
    masked, tagged = count(pictures)
    used = masked.keys() | tagged.keys()
    weak = {name for name in used if name in asked or not masked[name]}
    while True:
        waiting = Counter(name for p in pictures if not p.pixels and p.tags.isdisjoint(weak) for name in p.tags)
        more = [name for name in waiting if waiting[name] > masked[name]]
        if not more:
            break
        weak.add(max(more, key=lambda name: (waiting[name] / masked[name], name)))
    if not weak:
        weak = set(waiting)

    def share(name: str) -> tuple[float, str]:
        return masked[name] / (masked[name] + tagged[name]), name

    if weak and weak == used and (spared := [name for name in used if masked[name] and name not in asked]):
        weak -= {max(spared, key=share)}
    return weak


def _tags(root: Path) -> tuple[dict[str, frozenset[str]], bool]:
    """Names by key, of the tags table in a dataset's folder; lines that name no picture are named by `validate`."""
    if not (root / TAGS).exists():
        return {}, False
    rows, _ = read_tags_table(root / TAGS).by_image(lambda name: voc.find_key(root, name))
    return {key: frozenset(row.tags) for key, row in rows.items()}, True


def _pixels(root: Path, key: str, names: Sequence[str]) -> frozenset[str] | None:
    try:
        path = voc.find_mask(root, key)
        return path and frozenset(names[i - 1] for i in ids_in(read_mask(read_bytes(path), len(names))))
    except ImageFault:
        return frozenset()
