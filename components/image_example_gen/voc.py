"""PASCAL VOC's folder layout: where the lists, images and masks of a dataset lie, here or on gs:// or s3://.

A list named with {SPAN}, such as train-{SPAN}, stands for all its files: train-1.txt, train-2.txt, ... New data come as
one more file.
"""

from __future__ import annotations

import re
from pathlib import Path

from etils import epath

from trainer.errors import UserError

IMAGES = "JPEGImages"
MASKS = "SegmentationClass"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
SPAN = "{SPAN}"  # TFX's own word


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


def list_keys(root: str | Path, split: str, limit: int | None = None, newest: int | None = None) -> list[str]:
    """The image names of a split in the lists' order, repeats kept, blank lines skipped; the first `limit` of them.

    Args:
      newest: of a split in spans, only so many last spans.

    Raises:
      UserError: a list is missing, is no text or names an image with a /.
    """
    paths = list(spans(root, split).values())[-(newest or 0) :]
    if not paths:
        raise UserError(f"{list_path(root, split)}: no such list; {SPAN} stands for a number, as in train-1.txt")
    keys = [key for path in paths for line in _lines(path) if (key := line.strip())][:limit]
    if nested := next((key for key in keys if "/" in key), None):
        raise UserError(
            f"{list_path(root, split)}: image name {nested!r} has a /; images lie in {IMAGES} itself, not in folders "
            "below it; transferseg import folder brings such pictures into one folder"
        )
    return keys


def image_path(root: str | Path, key: str) -> epath.Path:
    """The image of a key with the first suffix of IMAGE_SUFFIXES that exists, else the .jpg that should."""
    paths = [epath.Path(root) / IMAGES / f"{key}{suffix}" for suffix in IMAGE_SUFFIXES]
    return next((path for path in paths if path.exists()), paths[0])


def mask_path(root: str | Path, key: str) -> epath.Path:
    return epath.Path(root) / MASKS / f"{key}.png"


def _lines(path: epath.Path) -> list[str]:
    try:
        return path.read_bytes().decode("utf-8-sig").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path}: no such list; name a split that has a file in {path.parent}") from None
    except (UnicodeDecodeError, IsADirectoryError):
        raise UserError(f"{path}: not a text file; write one image name a line in UTF-8") from None
