"""Every value the weak-label algorithm can be told. "Our choice" is what no paper gives: calibrate it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from trainer.config import Strict, refuse_unread
from trainer.data.files import cut
from trainer.data.yaml_text import read_yaml
from trainer.errors import UserError

VALUES = "labels.yaml"  # of a calibration
_LARGE = 500 * 500  # our choice: pixels of VOC's largest images; their superpixels measure 29 x 29


class LabelConfig(Strict):
    """Settings of `label_image`. Unless called our choice, defaults are Kong et al.'s (2016), the paper's source."""

    superpixels: int = Field(300, ge=1, le=2000, description="aimed-at number per image; the solve costs its cube")
    superpixel_method: Literal["cells", "slic", "felzenszwalb"] = Field(
        "cells", description="own SLIC in batched products, or scikit-image's SLIC or Felzenszwalb, which take longer"
    )
    most_superpixels: int = Field(
        1200, ge=1, le=2000, description="images above 500 x 500 get more, by their area, up to this; our choice"
    )
    compactness: float = Field(20.0, gt=0, description="SLIC: weight of position against CIELAB colour")
    sigma: float = Field(
        0.05**0.5, ge=0.03, description="of the edge weights; default: 1 / (2 sigma^2) = 10; below .03 they vanish"
    )
    second_neighbours: bool = Field(True, description="link neighbours of neighbours too")
    border_links: bool = Field(True, description="link all superpixels at the image border with each other")
    formulation: Literal["discounted", "truncated", "random_walk"] = Field(
        "discounted", description="see components/weak_labels/core/diffusion.py"
    )
    discount: float = Field(0.99, gt=0, lt=1, description="discounted: q decays by this factor a step")
    iterations: int = Field(20, ge=1, description="truncated: steps of the printed Eq. (2); our choice")
    seed_threshold: float = Field(
        0.6,
        gt=0,
        le=1,
        description="a superpixel seeds a tag from this share of the map's hottest superpixel; our choice",
    )
    background_seed: float = Field(
        0.3, ge=0, le=1, description="a superpixel may seed background if its objectness is below; our choice"
    )
    background_activation: float = Field(
        0.3, ge=0, le=1, description="and if the activations of all tags are below; our choice"
    )
    objectness_weight: float = Field(
        1 / 3, ge=0, le=1, description="share of M in the foreground score, the rest is the diffusion's; our choice"
    )
    background_cut: float = Field(0.45, ge=0, le=1, description="foreground from this score on; our choice")
    ignore_band: float = Field(0.05, ge=0, le=1, description="scores this near to the cut become void; our choice")

    @model_validator(mode="after")
    def _read(self) -> LabelConfig:
        for name, formulation in (("discount", "discounted"), ("iterations", "truncated")):
            if self.formulation != formulation:
                refuse_unread(self, [name], f"formulation: {self.formulation} does not read it")
        if self.superpixel_method == "felzenszwalb":
            refuse_unread(self, ["compactness"], "superpixel_method: felzenszwalb does not read it")
        return self

    def superpixels_of(self, height: int, width: int) -> int:
        """Number aimed at in an image of this size: small objects of a large image are to get some too."""
        grown = round(self.superpixels * max(1.0, height * width / _LARGE))
        return min(grown, max(self.superpixels, self.most_superpixels))


def read_label_settings(path: str | Path) -> LabelConfig:
    """The section `labels` of a YAML file: labels.yaml of a calibration, or the config of a run.

    Raises:
      UserError: no such file, no such section, or a wrong key or value in it.
    """
    values = read_yaml(path, "labels.yaml of a calibration, or a run's config")
    if not isinstance(values, dict) or not isinstance(values.get("labels"), dict):
        raise UserError(f"{path}: has no section `labels`; give labels.yaml of a calibration, or a run's config")
    try:
        return LabelConfig.model_validate(values["labels"])
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise UserError(f"{path}: labels.{key}: {first['msg']} (got {cut(repr(first['input']))})") from None
