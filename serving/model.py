"""A trained segmentation model in Python: load it, call it on pictures."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tensorflow as tf
from PIL import Image

from serving.export import read_categories
from serving.saved_model import find_saved_model, load_saved_model, read_metadata
from trainer.data.categories import Categories
from trainer.data.files import read_bytes
from trainer.data.pictures import MAX_PIXELS, readable
from trainer.errors import ImageFault, UserError, one_line, shown
from trainer.inference.looks import limit_of

Picture = str | os.PathLike | bytes | np.ndarray
"""A file's path, its bytes, or uint8 [H, W, 3] RGB."""


def encoded(picture: Picture, max_pixels: int = MAX_PIXELS) -> bytes:
    """A picture as exported networks take it.

    Args:
      picture: path or bytes of a file in any format of trainer.data.pictures, or uint8 [H, W, 3] RGB.
      max_pixels: larger ones are refused.

    Returns:
      JPEG or PNG bytes; of an array a PNG, so no value changes.

    Raises:
      UserError: the file cannot be read, the array is none of RGB bytes, or the picture is too large.
    """
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
            found = f"{picture.dtype} {list(picture.shape)}"
            raise UserError(f"a picture must be uint8 [H, W, 3] RGB in 0..255, not {found}; convert it first")
        picture = cv2.imencode(".png", picture[..., ::-1])[1].tobytes()
    if not isinstance(picture, str | os.PathLike | bytes):
        kind = type(picture).__name__
        raise UserError(f"a picture must be a file's path, its bytes or uint8 [H, W, 3] RGB, not {kind}")
    name = "the picture" if isinstance(picture, bytes) else shown(os.fsdecode(picture))
    try:
        return readable(picture if isinstance(picture, bytes) else read_bytes(os.fsdecode(picture)), max_pixels)
    except ImageFault as fault:
        raise UserError(f"{name}: {fault}") from None


@dataclass(frozen=True)
class Model:
    """A segmentation model; call it on a picture.

    Attributes:
      path: its SavedModel.
      categories: names by id, strong and weak.
      metadata: what its assets say of its origin, `image_size` and the run's `config_hash` among it.
    """

    path: Path
    categories: Categories
    metadata: dict[str, Any]
    _saved: Any = field(repr=False)

    def __call__(self, picture: Picture) -> np.ndarray:
        """uint8 [H, W]: the category id of every pixel, at the picture's own size, as `transferseg predict` writes it.

        Of a file with an EXIF orientation these are the stored pixels.

        Raises:
          UserError: no picture, or larger than the model takes.
        """
        with Image.open(io.BytesIO(self._ask("serving_default", picture)["mask_bytes"])) as mask:
            return np.array(mask, np.uint8)

    def scores(self, picture: Picture) -> dict[str, Any]:
        """How sure the model is of a picture.

        Returns:
          `scores`, float32 [C]: highest probability of the class anywhere; `area`, float32 [C]: mean probability, sums
          to 1; `confidence`, float: mean probability of the winning class. C counts the background, id 0.

        Raises:
          UserError: as for the call.
        """
        return self._ask("scores", picture)

    def _ask(self, signature: str, picture: Picture) -> dict[str, Any]:
        data = encoded(picture, limit_of(self.metadata))
        try:
            answer = self._saved.signatures[signature](image_bytes=tf.constant([data]))
        except tf.errors.InvalidArgumentError as error:
            raise UserError(f"{self.path}: refuses the picture: {one_line(error)}") from None
        return {name: value.numpy()[0] for name, value in answer.items()}


def load_model(path: str | os.PathLike) -> Model:
    """Loads a segmentation model.

    Args:
      path: a SavedModel, or a folder of numbered ones, of which the newest is taken: `<workdir>/serving/<name>`,
        or `<workdir>/artifacts/<component>/model` of a run.

    Raises:
      UserError: no model there, or one of another kind.
    """
    folder = find_saved_model(path)
    categories = read_categories(folder, "segmentation")
    metadata = read_metadata(folder)
    return Model(folder, categories, metadata, load_saved_model(folder))
