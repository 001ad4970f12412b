"""Category sets: which ids exist, which of them have masks (strong), which only tags (weak); VOC's set and splits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainer.data.category_names import check_distinct, is_background, is_void, names_by_id
from trainer.errors import UserError

BACKGROUND = 0
VOID = 255  # ignored in every loss and metric

# fmt: off
VOC = [
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
]

# The COCO categories that are none of VOC's, in COCO's order: strong in split 4 (paper, Experiments).
COCO_ONLY = [
    "truck", "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "elephant", "bear", "zebra",
    "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball",
    "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "wine glass", "cup", "fork",
    "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza",
    "donut", "cake", "bed", "toilet", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven",
    "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
]
# fmt: on

# Strong categories of the paper's split-sets, inferred from Table 2 (strong where WSSL is near full supervision).
_SPLIT_1 = ["bicycle", "boat", "bus", "car", "cat", "chair", "cow", "diningtable", "person", "tvmonitor"]
VOC_SPLITS = {
    "voc-split-1": _SPLIT_1,
    "voc-split-2": [name for name in VOC if name not in _SPLIT_1],
    "voc-split-3": ["chair", "cow", "dog", "motorbike", "person", "train"],
    "voc-split-4": COCO_ONLY,  # ids 21..80; VOC's 20 are weak
}


@dataclass(frozen=True)
class Categories:
    """Foreground category names in id order (ids 1..C-1) and the subset that has pixel masks.

    Every foreground category that is not strong is weak. Background is id 0 and belongs to neither.
    """

    foreground: tuple[str, ...]
    strong: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All names by id, background first."""
        return ("background", *self.foreground)

    @property
    def num_classes(self) -> int:
        """C: foreground categories and background."""
        return len(self.foreground) + 1

    @property
    def weak(self) -> tuple[str, ...]:
        return tuple(name for name in self.foreground if name not in self.strong)

    @property
    def strong_ids(self) -> tuple[int, ...]:
        return tuple(self.id_of(name) for name in self.strong)

    @property
    def weak_ids(self) -> tuple[int, ...]:
        return tuple(self.id_of(name) for name in self.weak)

    def id_of(self, name: str) -> int:
        try:
            return self.foreground.index(name) + 1
        except ValueError:
            raise UserError(f"unknown category '{name}'; known: {', '.join(self.foreground)}") from None

    def is_weak_image(self, tags: Sequence[int]) -> bool:
        """An image is weak if it contains any weak category (the rule that reproduces the paper's image counts)."""
        return not set(tags).isdisjoint(self.weak_ids)

    def rehearsal(self) -> Categories:
        """Every second strong category made weak (our choice): not seen by an L-Net trained so, yet with masks."""
        return Categories(self.foreground, self.strong[::2])

    def to_dict(self) -> dict:
        return {"foreground": list(self.foreground), "strong": list(self.strong)}

    @classmethod
    def from_dict(cls, value: dict) -> Categories:
        return cls(tuple(value["foreground"]), tuple(value["strong"]))

    def to_json(self) -> str:
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> Categories:
        return cls.from_dict(json.loads(text))


def special_id(name: str) -> int | None:
    """0 for a name that means background, 255 for one that means void; None for a category's."""
    return BACKGROUND if is_background(name) else VOID if is_void(name) else None


def ids_of_classes(classes: Sequence[str], where: str) -> tuple[tuple[str, ...], dict[str, int]]:
    """Another dataset's classes, clean names in its order -> (names of categories by id, from 1; each class's id).

    Raises:
      UserError: see `check_distinct`.
    """
    special = {name: special_id(name) for name in classes}
    names = tuple(name for name in classes if special[name] is None)
    check_distinct(names, where)
    return names, special | {name: number for number, name in enumerate(names, start=1)}


def named_split(split: str) -> Categories:
    """One of the paper's splits of VOC's 20 categories; for split 4 with COCO's 60 after them.

    Raises:
      UserError: no such split.
    """
    if split not in VOC_SPLITS:
        raise UserError(f"categories.split: no split '{split}'; known: {', '.join(VOC_SPLITS)}")
    strong = VOC_SPLITS[split]
    return Categories((*VOC, *(name for name in strong if name not in VOC)), tuple(strong))


def from_lists(strong: Sequence[str], weak: Sequence[str], order: Sequence[str] | None = None) -> Categories:
    """A split by lists. Ids follow `order`, or strong then weak. Names are trimmed; background at a head is taken off.

    Raises:
      UserError: a category is no clean name, listed twice, both strong and weak, or missing from `order`.
    """
    for key, names in (("strong", strong), ("weak", weak), ("order", order)):
        if isinstance(names, str):
            raise UserError(f"categories.{key}: must be a list of names, not the text '{names}'")
    strong, weak = (names_by_id(names, f"categories.{key}") for key, names in (("strong", strong), ("weak", weak)))
    listed = strong + weak
    both = sorted({name.casefold() for name in strong} & {name.casefold() for name in weak})
    if both:
        raise UserError(f"categories: '{both[0]}' is both strong and weak; keep it in one list")
    check_distinct(listed, "categories")
    foreground = names_by_id(order, "categories.order") if order else listed
    if set(foreground) != set(listed):
        odd = sorted(set(foreground) ^ set(listed))[0]
        raise UserError(f"categories: '{odd}' must be in `order` and in exactly one of `strong`, `weak`")
    if not foreground:
        raise UserError("categories: give `split`, or the lists `strong` and `weak`")
    return Categories(tuple(foreground), tuple(strong))


def palette() -> np.ndarray:
    """PASCAL VOC's colour map, uint8 [256, 3] RGB; entry 255 (void) is (224, 224, 192)."""
    ids = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((ids >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return colours
