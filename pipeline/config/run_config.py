"""The one config file of a run: typed, checked at load, hashed. `dataset.root` and `categories` have no default."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from components.image_example_gen.dataset_config import DatasetConfig, check_dataset
from components.serving_validator.check_config import ServingCheckConfig
from components.weak_label_gate.label_statistics import LabelGateConfig
from components.weak_labels.core.label_config import LabelConfig
from pipeline.config.cluster import ClusterConfig
from trainer.config import (
    P_NET_SIZE,
    AdversarialConfig,
    NetworkConfig,
    StageConfig,
    Strict,
    refuse_unread,
)
from trainer.data.categories import Categories, from_lists, named_split
from trainer.data.category_names import clean_name
from trainer.data.files import cut
from trainer.data.yaml_text import load_yaml, read_yaml
from trainer.errors import UserError, some
from trainer.inference.looks import InferenceConfig, Look, MapsConfig
from trainer.models.weight_files import check_weights

_GONE = {name: f"it is network.{name} now" for name in NetworkConfig.model_fields} | {
    "dataset.format": "every dataset is read in VOC's layout",
    "label_gate.min_image_share": "dataset.max_bad_share is the limit",
}
_INSTEAD = {"steps": "epochs", "epochs": "steps"}  # a stage's length is given by one of them


class CategoriesConfig(Strict):
    """A named split of VOC, or lists of strong and weak names (ids follow `order`, else strong then weak).

    `added` names those that the blessed model does not know yet; they come last, so that the others keep their ids.
    """

    split: str | None = Field(None, description="voc-split-1 to voc-split-4, instead of lists")
    strong: list[str] = Field([], description="names with masks")
    weak: list[str] = Field([], description="names with tags alone; none: full supervision")
    order: list[str] = Field([], description="names in the order of their ids; default: strong, then weak")
    added: list[str] = Field([], description="the gate looks at the other categories alone")

    def resolve(self) -> Categories:
        if self.split is None:
            categories = from_lists(self.strong, self.weak, self.order)
            added = [clean_name(name, "categories.added") for name in self.added]
            last = categories.foreground[max(len(categories.foreground) - len(added), 0) :]
            if set(last) != set(added):
                raise UserError(
                    f"categories.added: {cut(', '.join(added))} must be the last of `order`, so that the others keep "
                    f"the ids that the blessed model knows them by; the last are {', '.join(last)}"
                )
            return categories
        if self.strong or self.weak or self.order or self.added:
            raise UserError("categories: give either `split` or the lists `strong` and `weak`, not both")
        return named_split(self.split)


class GateConfig(Strict):
    """When the Evaluator blesses a model. IoU in 0..1, over the classes that evaluation masks show, but for those in
    `categories.added`.
    """

    min_miou: float = Field(0.3, ge=0, le=1, description="over all classes")
    min_weak_miou: float | None = Field(
        0.2, ge=0, le=1, description="over weak categories; null: no masks to score them with"
    )
    max_miou_drop: float = Field(0.01, ge=0, le=1, description="below the blessed model")
    max_weak_miou_drop: float = Field(0.01, ge=0, le=1, description="the same over weak categories")
    accept: str | None = Field(
        None, min_length=1, description="why a model is pushed whatever its scores; recorded; `run --accept` sets it"
    )

    @model_validator(mode="after")
    def _read(self) -> GateConfig:
        if self.min_weak_miou is None:
            refuse_unread(self, ["max_weak_miou_drop"], "min_weak_miou: null leaves weak categories unjudged")
        return self

    @property
    def minimum(self) -> tuple[float, float | None]:
        """What mIoU and weak mIoU must reach."""
        return (0.0, None) if self.accept else (self.min_miou, self.min_weak_miou)

    @property
    def max_drop(self) -> tuple[float, float]:
        """By how much they may fall below the blessed model's; not asked if the model is accepted as it is."""
        return self.max_miou_drop, self.max_weak_miou_drop


class MetadataConfig(Strict):
    """Where TFX notes what ran and what came out: a file in the work folder, or a server that concurrent runs share."""

    # Not postgresql: with ml-metadata 1.15 it fails at any value that holds a backslash, which escaped JSON does.
    kind: Literal["sqlite", "mysql"] = Field(
        "sqlite", description="sqlite: metadata.sqlite in the work folder; mysql: MariaDB too"
    )
    host: str = Field("127.0.0.1", description="of the server")
    port: int = Field(3306, ge=1, le=65535, description="of the server")
    database: str = Field("transferseg", description="made at the first run if the user may")
    user: str = Field("transferseg", description="who may make tables in it")
    password_env: str = Field("TRANSFERSEG_METADATA_PASSWORD", description="environment variable with the password")

    @model_validator(mode="after")
    def _read(self) -> MetadataConfig:
        if self.kind == "sqlite":
            refuse_unread(self, ["host", "port", "database", "user", "password_env"], "kind: sqlite does not read it")
        return self


class RunConfig(Strict):
    """Everything that decides a run's result."""

    name: str = Field(
        "transferseg", pattern=r"^[a-zA-Z][\w-]{0,99}$", description="of the pipeline and the served model"
    )
    dataset: DatasetConfig
    categories: CategoriesConfig
    network: NetworkConfig = NetworkConfig()
    cam: StageConfig = StageConfig()
    l_net: StageConfig = StageConfig()
    cam_from: str | None = Field(
        None, description="folder of an exported CAM classifier that is used instead of training one"
    )
    l_net_from: str | None = Field(
        None, description="as cam_from, for L-Net; with both, only images that are new get new weak labels"
    )
    warm_start: bool = Field(
        False, description="the segmentation network begins as the latest blessed model, if it knows the same names"
    )
    maps: MapsConfig = MapsConfig()
    labels: LabelConfig = LabelConfig()
    calibrate: bool = Field(
        False,
        description="experimental: search the values of `labels` first, by an L-Net that knows half the strong "
        "categories; +.5, +.1 and -2.2 points of label mIoU on VOC's first three splits",
    )
    label_gate: LabelGateConfig = LabelGateConfig()
    segmentation: StageConfig = StageConfig()
    p_net: AdversarialConfig = AdversarialConfig()
    inference: InferenceConfig = InferenceConfig()
    gate: GateConfig = GateConfig()
    serving_check: ServingCheckConfig = ServingCheckConfig()
    compare_strong_only: bool = Field(False, description="also train and score a model on the strong images alone")
    metadata: MetadataConfig = MetadataConfig()
    push_metrics: str | None = Field(None, description="URL of a Prometheus Pushgateway that gets each run's metrics")
    beam_args: list[str] = Field([], description="Beam options of every data step, e.g. --direct_num_workers=2")
    cluster: ClusterConfig | None = None

    def look(self, stage: Literal["cam", "l_net", "segmentation", "p_net"]) -> Look:
        """How the network of a stage looks at whole pictures: at the scale that it was trained at.

        Raises:
          ValueError: see InferenceConfig.look.
        """
        scale, inference = getattr(self, stage).scale, self.inference
        if stage in ("segmentation", "p_net"):
            return inference.look(self.network.image_size, scale)
        if scale != "native":
            return self.maps.look(self.network.image_size)
        return self.maps.look(inference.tile or inference.size or self.network.image_size, native=True)


def load_config(path: str | Path, overrides: list[str] | None = None) -> RunConfig:
    """Reads a YAML config and applies `key.sub=value` overrides (values are YAML).

    Raises:
      UserError: missing file, broken YAML, unknown key, wrong type, bad value; one line that names all of them.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such config file")
    values = read_yaml(path, "the config of a run")
    if not isinstance(values, dict):
        raise UserError(f"{path}: must be a mapping of keys to values")
    for override in overrides or []:
        _apply(values, override)
    return make_config(values, str(path))


def make_config(values: dict[str, Any], source: str) -> RunConfig:
    """Checks a dict of values and what they mean together; `source` names them in errors."""
    try:
        config = RunConfig.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{source}: {some([_describe(problem) for problem in error.errors()])}") from None
    if config.network.image_size < P_NET_SIZE:
        raise UserError(f"{source}: network.image_size: P-Net pools three times, so it must be {P_NET_SIZE} or more")
    if "native" in (scales := {config.segmentation.scale, config.p_net.scale}) and len(scales) > 1:
        raise UserError(f"{source}: segmentation.scale and p_net.scale: P-Net refines the same network, so both native")
    try:
        config.look("p_net")
    except ValueError as error:
        raise UserError(f"{source}: inference: {error}") from None
    for stage in ("cam", "l_net", "segmentation"):
        if config.network.weights is None and getattr(config, stage).freeze_backbone:
            raise UserError(
                f"{source}: {stage}.freeze_backbone: with network.weights: null the layers that stay as they are would "
                "be random; give weights, or set it to false"
            )
    categories = config.categories.resolve()
    for key in ("cam_from", "l_net_from", "calibrate", "compare_strong_only"):
        if getattr(config, key) and not categories.weak:
            raise UserError(f"{source}: {key}: no category is weak, so nothing is learned from tags; leave it out")
    if len(categories.strong) < 2 and config.calibrate:
        raise UserError(f"{source}: calibrate needs two strong categories: one is made weak to find the values")
    return config


def check_inputs(config: RunConfig) -> None:
    """Looks whether what the config points at is there.

    Raises:
      UserError: a folder, a list or the weights file is missing, or Beam does not take its options.
    """
    check_dataset(config.dataset, config.categories.resolve())
    check_weights(config.network.backbone, config.network.weights)
    if config.beam_args:
        from components.beam_masks.beam_options import check_beam_options  # Beam takes a second to import

        check_beam_options(config.beam_args, "beam_args")


def dump_config(config: RunConfig) -> str:
    """The config as YAML, every default written out; without `gate.accept`, which is said of one model alone."""
    values = json.loads(config.model_dump_json(exclude={"gate": {"accept"}}))
    return yaml.safe_dump(values, sort_keys=False)


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    where = f"--set {cut(override)}"
    if not equals or not key:
        raise UserError(f"{where}: write key=value")
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise UserError(f"{where}: '{parent}' is a value, not a section")
    values[last] = load_yaml(text, where)
    if values[last] is not None:
        values.pop(_INSTEAD.get(last), None)


def _describe(problem: dict[str, Any]) -> str:
    key = cut(".".join(str(part) for part in problem["loc"]) or "config")
    if problem["type"] == "extra_forbidden":
        return f"unknown key '{key}'" + (f"; {_GONE[key]}" if key in _GONE else "")
    if problem["type"] == "missing":
        return f"'{key}' is missing"
    message = cut(problem["msg"].removeprefix("Value error, "), 300)
    return f"'{key}': {message[0].lower()}{message[1:]} (got {cut(repr(problem['input']))})"
