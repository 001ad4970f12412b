"""Weak labels of single images in Python, as `transferseg label` makes them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np

from components.beam_masks.networks import Networks
from components.weak_labels.core.label_config import LabelConfig
from components.weak_labels.core.label_image import LabelResult, label_image
from components.weak_labels.transform import maps_of
from serving.export import read_categories
from serving.model import Picture, encoded
from serving.saved_model import find_saved_model
from trainer.config import instance_of
from trainer.data.boxes import TagBox, box_fault, clipped
from trainer.data.categories import Categories
from trainer.data.files import cut
from trainer.data.pictures import decode
from trainer.errors import ImageFault, UserError

Outputs = dict[str, np.ndarray]
NamedBox = tuple[str, float, float, float, float]


@dataclass(frozen=True)
class Labeller:
    """An L-Net and a CAM classifier; call it on a picture and its tags.

    Attributes:
      categories: the CAM's; their ids are those of the masks.
      settings: of the algorithm.
    """

    categories: Categories
    settings: LabelConfig
    _networks: Networks

    def __call__(self, picture: Picture, tags: Sequence[str], boxes: Sequence[NamedBox] = ()) -> LabelResult:
        """Labels a picture.

        Args:
          picture: path, bytes, or uint8 [H, W, 3] RGB.
          tags: names of the categories it shows.
          boxes: (category, x1, y1, x2, y2) in the stored pixels, see trainer.data.boxes; each is a tag too.

        Returns:
          LabelResult; its `mask` is uint8 [H, W] at the picture's own size, of a file with an EXIF orientation that of
          the stored pixels.

        Raises:
          UserError: no picture, a tag that the CAM does not know, or a box that is none or lies outside.
        """
        data = encoded(picture)
        [(cam, l_net)] = self._networks.run([data])
        return self.from_outputs(_pixels(data), l_net, cam, tags, boxes)

    def maps(self, picture: Picture, tags: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """What the two networks say, on the picture's own pixels, at most 1024 a side: what `label_image` takes.

        Returns:
          (objectness float32 [h, w] in 0..1, activations float32 [h, w, K] in 0..1, one for each tag by ascending id).
        """
        data = encoded(picture)
        [outputs] = self._networks.run([data])
        return maps_of(_pixels(data), self._ids(tags), outputs, self._networks.image_sizes)

    def from_outputs(
        self,
        image: np.ndarray,
        l_net: Outputs,
        cam: Outputs,
        tags: Sequence[str],
        boxes: Sequence[NamedBox] = (),
    ) -> LabelResult:
        """Labels an image from what the SavedModels' `serving_default` put out for it, padding and all.

        Args:
          image: uint8 [H, W, 3] RGB, the stored pixels.
          l_net: L-Net's outputs by name (maps, valid, orientation), of one image: without the batch axis.
          cam: the CAM classifier's, likewise.
          tags: names of the categories it shows.
          boxes: as in a call.
        """
        if not isinstance(boxes, Iterable) or isinstance(boxes, str):
            raise UserError(f"boxes must be a list, not {cut(repr(boxes))}")
        given = [self._box(box, image.shape[:2]) for box in boxes]
        ids = sorted({*self._ids(tags), *(box.tag for box in given)})
        objectness, activations = maps_of(image, ids, [cam, l_net], self._networks.image_sizes)
        return label_image(image, objectness, activations, ids, self.settings, given)

    def _box(self, box: NamedBox, size: tuple[int, int]) -> TagBox:
        if not isinstance(box, list | tuple) or len(box) != 5 or not all(isinstance(v, Real) for v in box[1:]):
            raise UserError(f"boxes: must be (category, x1, y1, x2, y2) each, not {cut(repr(box))}")
        name, *corners = box
        if fault := box_fault(corners):
            raise UserError(f"boxes: {name}: {fault}")
        try:
            return clipped(TagBox(self.categories.id_of(name), *corners), *size)
        except ImageFault as fault:
            raise UserError(f"boxes: {name}: {fault}") from None

    def _ids(self, tags: Sequence[str]) -> list[int]:
        if isinstance(tags, str) or not isinstance(tags, Iterable):
            raise UserError(f"tags must be a list of names, not {cut(repr(tags))}")
        return sorted({self.categories.id_of(tag) for tag in tags})


def load_labeller(l_net: str | os.PathLike, cam: str | os.PathLike, settings: LabelConfig | None = None) -> Labeller:
    """Loads the two networks that label tagged pictures.

    Args:
      l_net: SavedModel of an L-Net, or `<workdir>/artifacts/l_net/model` of a run.
      cam: SavedModel of a CAM classifier, or `<workdir>/artifacts/cam/model`; its categories give the ids.
      settings: of the algorithm; None: as `transferseg label` without --settings.

    Raises:
      UserError: no model there, or one of another kind.
    """
    settings = instance_of(LabelConfig, settings or LabelConfig(), "settings")
    folders = [find_saved_model(path) for path in (cam, l_net)]
    categories = read_categories(folders[0], "cam")
    read_categories(folders[1], "l_net")
    networks = Networks([str(folder.resolve()) for folder in folders], batch_size=1, threads=None)
    return Labeller(categories, settings, networks)


def _pixels(data: bytes) -> np.ndarray:
    try:
        return decode(data)
    except ImageFault as fault:
        raise UserError(f"the picture: {fault}") from None
