"""Which pictures are trained on, and which evaluated on: a person's list, an earlier one, or a share held out here."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from components.beam_masks.masks import write_atomic
from components.dataset_import.placement import read_sources
from components.image_example_gen import voc
from pipeline.init.pictures import Picture
from trainer.data.names import Pictures, key_of
from trainer.errors import ImageFault, UserError, some

SHARE = 10  # our choice: of a category's pictures with masks, every tenth is held out
_MOST = 4  # our choice: of a weak category's pictures at most every fourth, though their masks teach nothing
_RARE = 5  # our choice: categories of fewer masks have none held out for their own sake


def hold_out(pictures: Sequence[Picture], weak: Collection[str]) -> set[str]:
    """Keys of the pictures to evaluate on; the same pictures give the same keys.

    Masks of weak pictures go first: training would drop them. Then a tenth of each strong category's, rare ones first.
    """
    order = sorted((picture for picture in pictures if picture.pixels), key=lambda picture: picture.key)
    random.Random(0).shuffle(order)  # neighbours in a folder are often of one scene
    held: dict[str, Picture] = {}
    whole, out = Counter(name for picture in pictures for name in picture.names), Counter()
    for picture in order:
        mine = picture.names.intersection(weak)
        if mine and all(_MOST * (out[name] + 1) <= whole[name] for name in mine):
            held[picture.key] = picture
            out.update(mine)
    masked = Counter(name for picture in order for name in picture.pixels if name not in weak)
    for name in sorted(masked, key=lambda name: (masked[name], name)):
        wanted = max(round(masked[name] / SHARE), masked[name] >= _RARE)
        wanted -= sum(name in picture.pixels for picture in held.values())
        strong = [p for p in order if name in p.pixels and p.key not in held and p.names.isdisjoint(weak)]
        held |= {picture.key: picture for picture in strong[: max(wanted, 0)]}
    if not held and len(order) > 1:
        strong = [picture for picture in order if picture.names.isdisjoint(weak)]
        held = {picture.key: picture for picture in (strong[1:] or order)[:1]}
    return set(held)


def make_lists(
    root: Path,
    pictures: Sequence[Picture],
    weak: Collection[str],
    val: Path | None,
    brought: Collection[tuple[str, str]],
) -> tuple[str, str, str]:
    """Writes the lists that are not there.

    Args:
      val: a person's own list of the pictures to evaluate on.
      brought: (name, key) of the pictures that were brought in just now, perhaps once more: those held out before stay
        held out.

    Returns:
      (name of the training list, of the evaluation list, where the latter is from: "given", "there" or "held out").

    Raises:
      UserError: `val` names a picture that is not there or has no mask.
    """
    folder = voc.list_path(root, "").parent
    have = {path.stem for path in folder.glob("*.txt")} if folder.is_dir() else set()
    train = next((name for name in ("train_aug", "train", "trainval") if name in have), None)
    evaluation = next((name for name in ("val", "test") if name in have), None)
    source = "there" if evaluation else "held out"
    listed = voc.list_keys(root, train) if train else None
    known = [picture.key for picture in pictures] if listed is None else listed
    if val:
        if brought and evaluation == "val":  # of a folder that a person's list takes the place of
            known = list(dict.fromkeys([*known, *voc.list_keys(root, evaluation)]))
        held, source = _given(root, val, pictures, brought), "given"
        evaluation = "val" if brought or not evaluation else f"{evaluation}_given"
        _write(folder, evaluation, sorted(held))
    elif evaluation:
        held = set(voc.list_keys(root, evaluation))
    else:
        held, evaluation = hold_out(pictures, weak), "val"
        _write(folder, evaluation, sorted(held))
    by_key = {picture.key: picture for picture in pictures}
    apart = held | (set(voc.list_keys(root, "test")) if "test" in have else set())
    kept = [key for key in known if key not in apart and (key not in by_key or not by_key[key].fault(weak))]
    if kept != listed:
        train = "train" if brought or not train else f"{train}_usable"
        _write(folder, train, kept)
    return train, evaluation, source


def drop_gone(root: Path, place: Path, brought: Collection[str], unread: Collection[str]) -> list[str]:
    """Takes pictures that came from a folder before, and do not now, out of the training list.

    They are not there any more, or nothing there says what they show. They stay in `root`, and those that are evaluated
    on in their list: scores can be compared.

    Args:
      place: the folder.
      brought: keys of what came from it now.
      unread: names, without suffixes, of what is there and cannot be read now: these stay in the list.

    Returns:
      Their keys.
    """
    train = voc.list_path(root, "train")
    gone = {
        key
        for key, origin in read_sources(root).items()
        if origin.source.startswith(f"{place.resolve()}#") and key not in brought and origin.name not in unread
    }
    listed = voc.list_names(train) if gone and train.exists() else []
    if dropped := gone.intersection(listed):
        _write(train.parent, train.stem, [key for key in listed if key not in dropped])
    return sorted(dropped)


def _given(root: Path, path: Path, pictures: Sequence[Picture], brought: Collection[tuple[str, str]]) -> set[str]:
    masked = {picture.key for picture in pictures if picture.pixels is not None}
    keys, faults = set(), []
    meant = _Brought(brought)
    for name in voc.list_names(path):
        try:
            keys.add(key := meant.key(name) or voc.find_key(root, name))
            if key not in masked:
                faults.append(f"{path}: '{name}' has no mask, so it cannot be evaluated on; draw one, or take it out")
        except ImageFault as fault:
            faults.append(f"{path}: {fault}")
    if faults or not keys:
        raise UserError(some(faults) or f"{path}: lists no picture; write one name a line")
    return keys


class _Brought:
    """Finds pictures that were brought in by what they were called there: their keys may be others."""

    def __init__(self, brought: Collection[tuple[str, str]]):
        self._keys: dict[str, list[str]] = {}
        for name, key in dict.fromkeys(brought):
            self._keys.setdefault(name, []).append(key)
        self._pictures = Pictures(self._keys)
        self._wanted = {key_of(name) for name in self._keys}

    def key(self, name: str) -> str | None:
        """None: it is about a picture that was there before, or is a key.

        Raises:
          ImageFault: it may mean several.
        """
        try:
            keys = self._keys[self._pictures.find(name)]
        except ImageFault:
            if key_of(name) in self._wanted:
                raise
            return None
        if len(keys) > 1:
            raise ImageFault("read", f"'{name}' may mean {' or '.join(keys)}, of two splits; write which")
        return keys[0]


def _write(folder: Path, name: str, keys: Sequence[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(str(folder / f"{name}.txt"), "".join(f"{key}\n" for key in keys).encode())
