"""What a folder in our layout holds, and how it is to be learned from; refused where nothing could be."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from components.image_example_gen import voc
from pipeline.init.asked import Asked
from pipeline.init.lists import make_lists
from pipeline.init.pictures import Picture, choose_weak, count, read_pictures, why_no_mask
from pipeline.init.recognise import names_in
from trainer.data.categories import VOC, VOC_SPLITS
from trainer.errors import UserError

VOC_SPLIT = "voc-split-1"  # what is tried first of VOC as it comes


@dataclass(frozen=True)
class Found:
    """A dataset as it lies there.

    Attributes:
      names: categories by id.
      strong, weak: names that masks teach, names that tags alone teach (also those in no training image, unless all
        others have masks: then none is weak).
      train, val: names of the lists.
      source: of the evaluation list, see `make_lists`.
      tags: whether there is a tags file.
      corrected: whether people have corrected weak labels of some pictures, which a list names.
      trained, evaluated: the pictures of the lists.
      left_out: (key, reason) of the pictures that cannot be trained on.
    """

    names: list[str]
    strong: list[str]
    weak: list[str]
    train: str
    val: str
    source: str
    tags: bool
    corrected: bool
    trained: list[Picture]
    evaluated: list[Picture]
    left_out: list[tuple[str, str]]

    @property
    def images(self) -> Counter:
        """Training pictures by category."""
        return Counter(name for picture in self.trained for name in picture.names)

    @property
    def scored(self) -> Counter:
        """Evaluation masks by category."""
        return Counter(name for picture in self.evaluated for name in picture.pixels or ())


def look(root: Path, asked: Asked, names: Sequence[str] | None, brought: Collection[tuple[str, str]]) -> Found:
    """Reads tags and masks, decides who is weak, makes the lists that are not there.

    Args:
      root: folder in our layout.
      asked: with the weak categories and the list that a person gave.
      names: categories by id; None: categories.txt, or VOC's.
      brought: (name, key) of the pictures that were brought in just now.

    Raises:
      UserError: an unknown name in `asked.weak`, or no masks or no tags to learn from; with the command that helps.
    """
    names = list(names or names_in(root) or VOC)
    if unknown := sorted(set(asked.weak) - set(names)):
        raise UserError(f"--weak {unknown[0]}: no such category; there are {', '.join(names)}")
    pictures, has_tags = read_pictures(root, names)
    masked = [picture for picture in pictures if picture.pixels]
    if len(masked) < 2:
        few = f"{root}: {len(masked) or 'no'} image has a mask that shows a category"
        if reason := why_no_mask(root, names):
            images, drawn = (shlex.quote(str(root / name)) for name in (voc.IMAGES, voc.MASKS))
            raise UserError(
                f"{few}: {reason}. Masks of other kinds and names come by transferseg import folder --images {images} "
                f"--masks {drawn} --categories {shlex.quote(','.join(names[:3]))} (or --colours TABLE) --output data, "
                "then transferseg init data"
            )
        raise UserError(
            f"{few}. L-Net learns from masks of some categories, yours or others': bring a dataset that has some into "
            f"the same folder first (transferseg import voc --root VOC2012 --list trainval --output {root}), then "
            f"{asked.command()}; or label with an L-Net that you have (transferseg label --mode class-agnostic)"
        )
    listed = voc.list_path(root, voc.CORRECTED).exists()
    corrected = set(voc.list_keys(root, voc.CORRECTED)) if listed else set()
    # Corrected labels are masks, yet of pictures from which tags are to be learned.
    weak = choose_weak([replace(p, pixels=None) if p.key in corrected else p for p in pictures], asked.weak)
    if not weak and names == VOC:
        weak = set(VOC) - set(VOC_SPLITS[VOC_SPLIT])
    _check(root, [p for p in pictures if p.names and not p.fault(weak)], weak, asked)  # before any list is written
    val = asked.val or (asked.folder / "val.txt" if (asked.folder / "val.txt").is_file() else None)
    train, evaluation, source = make_lists(root, pictures, weak, val, brought)
    by_key = {picture.key: picture for picture in pictures}
    trained, evaluated = (
        [by_key[key] for key in dict.fromkeys(voc.list_keys(root, split)) if key in by_key]
        for split in (train, evaluation)
    )
    learned = {name for picture in trained if picture.pixels for name in picture.pixels} - weak
    strong = [name for name in names if name in learned or not weak]
    others = {picture.key for picture in evaluated}
    left_out = [(p.key, fault) for p in pictures if p.key not in others and (fault := p.fault(weak))]
    found = Found(
        names,
        strong,
        [name for name in names if name not in strong],
        train,
        evaluation,
        source,
        has_tags,
        bool(corrected),
        trained,
        evaluated,
        left_out,
    )
    _check(root, trained, weak, asked)
    if not evaluated:
        raise UserError(
            f"{voc.list_path(root, evaluation)}: names no picture that is there; name some that have masks, or take "
            "the file away: init then holds some out"
        )
    return found


def least_missed(pictures: Sequence[Picture]) -> str | None:
    """Of categories that all have masks the one to learn from tags first: without its pictures the others keep as many
    of theirs as can be. None if there is no second one."""
    masked, _ = count(pictures)
    alone = Counter(next(iter(p.names)) for p in pictures if len(p.names) == 1)
    others = {name: sum(alone.values()) - alone[name] for name in masked}
    return max(masked, key=lambda name: (others[name], masked[name], name)) if len(masked) > 1 else None


def _check(root: Path, trained: list[Picture], weak: set[str], asked: Asked) -> None:
    """Raises UserError if a run over those training pictures would stop at its first gate."""
    if not weak:
        return
    num_weak = sum(not picture.names.isdisjoint(weak) for picture in trained)
    told = ", ".join(sorted(weak))
    if not num_weak:
        raise UserError(
            f"{root}: no training picture shows a category that is learned from tags ({told}); add some, or choose "
            f"others: {asked.command(weak=())}"
        )
    if num_weak == len(trained):
        masked = ", ".join(sorted({n for p in trained for n in p.pixels or ()} - weak)) or "none"
        raise UserError(
            f"{root}: every training picture shows a category that is learned from tags ({told}), and of such pictures "
            f"masks are not used: L-Net has nothing to learn from (categories with masks: {masked}). Add pictures with "
            f"masks that show none of these, then {asked.command()}"
        )
