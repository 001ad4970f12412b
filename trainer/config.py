"""Typed settings of training: the network and the four training stages. Unknown keys and wrong types are refused."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from trainer.errors import UserError

Backbone = Literal["vgg16", "resnet50", "mobilenet_v2", "efficientnet_lite0", "mobilenet", "tiny"]
Precision = Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"]
Devices = Literal["auto", "one"]
Scale = tuple[float, float] | Literal["native"]
STRIDE = 8  # pixels of the input from one grid cell of a network to the next
P_NET_SIZE = 57  # of images, at least: 8 x 8 cells, of which P-Net's three poolings leave one
_OF_SGD = ("momentum", "weight_decay", "head_multiplier")


S = TypeVar("S", bound="Strict")


class Strict(BaseModel):
    """Base of every settings class: frozen, no unknown keys, no number that is infinite, or yes or no."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def model_copy(self: S, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> S:
        """pydantic's, which would take keys that are no fields and forget them."""
        if unknown := set(update or ()) - set(self.model_fields):
            raise TypeError(f"{type(self).__name__} has no fields {sorted(unknown)}")
        return super().model_copy(update=update, deep=deep)

    @field_validator("*", mode="before")
    @classmethod
    def _no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """pydantic takes true for 1."""
        kinds = get_args(annotation := cls.model_fields[info.field_name].annotation) or (annotation,)
        if isinstance(value, bool) and bool not in kinds and (int in kinds or float in kinds):
            raise ValueError("must be a number, not yes or no")
        return value


def refuse_unread(settings: Strict, names: Sequence[str], why: str) -> None:
    """Raises ValueError if one of the keys has another value than its default: nothing would come of it."""
    for name in names:
        if getattr(settings, name) != settings.model_fields[name].default:
            raise ValueError(f"{name}: {why}; leave it out")


def instance_of(kind: type[S], given: object, name: str) -> S:
    """`given`; UserError if it is not of that class."""
    if not isinstance(given, kind):
        raise UserError(f"{name}: must be a {kind.__name__}, not {type(given).__name__}: {kind.__name__}(...)")
    return given


class NetworkConfig(Strict):
    """What every network of a run shares."""

    backbone: Backbone = Field(
        "vgg16", description="vgg16 is the paper's; tiny is for tests and drawn images; see Networks"
    )
    weights: str | None = Field(
        "imagenet", description='a Keras .h5 file, "imagenet" (~/.keras/models, or downloaded) or null (random)'
    )
    image_size: int = Field(321, ge=33, description="side of the square network input, 8k+1 (paper: 321)")
    precision: Precision = Field(
        "auto", description="auto: float16 on GPUs, bfloat16 on CPUs with AMX or AVX-512 for it, else float32"
    )
    devices: Devices = Field("auto", description="auto: every GPU, or the CPU; one: the first of them")
    xla: Literal["auto"] | bool = Field(
        "auto",
        description="compile each update into one program; auto: on GPUs from 1,000 updates on, but for vgg16",
    )
    seed: int = Field(0, ge=0, description="of everything that is random")

    @field_validator("image_size")
    @classmethod
    def _aligned(cls, value: int) -> int:
        return aligned(value)


def aligned(value: int) -> int:
    """A side in pixels, if it is 8k+1; ValueError otherwise."""
    if value % STRIDE != 1:
        nearest = value // STRIDE * STRIDE + 1
        raise ValueError(f"must be {STRIDE}k+1 so that logits and pixels align, not {value}; nearest: {nearest}")
    return value


class TrainingConfig(Strict):
    """What every training stage shares. Defaults are DeepLab-LargeFOV's (method section 2) unless called our choice."""

    epochs: float | None = Field(30, gt=0, description="paper: 30 for L-Net and P-Net")
    steps: int | None = Field(None, ge=1, description="instead of epochs")
    batch_size: int = Field(30, ge=1, description="images an update")
    accumulate: int = Field(
        1, ge=1, description="batches of batch_size/accumulate whose gradients are summed before an update"
    )
    weight_decay: float = Field(5e-4, ge=0, description="of sgd; biases are exempt")
    clip_norm: float | None = Field(None, gt=0, description="global gradient norm, null = off; our choice")
    scale: Scale = Field(
        (1.0, 1.0),
        description="random rescaling before the crop, 1: longer side = image_size; or native: none; our choice",
    )
    mirror: bool = Field(True, description="every second crop is mirrored")
    colour_jitter: float = Field(0.0, ge=0, le=1, description="see trainer/data/colour.py; our choice")
    checkpoint_every: int = Field(200, ge=1, description="steps")

    _scale = field_validator("scale", mode="before")(lambda value: _checked_scale(value))

    @model_validator(mode="before")
    @classmethod
    def _steps_alone(cls, values: Any) -> Any:
        """With steps, epochs have no default."""
        if isinstance(values, dict) and values.get("steps") is not None:
            return {"epochs": None, **values}
        return values

    @model_validator(mode="after")
    def _one_length(self) -> TrainingConfig:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give epochs or steps, one of them")
        if self.batch_size % self.accumulate:
            raise ValueError(f"accumulate ({self.accumulate}) must divide batch_size ({self.batch_size})")
        return self

    @property
    def length(self) -> str:
        """In words."""
        return f"{self.steps} steps" if self.steps else f"{self.epochs:g} epochs"

    def num_steps(self, num_examples: int) -> int:
        """Updates in the whole stage."""
        return self.steps or max(1, math.ceil(num_examples * (self.epochs or 0) / self.batch_size))


class StageConfig(TrainingConfig):
    """One supervised training stage. Defaults are DeepLab-LargeFOV's (method section 2) unless called our choice."""

    optimizer: Literal["sgd", "adam"] = Field(
        "sgd", description="adam: for few steps, or random weights, with one rate for all layers; our choice"
    )
    learning_rate: float = Field(1e-3, gt=0, description="at the first step")
    schedule: Literal["step", "poly", "constant"] = Field(
        "step", description="step: /10 at each third; poly: (1 - t)^0.9"
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd")
    head_multiplier: float = Field(
        10.0, gt=0, description="of sgd: lr of the last layer's weights; its biases get twice that"
    )
    freeze_backbone: bool = Field(
        False, description="train only the layers that ImageNet files do not hold; our choice"
    )

    @model_validator(mode="after")
    def _read(self) -> StageConfig:
        if self.optimizer == "adam":
            refuse_unread(self, _OF_SGD, "optimizer: adam does not read it")
        return self


class AdversarialConfig(TrainingConfig):
    """P-Net and the joint fine-tuning (Eq. 3-5)."""

    segmentation_learning_rate: float = Field(1e-5, gt=0, description="the paper's; with few steps 1e-4 does more")
    p_net_learning_rate: float = Field(1e-3, gt=0, description="the paper's")
    weight: float = Field(0.1, ge=0, description="lambda of Eq. 3; our choice (Luc et al. 2016 use .1 to 1)")
    pretrain: bool = Field(True, description="strong-only P-Net pre-training; false is the paper's ablation")
    pretrain_epochs: float = Field(2, gt=0, description="our choice")
    p_net_steps: int = Field(1, ge=1, description="P-Net updates per segmentation update; our choice")
    label_smoothing: float = Field(0.0, ge=0, lt=0.5, description="one-sided, on the ground-truth target; our choice")
    momentum: float = Field(0.9, ge=0, lt=1, description="of both networks' sgd")
    head_multiplier: float = Field(
        1.0, gt=0, description="as in a stage; our choice, as the paper gives one rate for the whole network"
    )

    @model_validator(mode="after")
    def _of_pretraining(self) -> AdversarialConfig:
        if not self.pretrain:
            refuse_unread(self, ["pretrain_epochs"], "pretrain: false does not read it")
        return self

    def num_pretrain_steps(self, num_strong: int) -> int:
        return max(1, math.ceil(num_strong * self.pretrain_epochs / self.batch_size)) if self.pretrain else 0


def _checked_scale(value: Any) -> Any:
    """Here, so that a mistake is one message, not one for each kind of value."""
    try:
        low, high = (1.0, 1.0) if value == "native" else map(float, value)
    except (TypeError, ValueError):
        low = high = math.nan
    if not 0 < low <= high < math.inf:
        raise ValueError("must be two positive numbers, smaller first, or native")
    return value
