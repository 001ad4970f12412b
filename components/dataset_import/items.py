"""What a reader of a foreign format hands over: pictures, their tags, and masks that are drawn when written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import apache_beam as beam
import numpy as np

from components.beam_masks.faults import dead_letter
from trainer.data.boxes import TagBox
from trainer.data.files import join, walk
from trainer.data.names import PICTURE_SUFFIXES, Pictures, suffix_of
from trainer.data.pictures import Header
from trainer.errors import ImageFault, UserError

TURNED = "EXIF turns the picture, and sizes do not say whether that was drawn on; taken as drawn on the stored pixels"


@dataclass(frozen=True)
class Drawn:
    """A mask on the stored pixels of its picture.

    Attributes:
      ids: uint8 [H, W]: 0, 1..len(names), 255.
      shown: ids of the categories that the picture shows, also of those that have a box or a tag alone.
      dropped: (object, reason) of what could not be drawn; its pixels are void.
      boxes: of the categories that some object shows by a box alone.
      doubts: in which ways it can be read, and which was taken.
    """

    ids: np.ndarray
    shown: tuple[int, ...]
    dropped: tuple[tuple[str, str], ...] = ()
    boxes: tuple[TagBox, ...] = ()
    doubts: tuple[str, ...] = ()


Mask = Callable[[Header], Drawn]  # picklable; raises ImageFault


@dataclass(frozen=True)
class ImportedPicture:
    """A picture of a foreign dataset.

    Attributes:
      name: its relative path there; its key comes from it.
      image: path on any file system that TensorFlow knows, or the encoded bytes.
      tags: names of categories; None: those that the mask shows.
      mask: draws the mask; None: the picture has tags only.
      boxes: draws objects that have boxes alone, for those: no mask is made of them. None: there are none.
      split: "train", "val" or "test" where the dataset itself says so.
    """

    name: str
    image: str | bytes
    tags: tuple[str, ...] | None
    mask: Mask | None = None
    boxes: Mask | None = None
    split: str | None = None


@dataclass(frozen=True)
class Contents:
    """A foreign dataset.

    Attributes:
      names: of its categories by id, from 1.
      samples: or a transform that gives ImportedPictures and, tagged DEAD, dead letters.
      faults: dead letters of what is no sample.
      notes: what a person should know, a line each.
    """

    names: tuple[str, ...]
    samples: Sequence[ImportedPicture] | beam.PTransform
    faults: list[dict[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class PictureFolder:
    """The pictures below a folder.

    Attributes:
      files: to find them in.
      others: relative paths of the other files.
      faults: dead letters of links that lead out of the folder.
    """

    def __init__(
        self, folder: str, follow_links: bool = False, without: Sequence[str] = (), *, may_be_empty: bool = False
    ):
        """`without`: relative folders whose files are no pictures, such as the one of masks.

        Raises:
          UserError: there are none, or no such folder.
        """
        paths, links = walk(folder, follow_links)
        skipped = tuple(f"{name.strip('/')}/" for name in without)
        self.folder = folder
        self.files = Pictures(path for path in paths if suffix_of(path) and not path.startswith(skipped))
        self.others = [path for path in paths if not suffix_of(path)]
        self.faults = [dead_letter(name, ImageFault("read", reason)) for name, reason in links]
        if not self.files.paths and not links and not may_be_empty:
            raise UserError(f"{folder}: no pictures here ({', '.join(PICTURE_SUFFIXES)})")

    def path(self, name: str) -> str:
        return join(self.folder, name)

    def sample(
        self,
        name: str,
        tags: tuple[str, ...] | None,
        mask: Mask | None = None,
        boxes: Mask | None = None,
        split: str | None = None,
    ) -> ImportedPicture:
        """`name`: relative path, as `files.find` gives it."""
        return ImportedPicture(name, self.path(name), tags, mask, boxes, split)
