"""One image, its mask and its tags become one training or evaluation example, or a stated reason why not."""

from __future__ import annotations

import io
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from etils import epath
from PIL import Image

from components.image_example_gen import voc
from trainer import features
from trainer.categories import BACKGROUND, VOID, Categories
from trainer.data.pictures import MAX_PIXELS
from trainer.errors import ImageFault, one_line
from trainer.preprocessing import decode_image

STRONG, WEAK, EVAL = "strong", "weak", "eval"
SPLITS = (STRONG, WEAK, EVAL)


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

    Returns:
      The record. Masks are 8-bit grey PNG, uint8 [H, W] of ids and 255.

    Raises:
      ImageFault: the image or mask is missing, unreadable or does not fit, or tags and mask contradict each other.
    """
    image = _read_bytes(voc.image_path(root, key), "image")
    height, width = check_image(image)
    tagged_weak = tags is not None and categories.is_weak_image(tags) and not evaluation and not corrected
    path = voc.mask_path(root, key)
    mask = None
    if tags and not (tagged_weak or evaluation or corrected or path.exists()):
        raise ImageFault("mask", "has none, but shows strong categories alone; draw one, or take it off the list")
    if not tagged_weak or (use_strong_masks and path.exists()):
        mask = read_mask(_read_bytes(path, "mask"), height, width, categories.num_classes)
    if tags is None or evaluation or corrected:
        tags = tags_of(mask)
    elif mask is not None and not categories.is_weak_image(tags):
        _check_tags(tags, tags_of(mask), categories)

    if evaluation:
        split = EVAL
    elif categories.is_weak_image(tags) and not corrected:
        split = WEAK
        mask = strong_part(mask, categories.strong_ids) if use_strong_masks and mask is not None else None
    else:
        split = STRONG
        tags = tags_of(mask)
    example = features.make_example(
        key,
        image,
        height,
        width,
        list(tags),
        None if mask is None else encode_mask(mask),
        features.NONE if mask is None else features.HUMAN,
        b"weak" if categories.is_weak_image(tags) and not corrected else b"strong",
    )
    return Record(split, tuple(tags), example.SerializeToString(deterministic=True))


def check_image(data: bytes) -> tuple[int, int]:
    """(height, width) of an encoded image, which is decoded in full by the decoder that training uses.

    Raises:
      ImageFault: empty, too large, of another format or corrupt.
    """
    if not data:
        raise ImageFault("image", "the file is empty")
    size = _header_size(data, "image")
    try:
        image = decode_image(tf.constant(data))
    except tf.errors.OpError as error:
        raise ImageFault("image", f"not a readable JPEG or PNG: {one_line(error)}") from None
    if tuple(image.shape[:2]) != size:
        raise ImageFault("image", f"decodes to {image.shape[:2]} but its header says {size}")
    return size


def read_mask(data: bytes, height: int, width: int, num_classes: int) -> np.ndarray:
    """Decodes a palette or grey PNG of category ids.

    Returns:
      uint8 [height, width] of 0..num_classes-1 and 255.

    Raises:
      ImageFault: corrupt, a colour image, of another size, or with other ids.
    """
    if not data:
        raise ImageFault("mask", "the file is empty")
    size = _header_size(data, "mask")
    if size != (height, width):
        turned = "; is the image rotated by EXIF? masks belong to the stored pixels" if size == (width, height) else ""
        raise ImageFault("mask", f"is {size[1]}x{size[0]} but the image is {width}x{height}{turned}")
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.verify()  # checksums and the end, which decoding alone does not look at
        with Image.open(io.BytesIO(data)) as image:
            mode, mask = image.mode, np.array(image)
    except Exception as error:  # Pillow raises many kinds on damaged files
        raise ImageFault("mask", f"not a readable PNG: {one_line(error)}") from None
    if mode not in ("P", "L"):
        raise ImageFault(
            "mask",
            f"is a {mode} image; masks are palette or 8-bit grey PNGs of category ids "
            "(`transferseg import folder` turns VOC's colours into ids)",
        )
    ids = np.flatnonzero(np.bincount(mask.ravel(), minlength=256))
    odd = [int(i) for i in ids if i >= num_classes and i != VOID]
    if odd:
        raise ImageFault("mask", f"has ids {odd[:5]}; allowed are 0..{num_classes - 1} and {VOID}")
    return mask


def tags_of(mask: np.ndarray) -> tuple[int, ...]:
    """Ascending category ids of a mask, background and void left out."""
    return tuple(int(i) for i in np.unique(mask) if i not in (BACKGROUND, VOID))


def strong_part(mask: np.ndarray, strong_ids: Collection[int]) -> np.ndarray | None:
    """The mask with every pixel that is not of a strong category void; None if nothing is left.

    Background is void too: it would show where the weak objects are not.
    """
    keep = np.isin(mask, list(strong_ids))
    return np.where(keep, mask, np.uint8(VOID)) if keep.any() else None


def encode_mask(mask: np.ndarray) -> bytes:
    """uint8 [H, W] -> 8-bit grey PNG."""
    return tf.io.encode_png(mask[..., None]).numpy()


def _check_tags(tags: tuple[int, ...], seen: tuple[int, ...], categories: Categories) -> None:
    """A weak category that a mask shows but the tags leave out would slip into the strong images."""
    hidden = [categories.names[i] for i in seen if i in categories.weak_ids and i not in tags]
    if hidden:
        raise ImageFault("tags", f"the mask shows {', '.join(hidden)} (weak), the tags do not; correct one of them")


def _read_bytes(path: epath.Path, stage: str) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, tf.errors.OpError) as error:
        raise ImageFault(stage, f"cannot read {path}: {getattr(error, 'strerror', None) or one_line(error)}") from None
    except ValueError as error:  # a NUL in the name
        raise ImageFault(stage, f"cannot read the file: {error}") from None


def _header_size(data: bytes, stage: str) -> tuple[int, int]:
    """(height, width) from the header, so that a bomb is refused before it is unpacked."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
    except Image.DecompressionBombError as error:
        raise ImageFault(stage, f"too large: {one_line(error)}") from None
    except Exception:  # Pillow raises many kinds on damaged files
        raise ImageFault(stage, "not an image file") from None
    if width * height > MAX_PIXELS:
        raise ImageFault(stage, f"{width}x{height} is too large; the limit is {MAX_PIXELS // 1_000_000} megapixels")
    return height, width
