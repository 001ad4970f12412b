"""Compiles the pipeline, offline, for Vertex AI Pipelines and for Kubeflow Pipelines 2 on Kubernetes."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import dataclass
from pathlib import Path

import yaml
from kfp.pipeline_spec import pipeline_spec_pb2
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner import KubeflowV2DagRunner, KubeflowV2DagRunnerConfig
from tfx.orchestration.pipeline import Pipeline

from components.image_example_gen.dataset_config import check_dataset, fingerprint
from pipeline.config.cluster import DEFAULT, ClusterConfig, Resources
from pipeline.config.run_config import RunConfig
from pipeline.graph import Folders, create_pipeline
from trainer.errors import UserError

_COMMAND = ["python", "-m", "pipeline.runners.step"]
_RETRIES = 5  # our choice: of a step on a spot node


@dataclass(frozen=True)
class Compiled:
    """The files that were written, and what a person should know about them."""

    files: list[str]
    notes: list[str]


def compile_pipeline(config: RunConfig, workdir: Path) -> Compiled:
    """Writes <name>.kfp.yaml and, for a root on gs://, <name>.vertex.json into `workdir`. Touches no network.

    Raises:
      UserError: the section `cluster` is missing or does not fit the pipeline, a path is of this machine alone, or the
        dataset is here and cannot be read.
    """
    settings = config.cluster
    if settings is None:
        raise UserError("cluster: missing; --runner kubeflow needs cluster.image and cluster.root, see docs/cluster.md")
    _check(config, settings)
    data_is_here, notes = Path(config.dataset.root).is_dir(), []
    if data_is_here:
        check_dataset(config.dataset, config.categories.resolve())
    else:
        notes.append(f"dataset.root: no folder {config.dataset.root} here; every run will read the dataset anew")
    folders = Folders(
        artifacts=settings.root,
        checkpoints=f"{settings.root}/checkpoints",
        serving=f"{settings.root}/serving/{config.name}",
        label_store=f"{settings.root}/label_store",
    )
    state = fingerprint(config.dataset) if data_is_here and not settings.reread else ""
    pipeline = create_pipeline(config, folders, metadata_connection=None, dataset_state=state)
    resources = _request_resources(pipeline, settings)

    runner = KubeflowV2DagRunner(
        KubeflowV2DagRunnerConfig(default_image=settings.image, default_commands=_COMMAND, use_pipeline_spec_2_1=True)
    )
    job = runner.run(pipeline, write_out=False)
    tasks = job["pipelineSpec"]["root"]["dag"]["tasks"]
    if not state:  # nothing in the cache's key would change with the files
        tasks["examples"]["cachingOptions"] = {"enableCache": False}
    for name, wanted in resources.items():
        if wanted.spot:
            tasks[name]["retryPolicy"] = {"maxRetryCount": _RETRIES}

    workdir.mkdir(parents=True, exist_ok=True)
    files = [workdir / f"{config.name}.kfp.yaml"]
    documents = [_for_kubernetes(job["pipelineSpec"], settings), _platforms(resources, settings)]
    files[0].write_text(yaml.safe_dump_all(documents, sort_keys=True))
    lost = "only the gate's minima hold there" + (" and no training starts warm" if config.warm_start else "")
    notes.append(f"Kubeflow: no task looks up the latest blessed model, so {lost}")
    if settings.on_bucket:
        files.append(workdir / f"{config.name}.vertex.json")
        files[1].write_text(json.dumps(job, indent=1, sort_keys=True))
        if any(wanted.spot for wanted in resources.values()):
            notes.append("Vertex: spot holds on Kubernetes alone; Vertex' pipeline spec has no key for it")
    return Compiled([str(file) for file in files], notes)


def _check(config: RunConfig, settings: ClusterConfig) -> None:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,127}", config.name):
        raise UserError(f"name: Kubeflow allows lower-case letters, digits and -, not '{config.name}'")
    if config.serving_check.docker_tag:
        raise UserError("serving_check.docker_tag: TFX's docker check does not run on Kubeflow; set it to null")
    root, mounted = settings.root, [folder.rstrip("/") for folder in settings.volumes.values()]
    if not settings.on_bucket and not any(root == folder or root.startswith(f"{folder}/") for folder in mounted):
        raise UserError(
            f"cluster.root: {root} is on none of cluster.volumes ({', '.join(mounted) or 'none given'}): the "
            "pushed model would be lost with its container; give a folder on one of them, or gs://bucket/folder"
        )
    for key, path in (("dataset.root", config.dataset.root), ("network.weights", config.network.weights)):
        if path not in (None, "imagenet") and not path.startswith("/") and "://" not in path:
            raise UserError(f"{key}: {path} is no absolute path; give the one at which the containers see it")
    for key, path in (("cam_from", config.cam_from), ("l_net_from", config.l_net_from)):
        if path and "://" not in path:
            raise UserError(f"{key}: {path} is no URI; give the one of an earlier run's model artifact")


def _request_resources(pipeline: Pipeline, settings: ClusterConfig) -> dict[str, Resources]:
    """Attaches to every component what it asks for; component -> that."""
    components = {node.id: node for node in pipeline.components if isinstance(node, BaseComponent)}
    unknown = sorted(set(settings.resources) - set(components) - {DEFAULT})
    if unknown:
        raise UserError(
            f"cluster.resources: this pipeline runs no component {', '.join(unknown)}; "
            f"it runs {', '.join(sorted(components))}"
        )
    wanted = {name: settings.of(name) for name in components}
    for name, component in components.items():
        one = wanted[name]
        spec = pipeline_spec_pb2.PipelineDeploymentConfig.PipelineContainerSpec.ResourceSpec(
            cpu_limit=one.cpu or 0, memory_limit=one.memory or 0
        )
        if one.gpu:
            spec.accelerator.type, spec.accelerator.count = one.gpu_type, one.gpu
        component.with_platform_config(spec)
    return wanted


def _for_kubernetes(spec: dict, settings: ClusterConfig) -> dict:
    """The spec as Kubeflow's own backend takes it: GPUs as Kubernetes names them, and no resolver, which it refuses."""
    spec = copy.deepcopy(spec)
    if settings.on_bucket:
        spec["defaultPipelineRoot"] = settings.root
    executors, tasks = spec["deploymentSpec"]["executors"], spec["root"]["dag"]["tasks"]
    for executor in executors.values():
        accelerator = executor.get("container", {}).get("resources", {}).get("accelerator")
        if accelerator and "/" not in accelerator["type"]:
            accelerator["type"] = "nvidia.com/gpu"
    resolvers = {name for name in tasks if "resolver" in executors[f"{name}_executor"]}
    for name in resolvers:
        del tasks[name], spec["components"][name], executors[f"{name}_executor"]
    for name, task in tasks.items():
        inputs = task.get("inputs", {}).get("artifacts", {})
        for key in [k for k, one in inputs.items() if one["taskOutputArtifact"]["producerTask"] in resolvers]:
            del inputs[key], spec["components"][name]["inputDefinitions"]["artifacts"][key]
        task["dependentTasks"] = [parent for parent in task.get("dependentTasks", []) if parent not in resolvers]
    return spec


def _platforms(resources: dict[str, Resources], settings: ClusterConfig) -> dict:
    """Kubeflow's second document: volumes, and the nodes each executor may run on."""
    spot_key, spot_value = settings.spot_label.split("=")
    executors = {}
    for name, wanted in resources.items():
        labels = {**wanted.node_labels, **({spot_key: spot_value} if wanted.spot else {})}
        executor: dict = {"nodeSelector": {"labels": labels}} if labels else {}
        if wanted.spot:
            executor["tolerations"] = [
                {"key": spot_key, "operator": "Equal", "value": spot_value, "effect": "NoSchedule"}
            ]
        if settings.volumes:
            executor["pvcMount"] = [
                {"pvcNameParameter": {"runtimeValue": {"constant": claim}}, "mountPath": folder}
                for claim, folder in settings.volumes.items()
            ]
        if executor:
            executors[f"{name}_executor"] = executor
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}
