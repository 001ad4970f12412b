"""The whole pipeline, read from top to bottom: images and tags in, a gated and pushed segmentation model out."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Literal

from ml_metadata.proto import metadata_store_pb2
from tfx.components import Trainer
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.experimental.conditionals.conditional import Cond
from tfx.orchestration.pipeline import Pipeline

from components.image_example_gen.component import ImageExampleGen
from components.image_example_gen.dataset_config import fingerprint
from components.serving_validator.component import BLESSED
from pipeline import nodes
from pipeline.config.run_config import RunConfig


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
) -> Pipeline:
    """Builds the DAG; reads no file but those that the cache keys of its components are made of.

    `dataset_state` is the examples' key where the dataset is not at hand; by default its fingerprint now.
    """
    state = fingerprint(config.dataset) if dataset_state is None else dataset_state
    categories = config.categories.resolve()
    known, dataset = categories.to_json(), config.dataset.model_dump_json()
    examples = ImageExampleGen(dataset=dataset, categories=known, fingerprint=state).with_id("examples")
    checks = nodes.data_checks(examples)

    labelling = label_weak_images(config, examples, checks[-1], folders) if categories.weak else []
    *_, learned, gate = labelling or [examples, checks[-1]]  # without weak categories: full supervision
    blessed = nodes.latest_blessed()
    begin = blessed if config.warm_start else None
    segmentation = nodes.trainer(config, "segmentation", learned, folders.checkpoints, base=begin)
    segmentation.add_upstream_node(gate)
    served = {"config_hash": training_hash(config)}  # only here: it would spoil the cache of every other trainer
    p_net = nodes.trainer(config, "p_net", learned, folders.checkpoints, base=segmentation, metadata=served)

    # A model that cannot be served is not judged further: blessed, it would become the next run's baseline.
    serving_checks = nodes.serving_checks(config, p_net, examples)
    servable = serving_checks[-1].outputs["blessing"]
    with Cond(servable.future()[0].custom_property(BLESSED) == 1):
        evaluation = nodes.evaluator(config, "evaluator", p_net, examples, gate=True, baseline=blessed)
        pusher = nodes.pusher(config, p_net, evaluation, servable, folders.serving)

    compared = []
    if config.compare_strong_only:
        strong_only = nodes.trainer(config, "strong_only", examples, folders.checkpoints)
        strong_only.add_upstream_node(checks[-1])
        compared = [strong_only, nodes.evaluator(config, "evaluator_strong_only", strong_only, examples, gate=False)]

    return Pipeline(
        pipeline_name=config.name,
        pipeline_root=folders.artifacts,
        components=[
            *(examples, *checks, *labelling, blessed, segmentation, p_net),
            *(*serving_checks, evaluation, pusher, *compared),
        ],
        enable_cache=True,
        metadata_connection_config=metadata_connection,
        beam_pipeline_args=list(config.beam_args),
    )


def label_weak_images(config: RunConfig, examples: BaseNode, data_gate: BaseNode, folders: Folders) -> list[BaseNode]:
    """CAM classifier, L-Net, the labels that both make of tags, and last the gate that reads these."""
    categories = config.categories.resolve()

    def network(name: Literal["cam", "l_net"], source: str | None) -> BaseNode:
        if source:
            return nodes.imported(name, source, categories)
        return nodes.trainer(config, name, examples, folders.checkpoints)

    cam, l_net = network("cam", config.cam_from), network("l_net", config.l_net_from)
    calibration = nodes.calibration(config, examples, cam, folders.checkpoints) if config.calibrate else []
    values = calibration[-1] if calibration else None
    weak_labels = nodes.weak_labels(config, examples, cam, l_net, values, folders.label_store)
    label_gate = nodes.label_gate(config, weak_labels, examples)
    learners = [node for node in (cam, l_net, *calibration[:1]) if isinstance(node, Trainer)]
    for first in learners or [weak_labels]:
        first.add_upstream_node(data_gate)
    return [cam, l_net, *calibration, weak_labels, label_gate]


def training_hash(config: RunConfig) -> str:
    """12 hex digits over what decides the weights: not the gates, not how and where it runs."""
    others = {"gate", "label_gate", "serving_check", "metadata", "push_metrics", "beam_args", "compare_strong_only"}
    kept = config.model_dump(mode="json", exclude=others | {"cluster"})
    del kept["categories"]["added"], kept["dataset"]["max_bad_share"]
    return hashlib.sha256(json.dumps(kept).encode()).hexdigest()[:12]
