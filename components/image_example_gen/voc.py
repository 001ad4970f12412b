"""PASCAL VOC's folder layout: where the lists, images and masks of a dataset lie, here or on gs:// or s3://.

A picture's key is its file name without the suffix, letters composed (NFC). Lists and tables may name pictures in any
way that `trainer.data.names` understands.

A list named with {SPAN}, such as train-{SPAN}, stands for all its files: train-1.txt, train-2.txt, ... New data come as
one more file.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from etils import epath

from components.image_example_gen.listing import Listing, listing
from trainer.data.files import read_text
from trainer.data.names import MASK_SUFFIXES, STORED_SUFFIXES, plain, stem_of
from trainer.errors import ImageFault, UserError, shown

CORRECTED = "corrected"  # list of the images whose masks people have corrected: `dataset.corrected` names it
IMAGES = "JPEGImages"
MASKS = "SegmentationClass"
CATEGORIES = "categories.txt"  # names by id, one a line; not every dataset has it
SPAN = "{SPAN}"  # TFX's own word

_QUOTED = re.compile(r'"((?:[^"\\]|\\.)+)"(?:\s+-?[01])?')  # CVAT and Datumaro quote names with spaces
_FLAGGED = re.compile(r"(.*\S)\s+-?[01]")  # ImageSets/Main: whether the picture shows the list's category


def list_path(root: str | Path, split: str) -> epath.Path:
    return epath.Path(root) / "ImageSets" / "Segmentation" / f"{split}.txt"


def spans(root: str | Path, split: str) -> dict[int, epath.Path]:
    """Span number -> list, in ascending order, of a split named with {SPAN}; of any other split {0: its list}.

    Raises:
      UserError: two lists have the same number.
    """
    if SPAN not in split:
        return {0: list_path(root, split)}
    before, _, after = list_path(root, split).name.partition(SPAN)
    pattern = re.compile(rf"{re.escape(before)}(\d+){re.escape(after)}")
    folder = list_path(root, split).parent
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    found: dict[int, epath.Path] = {}
    for name in sorted(names):
        if match := pattern.fullmatch(name):
            if (number := int(match[1])) in found:
                raise UserError(f"{folder / name}: span {number} is {found[number].name} already; give it a new number")
            found[number] = folder / name
    return dict(sorted(found.items()))


def list_names(path: str | Path) -> list[str]:
    """The names in a list as they are written, without quotes and, in ImageSets/Main, without the second column.

    Raises:
      UserError: it is missing or no text.
    """
    if not epath.Path(path).exists():
        raise UserError(f"{path}: no such list; name a split that has a file in {epath.Path(path).parent}")
    lines = [line.strip() for line in read_text(path, "a list of one image name a line").split("\n")]
    lines = [line for line in lines if line]
    if PurePosixPath(path).parent.name == "Main" and all(_FLAGGED.fullmatch(line) for line in lines):
        lines = [_FLAGGED.fullmatch(line)[1] for line in lines]
    return [re.sub(r"\\(.)", r"\1", match[1]) if (match := _QUOTED.fullmatch(line)) else line for line in lines]


def list_keys(root: str | Path, split: str, limit: int | None = None, newest: int | None = None) -> list[str]:
    """The keys of a split's pictures in the lists' order, repeats kept; the first `limit` of them.

    A name without a picture becomes a key too: `image_path` says what is wrong with it.

    Args:
      newest: of a split in spans, only so many last spans.

    Raises:
      UserError: a list is missing, is no text or names a picture in a folder, which is not there.
    """
    paths = list(spans(root, split).values())[-(newest or 0) :]
    if not paths:
        raise UserError(f"{list_path(root, split)}: no such list; {SPAN} stands for a number, as in train-1.txt")
    names = [name for path in paths for name in list_names(path)][:limit]
    pictures, keys = _images(root), []
    for name in names:
        try:
            keys.append(pictures.key(name))
        except ImageFault:
            if "/" in plain(name):
                raise UserError(
                    f"{list_path(root, split)}: image name '{shown(name)[:200]}' has a /; images lie in {IMAGES} "
                    "itself, not in folders below it; transferseg import folder brings such pictures into one folder"
                ) from None
            keys.append(_key_without_picture(name))
    return keys


def keys(root: str | Path) -> list[str]:
    """The keys of all pictures, sorted."""
    return sorted(_images(root).files)


def find_key(root: str | Path, name: str, listed: Collection[str] = ()) -> str:
    """The key of the picture that a name means; without a picture the key in `listed` that it means.

    Raises:
      ImageFault: "read": no picture, or several; see `Pictures.find`.
    """
    try:
        return _images(root).key(name)
    except ImageFault:
        if (key := _key_without_picture(name)) in listed:
            return key
        raise


def image_path(root: str | Path, key: str) -> epath.Path:
    """The picture of a key, its suffix in any case.

    Raises:
      ImageFault: "image": there is none, or two have the key.
    """
    pictures = _images(root)
    try:
        return epath.Path(root) / IMAGES / (pictures.file(key) or pictures.file(pictures.key(key)))
    except ImageFault as fault:
        raise ImageFault("image", fault) from None


def find_mask(root: str | Path, key: str) -> epath.Path | None:
    """The mask of a key, a lossless picture with its suffix in any case; None without one.

    Raises:
      ImageFault: "mask": two have the key.
    """
    masks = _masks(root)
    try:
        file = masks.file(key)
        if file is None:  # IMG_1.jpg and img_1.png are a pair, unless there is an img_1.jpg
            near = [other for other in masks.like(key) if other not in _images(root).files]
            file = masks.file(near[0]) if len(near) == 1 else None
    except ImageFault as fault:
        raise ImageFault("mask", fault) from None
    return epath.Path(root) / MASKS / file if file else None


def mask_path(root: str | Path, key: str) -> epath.Path:
    """Where the mask of a key is written."""
    return epath.Path(root) / MASKS / f"{key}.png"


def no_mask(root: str | Path, key: str) -> str:
    """Why there is no mask of a key, in words."""
    others = _masks(root).others.get(key)
    if others:
        return f"{shown(others[0])} in {MASKS} is no mask: masks are PNG, because lossy formats change ids"
    return f"no mask {shown(key)}.png in {MASKS}"


def _key_without_picture(name: str) -> str:
    return stem_of(plain(name), STORED_SUFFIXES)


def _images(root: str | Path) -> Listing:
    return listing(epath.Path(root) / IMAGES, STORED_SUFFIXES)


def _masks(root: str | Path) -> Listing:
    return listing(epath.Path(root) / MASKS, MASK_SUFFIXES)
