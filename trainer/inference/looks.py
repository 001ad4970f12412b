"""How networks look at whole pictures: at which size, at which scales, mirrored, in tiles. Test as you train.

A network that learned from pictures resized to the training size (a stage's `scale: [a, b]`) sees a picture resized
so that its longer side is S. One that learned from crops of pictures at their own pixels (`scale: native`) sees the
picture's own pixels: filled up with the mean colour if it is smaller than S, and shrunk to S only if it is larger
(DeepLab tests at 513); in tiles it is never shrunk.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, PositiveFloat, field_validator, model_validator

from trainer.config import STRIDE, Scale, Strict, aligned
from trainer.data.pictures import MAX_PIXELS, MOST_PIXELS


class Look(Strict):
    """What is exported with a network: how it looks at pictures.

    Attributes:
      size: S, side of the square network input, or of a tile.
      native: pictures keep their own pixels where they fit into S.
      scales: of S; the first view's side is what valid sizes refer to.
      mirror: every view once more, mirrored.
      overlap: pixels that neighbouring tiles share; None: no tiles, one input holds the whole picture.
    """

    size: int
    native: bool = False
    scales: tuple[float, ...] = (1.0,)
    mirror: bool = False
    overlap: int | None = None

    @property
    def sides(self) -> list[int]:
        """Sides of the network inputs, one a scale, rounded to 8k+1 and at least 33."""
        return [self.size if s == 1 else max(33, round((self.size * s - 1) / STRIDE) * STRIDE + 1) for s in self.scales]

    @property
    def least_side(self) -> int:
        """A picture is resized as if its longer side were at least this."""
        return self.size if self.native else 0

    @property
    def views(self) -> int:
        """How many inputs are made of a picture, or of a tile."""
        return len(self.scales) * (1 + self.mirror)

    @property
    def one_view(self) -> Look:
        """The same whole picture at its size alone, not mirrored."""
        return Look(size=self.size, native=self.native)

    def __str__(self) -> str:
        """A phrase for people, behind "tested"."""
        if self.overlap is not None:
            words = f"in tiles of {self.size} pixels that share {self.overlap}"
        else:
            words = f"at {self.size} pixels" + (", larger pictures shrunk, smaller ones as they are" * self.native)
        if self.scales != (1.0,):
            words += f", scales {', '.join(f'{scale:g}' for scale in self.scales)}"
        return words + ", also mirrored" * self.mirror


def look_of(about: Mapping[str, Any]) -> Look:
    """The look that an exported model's metadata tell of; exports before there was one looked at whole pictures."""
    return Look.model_validate(about["look"] if "look" in about else {"size": about["image_size"]})


def limit_of(about: Mapping[str, Any]) -> int:
    """The most pixels of a picture that an exported model takes, likewise; of earlier exports, what all did."""
    return about.get("max_pixels", MAX_PIXELS)


class InferenceConfig(Strict):
    """How the segmentation network looks at pictures, in evaluation and in the served model alike.

    Probabilities of several views are averaged, not logits: a view counts alike however sure it is, where one large
    logit would outvote all others (DeepLab and PSPNet do the same).
    """

    size: int | None = Field(
        None, ge=33, description="side of the network input, 8k+1; null: image_size (DeepLab: 513)"
    )
    scales: list[PositiveFloat] = Field([1.0], description="of size; the mean probability over all of them counts")
    mirror: bool = Field(False, description="every view once more, mirrored")
    tile: int | None = Field(
        None, ge=33, description="instead of size: the picture at its own pixels in tiles of this side, 8k+1"
    )
    overlap: int | None = Field(
        None, ge=1, description="pixels that neighbouring tiles share, 8k+1; null: a quarter of tile"
    )
    max_pixels: int = Field(
        MAX_PIXELS, ge=1, le=MOST_PIXELS, description="larger pictures are refused; memory grows with it"
    )

    _sides = field_validator("size", "tile", "overlap")(lambda value: value if value is None else aligned(value))

    @field_validator("scales")
    @classmethod
    def _some(cls, value: list[float]) -> list[float]:
        if not value:
            raise ValueError("must hold at least one scale; 1.0 is the size itself")
        return value

    @model_validator(mode="after")
    def _one_mode(self) -> InferenceConfig:
        if self.tile is None:
            if self.overlap is not None:
                raise ValueError("overlap is what tiles share; give tile too, or no overlap")
            return self
        if self.size is not None:
            raise ValueError("give size for whole pictures or tile for tiles, not both")
        if self.scales != [1.0]:
            raise ValueError("tile shows the picture at its own pixels alone; leave scales at [1.0], or give size")
        if self.overlap is not None and self.overlap >= self.tile:
            raise ValueError(f"overlap ({self.overlap}) must be smaller than tile ({self.tile})")
        return self

    def look(self, image_size: int, scale: Scale) -> Look:
        """For a network trained at `image_size` and `scale`.

        Raises:
          ValueError: tiles, of a network that was not trained at the picture's own pixels.
        """
        views = {"scales": tuple(self.scales), "mirror": self.mirror}
        native = scale == "native"
        if self.tile is None:
            return Look(size=self.size or image_size, native=native, **views)
        if not native:
            raise ValueError("tile shows the picture at its own pixels: train with segmentation.scale: native")
        quarter = self.tile // 4 // STRIDE * STRIDE + 1  # our choice
        return Look(size=self.tile, native=True, overlap=self.overlap or quarter, **views)


class MapsConfig(Strict):
    """How CAM and L-Net look at an image to label: the mean over all views counts (our choice; paper: one view)."""

    extra_scales: list[PositiveFloat] = Field([], description="of image_size, beside 1")
    mirror: bool = Field(False, description="every view once more, mirrored")

    def look(self, image_size: int, native: bool = False) -> Look:
        """For a network input of this size."""
        return Look(size=image_size, native=native, scales=(1.0, *self.extra_scales), mirror=self.mirror)
