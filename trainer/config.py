"""Typed settings of training: the network and the four training stages. Unknown keys and wrong types are refused."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Backbone = Literal["vgg16", "resnet50", "mobilenet_v2", "efficientnet_lite0", "mobilenet", "tiny"]
Precision = Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"]
Devices = Literal["auto", "one"]
Scale = tuple[float, float] | Literal["native"]


class Strict(BaseModel):
    """Base of every settings class: frozen, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkConfig(Strict):
    """What every network of a run shares."""

    backbone: Backbone = "vgg16"  # vgg16 is the paper's; tiny is for tests and drawn images; see Networks
    weights: str | None = "imagenet"  # a Keras .h5 file, "imagenet" (~/.keras/models, or downloaded) or null (random)
    image_size: int = Field(321, ge=33, description="side of the square network input, 8k+1 (paper: 321)")
    precision: Precision = "auto"  # auto: float16 on GPUs, bfloat16 on CPUs with AMX or AVX-512 for it, else float32
    devices: Devices = "auto"  # auto: every GPU, or the CPU; one: the first of them
    xla: bool = False  # compile forward and backward passes with XLA
    seed: int = Field(0, ge=0)  # of everything that is random

    @field_validator("image_size")
    @classmethod
    def _aligned(cls, value: int) -> int:
        return aligned(value)


def aligned(value: int) -> int:
    """A side in pixels, if it is 8k+1; ValueError otherwise."""
    if value % 8 != 1:
        raise ValueError(f"must be 8k+1 so that logits and pixels align, not {value}; nearest: {value // 8 * 8 + 1}")
    return value


class StageConfig(Strict):
    """One supervised training stage. Defaults are DeepLab-LargeFOV's (method section 2) unless marked open."""

    epochs: float | None = Field(30, gt=0)  # paper: 30 for L-Net and P-Net
    steps: int | None = Field(None, ge=1)  # instead of epochs
    batch_size: int = Field(30, ge=1)  # images an update
    accumulate: int = Field(1, ge=1)  # batches of batch_size/accumulate whose gradients are summed before an update
    optimizer: Literal["sgd", "adam"] = "sgd"  # adam (open): few steps, or random weights; one rate for all layers
    learning_rate: float = Field(1e-3, gt=0)  # at the first step
    schedule: Literal["step", "poly", "constant"] = "step"  # step: /10 at each third; poly: (1 - t)^0.9
    momentum: float = Field(0.9, ge=0, lt=1)  # of sgd
    weight_decay: float = Field(5e-4, ge=0)  # biases are exempt
    head_multiplier: float = Field(10.0, gt=0)  # lr of the last layer's weights; its biases get twice that
    freeze_backbone: bool = False  # open: train only the layers that ImageNet files do not hold
    clip_norm: float | None = Field(None, gt=0)  # open: global gradient norm, null = off
    scale: Scale = (1.0, 1.0)  # open: random rescaling before the crop, 1: longer side = image_size; or native: none
    mirror: bool = True  # every second crop is mirrored
    colour_jitter: float = Field(0.0, ge=0, le=1)  # open: see trainer/colour.py
    checkpoint_every: int = Field(200, ge=1)  # steps

    _scale = field_validator("scale", mode="before")(lambda value: _checked_scale(value))

    @model_validator(mode="after")
    def _one_length(self) -> StageConfig:
        _check_stage(self)
        return self

    def num_steps(self, num_examples: int) -> int:
        """Updates in the whole stage. `steps` wins over `epochs`."""
        return self.steps or max(1, math.ceil(num_examples * (self.epochs or 0) / self.batch_size))


class AdversarialConfig(Strict):
    """P-Net and the joint fine-tuning (Eq. 3-5). "open" values are not in the paper."""

    epochs: float | None = Field(30, gt=0)  # paper: 30
    steps: int | None = Field(None, ge=1)
    batch_size: int = Field(30, ge=1)
    accumulate: int = Field(1, ge=1)  # as in StageConfig
    segmentation_learning_rate: float = Field(1e-5, gt=0)  # the paper's; with few steps 1e-4 does more
    p_net_learning_rate: float = Field(1e-3, gt=0)  # the paper's
    weight: float = Field(0.1, ge=0)  # lambda of Eq. 3, open (Luc et al. 2016 use .1 to 1)
    pretrain: bool = True  # strong-only P-Net pre-training; false is the paper's ablation
    pretrain_epochs: float = Field(2, gt=0)  # open
    p_net_steps: int = Field(1, ge=1)  # open: P-Net updates per segmentation update
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)  # open: one-sided, on the ground-truth target
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)
    head_multiplier: float = Field(1.0, gt=0)  # open: the paper gives one rate for the whole network
    clip_norm: float | None = Field(None, gt=0)
    scale: Scale = (1.0, 1.0)
    mirror: bool = True
    colour_jitter: float = Field(0.0, ge=0, le=1)
    checkpoint_every: int = Field(200, ge=1)

    _scale = field_validator("scale", mode="before")(lambda value: _checked_scale(value))

    @model_validator(mode="after")
    def _one_length(self) -> AdversarialConfig:
        _check_stage(self)
        return self

    def num_steps(self, num_examples: int) -> int:
        return self.steps or max(1, math.ceil(num_examples * (self.epochs or 0) / self.batch_size))

    def num_pretrain_steps(self, num_strong: int) -> int:
        return max(1, math.ceil(num_strong * self.pretrain_epochs / self.batch_size)) if self.pretrain else 0


def _check_stage(stage: StageConfig | AdversarialConfig) -> None:
    if stage.epochs is None and stage.steps is None:
        raise ValueError("give epochs or steps")
    if stage.batch_size % stage.accumulate:
        raise ValueError(f"accumulate ({stage.accumulate}) must divide batch_size ({stage.batch_size})")


def _checked_scale(value: Any) -> Any:
    """Here, so that a mistake is one message, not one for each kind of value."""
    try:
        low, high = (1.0, 1.0) if value == "native" else map(float, value)
    except (TypeError, ValueError):
        low = high = math.nan
    if not 0 < low <= high < math.inf:
        raise ValueError("must be two positive numbers, smaller first, or native")
    return value
