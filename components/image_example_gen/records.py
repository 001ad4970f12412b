"""One image, its mask and its tags become one training or evaluation example, or a stated reason why not."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from etils import epath

from components.image_example_gen import voc
from trainer.data import features, masks
from trainer.data.boxes import TagBox, clipped
from trainer.data.categories import VOID, Categories
from trainer.data.files import read_bytes
from trainer.data.pictures import DECODED, Header, decode, read_header
from trainer.errors import ImageFault

STRONG, WEAK, EVAL = "strong", "weak", "eval"
SPLITS = (STRONG, WEAK, EVAL)
_READ = (*DECODED, "BMP", "GIF")  # what the decoder in training's graph reads, whatever the file's name


def splits_of(categories: Categories) -> tuple[str, ...]:
    """Those of SPLITS that a dataset has: without weak categories no image is weak."""
    return SPLITS if categories.weak else (STRONG, EVAL)


@dataclass(frozen=True)
class Record:
    """A readable image: its split, tags (ascending ids) and serialised tf.Example."""

    split: str
    tags: tuple[int, ...]
    example: bytes


def read_record(
    root: str | Path,
    key: str,
    categories: Categories,
    *,
    evaluation: bool = False,
    tags: tuple[int, ...] | None = None,
    use_strong_masks: bool = False,
    corrected: bool = False,
    boxes: Sequence[TagBox] = (),
) -> Record:
    """Reads, checks and splits one image.

    An evaluation image keeps its mask. A training image is weak if its tags hold a weak category, and then its mask is
    dropped; with `use_strong_masks` the strong categories' pixels stay and every other pixel becomes void. So no pixel
    of a weak category is ever in a training example, unless a person has drawn it in a review.

    Args:
      root: VOC-layout folder.
      key: image name.
      categories: the category set.
      evaluation: the image is for evaluation.
      tags: ids from the tags file; None takes them from the mask.
      use_strong_masks: keep strong objects' masks in weak images.
      corrected: a person has corrected the whole mask: a training image that counts as strong, whatever it shows.
      boxes: on the stored pixels; they may reach out of the picture. Each is a tag too. They go along with a weak
        image; of a strong one the mask knows better.

    Returns:
      The record. Masks are 8-bit grey PNG, uint8 [H, W] of ids and 255.

    Raises:
      ImageFault: the image or mask is missing, unreadable or does not fit, a box lies outside the image, or tags and
        mask contradict each other.
    """
    image, header = _read_picture(root, key)
    boxes = [clipped(box, *header.size) for box in boxes]
    boxed = {box.tag for box in boxes}
    if boxes and (tags is not None or voc.find_mask(root, key) is None):
        tags = _union(tags or (), boxed)
    tagged_weak = tags is not None and categories.is_weak_image(tags) and not evaluation and not corrected
    path = None if tagged_weak and not use_strong_masks else voc.find_mask(root, key)
    if path is None and not tagged_weak:
        if tags and not (evaluation or corrected):
            raise ImageFault("mask", "has none, but shows strong categories alone; draw one, or take it off the list")
        raise ImageFault("mask", voc.no_mask(root, key))
    mask = None if path is None else _read_mask(path, header, categories)
    if tags is None or evaluation or corrected:
        tags = _union(masks.ids_in(mask), () if evaluation or corrected else boxed)
    elif mask is not None and not categories.is_weak_image(tags):
        _check_tags(tags, masks.ids_in(mask), categories)

    if evaluation:
        split = EVAL
    elif categories.is_weak_image(tags) and not corrected:
        split = WEAK
        mask = strong_part(mask, categories.strong_ids) if use_strong_masks and mask is not None else None
    else:
        split = STRONG
        tags = masks.ids_in(mask)
    example = features.make_example(
        key,
        image,
        header.height,
        header.width,
        list(tags),
        None if mask is None else masks.encode_grey(mask),
        features.NONE if mask is None else features.HUMAN,
        b"weak" if categories.is_weak_image(tags) and not corrected else b"strong",
        boxes if split == WEAK else (),
    )
    return Record(split, tuple(tags), example.SerializeToString(deterministic=True))


def _union(tags: Collection[int], others: Collection[int]) -> tuple[int, ...]:
    return tuple(sorted({*tags, *others}))


def _read_picture(root: str | Path, key: str) -> tuple[bytes, Header]:
    """The file's bytes, which the decoder that training uses has decoded in full, and its header."""
    try:
        data = read_bytes(voc.image_path(root, key))
        header = read_header(data)
        if header.format not in _READ:
            raise ImageFault("decode", f"a {header.format} file, which training cannot read; import folder converts it")
        decode(data)
        return data, header
    except ImageFault as fault:
        raise ImageFault("image", fault) from None


def _read_mask(path: epath.Path, picture: Header, categories: Categories) -> np.ndarray:
    """uint8 [H, W] of ids and 255, on the picture's stored pixels."""
    try:
        return masks.read_fitting(read_bytes(path), categories.num_classes - 1, picture)
    except ImageFault as fault:
        raise ImageFault("mask", fault) from None


def strong_part(mask: np.ndarray, strong_ids: Collection[int]) -> np.ndarray | None:
    """The mask with every pixel that is not of a strong category void; None if nothing is left.

    Background is void too: it would show where the weak objects are not.
    """
    keep = np.isin(mask, list(strong_ids))
    return np.where(keep, mask, np.uint8(VOID)) if keep.any() else None


def _check_tags(tags: tuple[int, ...], seen: tuple[int, ...], categories: Categories) -> None:
    """A weak category that a mask shows but the tags leave out would slip into the strong images."""
    hidden = [categories.names[i] for i in seen if i in categories.weak_ids and i not in tags]
    if hidden:
        raise ImageFault("tags", f"the mask shows {', '.join(hidden)} (weak), the tags do not; correct one of them")
