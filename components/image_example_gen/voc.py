"""PASCAL VOC's folder layout: where the lists, images and masks of a dataset lie."""

from __future__ import annotations

import os
from pathlib import Path

from trainer.errors import UserError

IMAGES = "JPEGImages"
MASKS = "SegmentationClass"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


def list_path(root: str | Path, split: str) -> Path:
    return Path(root) / "ImageSets" / "Segmentation" / f"{split}.txt"


def list_keys(root: str | Path, split: str, limit: int | None = None) -> list[str]:
    """The image names of a split in the list's order, repeats kept, blank lines skipped; the first `limit` of them.

    Raises:
      UserError: the list is missing or is no text.
    """
    path = list_path(root, split)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path}: no such list; name a split that has a file in {path.parent}") from None
    except (UnicodeDecodeError, IsADirectoryError):
        raise UserError(f"{path}: not a text file; write one image name a line in UTF-8") from None
    return [line.strip() for line in lines if line.strip()][:limit]


def image_path(root: str | Path, key: str) -> Path:
    """The image of a key with the first suffix of IMAGE_SUFFIXES that exists, else the .jpg that should."""
    paths = [Path(root) / IMAGES / f"{key}{suffix}" for suffix in IMAGE_SUFFIXES]
    return next((path for path in paths if os.path.exists(path)), paths[0])


def mask_path(root: str | Path, key: str) -> Path:
    return Path(root) / MASKS / f"{key}.png"
