"""What each node of the graph is made of; `pipeline.graph` says how they hang together."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import tensorflow_data_validation as tfdv
from tfx.components import (
    Evaluator,
    ExampleValidator,
    InfraValidator,
    SchemaGen,
    StatisticsGen,
    Trainer,
)
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.common.importer import Importer
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy
from tfx.proto import infra_validator_pb2, pusher_pb2, trainer_pb2
from tfx.types import BaseChannel, Channel, standard_artifacts
from tfx.utils import path_utils

from components.beam_masks.job import model_digest
from components.data_gate.component import DataGate
from components.image_example_gen.records import STRONG, WEAK, splits_of
from components.label_calibration.component import LabelCalibration
from components.mean_iou.eval_config import make_eval_config
from components.pusher.component import Pusher
from components.serving_validator.component import ServingValidator
from components.weak_label_gate.component import WeakLabelGate
from components.weak_labels.component import WeakLabels
from pipeline.config.run_config import RunConfig
from serving.export import read_categories
from serving.saved_model import find_saved_model
from trainer.data import features
from trainer.data.categories import Categories
from trainer.data.pictures import MAX_PIXELS
from trainer.errors import UserError
from trainer.models.weight_files import content_of

# Trainer -> (the run_fn and section of the config that it follows, splits it reads)
TRAINERS = {
    "cam": ("cam", [STRONG, WEAK]),
    "l_net": ("l_net", [STRONG]),
    "l_net_rehearsal": ("l_net", [STRONG]),
    "segmentation": ("segmentation", [STRONG, WEAK]),
    "strong_only": ("segmentation", [STRONG]),
    "p_net": ("p_net", [STRONG, WEAK]),
}


def trained_splits(name: str, categories: Categories) -> list[str]:
    """The splits that one of TRAINERS reads of a dataset with these categories."""
    return [split for split in TRAINERS[name][1] if split in splits_of(categories)]


def data_checks(examples: BaseNode) -> list[BaseNode]:
    """Statistics, schema and anomalies, and last the gate that reads them."""
    statistics = StatisticsGen(
        examples=examples.outputs["examples"],
        # Encoded images and masks are opaque bytes: no statistics beyond their presence are worth their cost.
        stats_options=tfdv.StatsOptions(feature_allowlist=[features.HEIGHT, features.WIDTH, features.TAGS]),
    ).with_id("statistics")
    # A schema inferred from the weak split would accept whatever faults it has; eval shows untagged images too.
    schema = SchemaGen(
        statistics=statistics.outputs["statistics"], infer_feature_shape=False, exclude_splits=[WEAK]
    ).with_id("schema")
    anomalies = ExampleValidator(statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"]).with_id(
        "anomalies"
    )
    gate = DataGate(examples=examples.outputs["examples"], anomalies=anomalies.outputs["anomalies"])
    return [statistics, schema, anomalies, gate.with_id("data_gate")]


def trainer(
    config: RunConfig,
    name: str,
    examples: BaseNode,
    checkpoints: str,
    *,
    base: BaseNode | None = None,
    categories: Categories | None = None,
    metadata: dict[str, str] | None = None,
) -> Trainer:
    """One of TRAINERS.

    Args:
      checkpoints: folder to resume from.
      base: whose model it begins from.
      categories: other ones than the config's.
      metadata: more that the model's assets say; it is part of the cache's key.
    """
    section, _ = TRAINERS[name]
    splits = trained_splits(name, config.categories.resolve())
    return Trainer(
        run_fn=f"components.trainers.run_fns.{section}",
        examples=examples.outputs["examples"],
        base_model=base.outputs["model"] if base else None,
        train_args=trainer_pb2.TrainArgs(splits=splits),
        eval_args=trainer_pb2.EvalArgs(splits=[STRONG]),  # unused: models are scored by the Evaluator alone
        custom_config=trainer_config(config, section, checkpoints, categories, metadata),
    ).with_id(name)


def trainer_config(
    config: RunConfig,
    section: str,
    checkpoints: str,
    categories: Categories | None = None,
    metadata: dict[str, str] | None = None,
) -> dict[str, Any]:
    """A run_fn's `custom_config` (see components.trainers.run_fns)."""
    return {
        "network": config.network.model_dump(mode="json"),
        "weights_content": content_of(config.network.weights),
        "stage": getattr(config, section).model_dump(mode="json"),
        "look": config.look(section).model_dump(mode="json"),
        "max_pixels": config.inference.max_pixels if section in ("segmentation", "p_net") else MAX_PIXELS,
        "categories": (categories or config.categories.resolve()).to_dict(),
        "checkpoint_root": checkpoints,
        "metadata": {"pipeline": config.name, **(metadata or {})},
    }


def imported(name: Literal["cam", "l_net"], path: str, categories: Categories) -> Importer:
    """A network of an earlier run, in place of the Trainer `name`.

    Raises:
      UserError: no such model, or, of the CAM classifier, it knows other categories.
    """
    folder, state = exported_folder(f"{name}_from", path), None
    if "://" not in folder:
        model = path_utils.serving_model_path(folder)
        state = {"content": model_digest(model)}
        known = read_categories(model, name).foreground
        if name == "cam" and known != categories.foreground:
            raise UserError(
                f"cam_from: {path} knows {', '.join(known)}; this run has {', '.join(categories.foreground)}: names "
                "and order must be the same"
            )
    return Importer(
        source_uri=folder,
        artifact_type=standard_artifacts.Model,
        custom_properties=state,  # another network in the same folder is another artifact
        output_key="model",
    ).with_id(name)


def calibration(config: RunConfig, examples: BaseNode, cam: BaseNode, checkpoints: str) -> list[BaseNode]:
    """An L-Net that knows half the strong categories, and the values of `labels` that fit it best."""
    rehearsed = config.categories.resolve().rehearsal()
    rehearsal = trainer(config, "l_net_rehearsal", examples, checkpoints, categories=rehearsed)
    search = LabelCalibration(
        examples=examples.outputs["examples"],
        cam=cam.outputs["model"],
        l_net=rehearsal.outputs["model"],
        settings=config.labels.model_dump_json(),
    ).with_id("calibration")
    return [rehearsal, search]


def weak_labels(
    config: RunConfig, examples: BaseNode, cam: BaseNode, l_net: BaseNode, calibration: BaseNode | None, store: str
) -> BaseNode:
    return WeakLabels(
        unlabelled_examples=examples.outputs["examples"],
        cam=cam.outputs["model"],
        l_net=l_net.outputs["model"],
        settings=config.labels.model_dump_json(),
        categories=config.categories.resolve().to_json(),
        max_dead_share=config.dataset.max_bad_share,
        calibration=calibration.outputs["calibration"] if calibration else None,
        store=store,
    ).with_id("weak_labels")


def label_gate(config: RunConfig, labelled: BaseNode, examples: BaseNode) -> BaseNode:
    return WeakLabelGate(
        examples=labelled.outputs["examples"],
        unlabelled_examples=examples.outputs["examples"],
        categories=config.categories.resolve().to_json(),
        settings=config.label_gate.model_dump_json(),
    ).with_id("label_gate")


def latest_blessed() -> Resolver:
    return Resolver(
        strategy_class=LatestBlessedModelStrategy,
        model=Channel(type=standard_artifacts.Model),
        model_blessing=Channel(type=standard_artifacts.ModelBlessing),
    ).with_id("latest_blessed")


def serving_checks(config: RunConfig, model: BaseNode, examples: BaseNode) -> list[BaseNode]:
    """Our own check; before it, where there is a docker engine, TFX's: does tensorflow/serving:<tag> load the model?"""
    tag, docker = config.serving_check.docker_tag, None
    if tag is not None:
        serving_spec = infra_validator_pb2.ServingSpec(
            tensorflow_serving=infra_validator_pb2.TensorFlowServing(tags=[tag]),
            local_docker=infra_validator_pb2.LocalDockerConfig(),
        )
        docker = InfraValidator(model=model.outputs["model"], serving_spec=serving_spec)
        docker = docker.with_id("docker_check")
    check = ServingValidator(
        model=model.outputs["model"],
        examples=examples.outputs["examples"],
        categories=config.categories.resolve().to_json(),
        settings=config.serving_check.model_dump_json(),
        infra_blessing=docker.outputs["blessing"] if docker else None,
    ).with_id("serving_check")
    return [docker, check] if docker else [check]


def evaluator(
    config: RunConfig, name: str, model: BaseNode, examples: BaseNode, *, gate: bool, baseline: BaseNode | None = None
) -> Evaluator:
    """Scores a model on the eval split; with `gate` by the config's limits, beside the baseline."""
    categories = config.categories.resolve()
    (least, least_weak), (drop, drop_weak) = config.gate.minimum, config.gate.max_drop
    minimum, drops = {"known_miou": least}, {"known_miou": drop}
    if least_weak is not None and set(categories.weak) - set(config.categories.added):
        minimum["known_weak_miou"], drops["known_weak_miou"] = least_weak, drop_weak
    return Evaluator(
        examples=examples.outputs["examples"],
        model=model.outputs["model"],
        baseline_model=baseline.outputs["model"] if baseline else None,
        eval_config=make_eval_config(
            categories,
            minimum=minimum if gate else None,
            max_drop=drops if gate and not config.gate.accept else None,
            added=config.categories.added,
        ),
    ).with_id(name)


def pusher(
    config: RunConfig, model: BaseNode, evaluation: BaseNode, infra_blessing: BaseChannel, folder: str
) -> Pusher:
    return Pusher(
        model=model.outputs["model"],
        model_blessing=evaluation.outputs["blessing"],
        infra_blessing=infra_blessing,
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=folder)
        ),
        custom_config={"accepted_because": config.gate.accept} if config.gate.accept else None,  # for the record
    ).with_id("pusher")


def exported_folder(key: str, path: str) -> str:
    """The folder of a Trainer's model artifact, of an exported model's path: the artifact's, the SavedModel's own, or a
    folder of artifacts, of which the newest is taken.

    A URI is taken as it is: the orchestrator that imports it finds out whether it is there.

    Raises:
      UserError: no SavedModel there; names the key or option that gave the path.
    """
    if "://" in path:
        return path
    try:
        model = find_saved_model(path)
    except UserError:
        model = None
    if model is None or model != Path(path_utils.serving_model_path(str(model.parent))):
        raise UserError(
            f"{key}: no exported model in {path}; give <workdir>/artifacts/<component>/model of an earlier run, or one "
            "of the numbered folders in it"
        )
    return str(model.parent.resolve())
