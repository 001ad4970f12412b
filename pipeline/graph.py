"""The whole pipeline, read from top to bottom: images and tags in, a gated and pushed segmentation model out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow_data_validation as tfdv
from ml_metadata.proto import metadata_store_pb2
from tfx import v1 as tfx
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.types import BaseChannel
from tfx.utils import path_utils

from components.data_gate.component import DataGate
from components.image_example_gen.component import ImageExampleGen
from components.image_example_gen.settings import fingerprint
from components.label_calibration.component import LabelCalibration
from components.miou.eval_config import make_eval_config
from components.serving_validator.component import ServingValidator
from components.serving_validator.executor import BLESSED
from components.weak_label_validator.component import WeakLabelGate
from components.weak_labels.component import WeakLabels
from pipeline.config import RunConfig
from trainer import features
from trainer.categories import Categories
from trainer.config import Strict
from trainer.data.pictures import MAX_PIXELS
from trainer.errors import UserError

_ALL, _STRONG = ["strong", "weak"], ["strong"]


@dataclass(frozen=True)
class Folders:
    """Folders of a run: artifacts, training checkpoints (to resume from), TF Serving's model base folder, and weak
    labels that later runs need not make again."""

    artifacts: str
    checkpoints: str
    serving: str
    label_store: str


def create_pipeline(
    config: RunConfig,
    folders: Folders,
    metadata_connection: metadata_store_pb2.ConnectionConfig | None,
    dataset_state: str | None = None,
) -> tfx.dsl.Pipeline:
    """Builds the DAG; touches no file but the dataset's listing (for the cache key of the examples).

    `dataset_state` is that key where the dataset is not at hand; by default its fingerprint now.
    """
    categories = config.categories.resolve()
    state = fingerprint(config.dataset) if dataset_state is None else dataset_state

    def trainer(
        name: str,
        run_fn: str,
        examples: BaseChannel,
        splits: list[str],
        stage: Strict,
        base_model=None,
        metadata=None,
        categories=categories,
    ) -> tfx.components.Trainer:
        return tfx.components.Trainer(
            run_fn=f"components.trainers.run_fns.{run_fn}",
            examples=examples,
            base_model=base_model.outputs["model"] if base_model else None,
            train_args=tfx.proto.TrainArgs(splits=splits),
            eval_args=tfx.proto.EvalArgs(splits=_STRONG),  # unused: models are scored by the Evaluator alone
            custom_config=trainer_config(config, run_fn, stage, folders.checkpoints, categories, metadata),
        ).with_id(name)

    def evaluator(name: str, model: BaseComponent, baseline=None, gated: bool = False) -> tfx.components.Evaluator:
        (least, least_weak), (drop, drop_weak) = config.gate.minimum, config.gate.max_drop
        minimum, drops = {"known_miou": least}, {"known_miou": drop}
        if least_weak is not None and set(categories.weak) - set(config.categories.added):
            minimum["known_weak_miou"], drops["known_weak_miou"] = least_weak, drop_weak
        return tfx.components.Evaluator(
            examples=examples.outputs["examples"],
            model=model.outputs["model"],
            baseline_model=baseline.outputs["model"] if baseline else None,
            eval_config=make_eval_config(
                categories,
                minimum=minimum if gated else None,
                max_drop=drops if gated else None,
                added=config.categories.added,
            ),
        ).with_id(name)

    examples = ImageExampleGen(config.dataset, categories, state).with_id("examples")
    statistics = tfx.components.StatisticsGen(
        examples=examples.outputs["examples"],
        # Encoded images and masks are opaque bytes: no statistics beyond their presence are worth their cost.
        stats_options=tfdv.StatsOptions(feature_allowlist=[features.HEIGHT, features.WIDTH, features.TAGS]),
    ).with_id("statistics")
    # A schema inferred from the weak split would accept whatever faults it has; eval shows untagged images too.
    schema = tfx.components.SchemaGen(
        statistics=statistics.outputs["statistics"], infer_feature_shape=False, exclude_splits=["weak"]
    ).with_id("schema")
    anomalies = tfx.components.ExampleValidator(
        statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"]
    ).with_id("anomalies")
    data_gate = DataGate(examples=examples.outputs["examples"], anomalies=anomalies.outputs["anomalies"]).with_id(
        "data_gate"
    )

    learners = []
    if config.cam_from:
        cam = _imported("cam", config.cam_from)
    else:
        cam = trainer("cam", "cam", examples.outputs["examples"], _ALL, config.cam)
        learners.append(cam)
    if config.l_net_from:
        l_net = _imported("l_net", config.l_net_from)
    else:
        l_net = trainer("l_net", "l_net", examples.outputs["examples"], _STRONG, config.l_net)
        learners.append(l_net)
    calibration = None
    if config.calibrate:
        rehearsed = categories.rehearsal()
        rehearsal = trainer(
            "l_net_rehearsal", "l_net", examples.outputs["examples"], _STRONG, config.l_net, categories=rehearsed
        )
        learners.append(rehearsal)
        calibration = LabelCalibration(
            examples=examples.outputs["examples"],
            cam=cam.outputs["model"],
            l_net=rehearsal.outputs["model"],
            settings=config.labels,
        ).with_id("calibration")
    weak_labels = WeakLabels(
        examples=examples.outputs["examples"],
        cam=cam.outputs["model"],
        l_net=l_net.outputs["model"],
        settings=config.labels,
        categories=categories,
        max_dead_share=config.dataset.max_bad_share,
        calibration=calibration.outputs["calibration"] if calibration else None,
        store=folders.label_store,
    ).with_id("weak_labels")
    labelled = weak_labels.outputs["examples"]
    label_gate = WeakLabelGate(
        examples=labelled,
        unlabelled_examples=examples.outputs["examples"],
        categories=categories,
        settings=config.label_gate,
    ).with_id("label_gate")
    blessed = tfx.dsl.Resolver(
        strategy_class=tfx.dsl.experimental.LatestBlessedModelStrategy,
        model=tfx.dsl.Channel(type=tfx.types.standard_artifacts.Model),
        model_blessing=tfx.dsl.Channel(type=tfx.types.standard_artifacts.ModelBlessing),
    ).with_id("latest_blessed")
    segmentation = trainer(
        "segmentation",
        "segmentation",
        labelled,
        _ALL,
        config.segmentation,
        base_model=blessed if config.warm_start else None,
    )
    segmentation.add_upstream_node(label_gate)
    served = {"config_hash": training_hash(config)}  # only here: it would spoil the cache of every other trainer
    p_net = trainer("p_net", "p_net", labelled, _ALL, config.p_net, base_model=segmentation, metadata=served)

    # A model that cannot be served is not judged further: blessed, it would become the next run's baseline.
    docker_check = _docker_check(p_net, config.serving_check.docker_tag)
    serving_check = ServingValidator(
        model=p_net.outputs["model"],
        examples=examples.outputs["examples"],
        categories=categories,
        settings=config.serving_check,
        infra_blessing=docker_check.outputs["blessing"] if docker_check else None,
    ).with_id("serving_check")
    infra_blessing = serving_check.outputs["blessing"]
    with tfx.dsl.Cond(infra_blessing.future()[0].custom_property(BLESSED) == 1):
        evaluation = evaluator("evaluator", p_net, baseline=blessed, gated=True)
        pusher = tfx.components.Pusher(
            model=p_net.outputs["model"],
            model_blessing=evaluation.outputs["blessing"],
            infra_blessing=infra_blessing,
            push_destination=tfx.proto.PushDestination(
                filesystem=tfx.proto.PushDestination.Filesystem(base_directory=folders.serving)
            ),
            custom_config={"accepted_because": config.gate.accept} if config.gate.accept else None,  # for the record
        ).with_id("pusher")

    components = [examples, statistics, schema, anomalies, data_gate, cam, l_net]
    components += [weak_labels, label_gate, segmentation, p_net, blessed, serving_check, evaluation, pusher]
    if docker_check:
        components.append(docker_check)
    if calibration:
        components += [rehearsal, calibration]
    if config.compare_strong_only:
        strong_only = trainer("strong_only", "segmentation", examples.outputs["examples"], _STRONG, config.segmentation)
        learners.append(strong_only)
        components += [strong_only, evaluator("evaluator_strong_only", strong_only)]
    for first in learners or [weak_labels]:
        first.add_upstream_node(data_gate)
    return tfx.dsl.Pipeline(
        pipeline_name=config.name,
        pipeline_root=folders.artifacts,
        components=components,
        enable_cache=True,
        metadata_connection_config=metadata_connection,
        beam_pipeline_args=list(config.beam_args),
    )


def trainer_config(
    config: RunConfig,
    run_fn: str,
    stage: Strict,
    checkpoints: str,
    categories: Categories | None = None,
    metadata: dict[str, str] | None = None,
) -> dict[str, Any]:
    """A run_fn's `custom_config` (see components.trainers.run_fns)."""
    return {
        "network": config.network.model_dump(mode="json"),
        "stage": stage.model_dump(mode="json"),
        "look": config.look(run_fn).model_dump(mode="json"),
        "max_pixels": config.inference.max_pixels if run_fn in ("segmentation", "p_net") else MAX_PIXELS,
        "categories": (categories or config.categories.resolve()).to_dict(),
        "checkpoint_root": checkpoints,
        "metadata": {"pipeline": config.name, **(metadata or {})},
    }


def _docker_check(model: BaseComponent, tag: str | None) -> tfx.components.InfraValidator | None:
    """TFX's own check: does tensorflow/serving:<tag> in docker load the model?"""
    if tag is None:
        return None
    serving_spec = tfx.proto.ServingSpec(
        tensorflow_serving=tfx.proto.TensorFlowServing(tags=[tag]), local_docker=tfx.proto.LocalDockerConfig()
    )
    return tfx.components.InfraValidator(model=model.outputs["model"], serving_spec=serving_spec).with_id(
        "docker_check"
    )


def _imported(name: str, path: str) -> tfx.dsl.Importer:
    """A network of an earlier run, in place of the Trainer `name`."""
    return tfx.dsl.Importer(
        source_uri=exported_folder(f"{name}_from", path),
        artifact_type=tfx.types.standard_artifacts.Model,
        output_key="model",
    ).with_id(name)


def exported_folder(key: str, path: str) -> str:
    """The folder of a Trainer's model artifact, of an exported model's path: the artifact's or the SavedModel's own.

    A URI is taken as it is: the orchestrator that imports it finds out whether it is there.

    Raises:
      UserError: no SavedModel there; names the key or option that gave the path.
    """
    if "://" in path:
        return path
    folder = Path(path).parent if (Path(path) / "saved_model.pb").is_file() else Path(path)
    if not Path(path_utils.serving_model_path(str(folder)), "saved_model.pb").is_file():
        raise UserError(
            f"{key}: no exported model in {path}; give <workdir>/artifacts/<component>/model/<n> of an earlier run"
        )
    return str(folder.resolve())


def training_hash(config: RunConfig) -> str:
    """12 hex digits over what decides the weights: not the gates, not how and where it runs."""
    others = {"gate", "label_gate", "serving_check", "metadata", "push_metrics", "beam_args", "compare_strong_only"}
    others.add("cluster")
    kept = config.model_dump_json(exclude=others)
    return hashlib.sha256(kept.encode()).hexdigest()[:12]
