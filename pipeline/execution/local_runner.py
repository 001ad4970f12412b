"""Runs the pipeline on this machine: all of it, with a report on each component, or one component of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2
from tfx import types
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.pipeline import Pipeline
from tfx.orchestration.portable import launcher, runtime_parameter_utils, tfx_runner
from tfx.orchestration.portable.mlmd import execution_lib
from tfx.proto.orchestration import pipeline_pb2

from pipeline.config.run_config import RunConfig
from pipeline.execution.metadata_store import connect
from pipeline.graph import Folders, create_pipeline

CHECKPOINTS = "checkpoints"  # in the work folder; of no use after a run


@dataclass
class ComponentRun:
    """What one component did in a run.

    Attributes:
      outputs: output key -> its artifacts.
      cached: the outputs are those of an earlier run with the same inputs and settings.
      skipped: a condition on an earlier component's outputs did not hold; there are no outputs.
      upstream: names of the components it waits for.
    """

    name: str
    wall_s: float = 0.0
    cached: bool = False
    outputs: dict[str, list[types.Artifact]] = field(default_factory=dict)
    error: BaseException | None = None
    skipped: bool = False
    upstream: list[str] = field(default_factory=list)

    @property
    def state(self) -> str:
        """ "failed", "stopped", "skipped", "cached" or "done"."""
        if self.error:
            return "failed" if isinstance(self.error, Exception) else "stopped"  # by a signal: no Exception
        return "skipped" if self.skipped else "cached" if self.cached else "done"

    def output_uri(self, key: str) -> str:
        """URI of the only artifact under an output key."""
        [artifact] = self.outputs[key]
        return artifact.uri


def build(config: RunConfig, workdir: Path) -> Pipeline:
    """The pipeline with its folders in `workdir`, an absolute path, and the metadata store that the config names.

    Raises:
      UserError: the metadata server cannot be reached.
    """
    return create_pipeline(config, folders_in(workdir, config), connect(config.metadata, workdir))


def folders_in(workdir: Path, config: RunConfig) -> Folders:
    return Folders(
        artifacts=str(workdir / "artifacts"),
        checkpoints=str(workdir / CHECKPOINTS),
        serving=str(workdir / "serving" / config.name),
        label_store=str(workdir / "label_store"),
    )


def launch(pipeline: pipeline_pb2.Pipeline, node: pipeline_pb2.Pipeline.PipelineOrNode) -> int | None:
    """Runs one component, with driver, cache and metadata; its execution's id, None if its condition did not hold."""
    deployment = runner_utils.extract_local_deployment_config(pipeline)
    name = node.pipeline_node.node_info.id
    info = launcher.Launcher(
        pipeline_node=node.pipeline_node,
        mlmd_connection=metadata.Metadata(_connection(pipeline)),
        pipeline_info=pipeline.pipeline_info,
        pipeline_runtime_spec=pipeline.runtime_spec,
        executor_spec=runner_utils.extract_executor_spec(deployment, name),
        custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, name),
    ).launch()
    return info.execution_id or None if info else None


def _connection(pipeline: pipeline_pb2.Pipeline) -> metadata_store_pb2.ConnectionConfig:
    connection = runner_utils.extract_local_deployment_config(pipeline).metadata_connection_config
    return getattr(connection, connection.WhichOneof("connection_config"))


class LocalRunner(tfx_runner.IrBasedRunner):
    """TFX's LocalDagRunner with a report. After `run`, `components` holds what happened, in order.

    A component's exception ends the run and is raised; its ComponentRun carries it too.
    """

    def __init__(self, run_id: str, on_start: Callable[[str, int, int], None], on_end: Callable[[ComponentRun], None]):
        """`on_start(name, position, total)` and `on_end(component)` are called around each component.

        `run_id` names the run in the metadata store; no other run of the pipeline has it.
        """
        self._run_id, self._on_start, self._on_end = run_id, on_start, on_end
        self.components: list[ComponentRun] = []

    def run_with_ir(self, pipeline: pipeline_pb2.Pipeline, run_options: None = None) -> None:
        runtime_parameter_utils.substitute_runtime_parameter(pipeline, {"pipeline-run-id": self._run_id})
        for position, node in enumerate(pipeline.nodes, start=1):
            name = node.pipeline_node.node_info.id
            self._on_start(name, position, len(pipeline.nodes))
            component = ComponentRun(name, upstream=list(node.pipeline_node.upstream_nodes))
            self.components.append(component)
            start = time.monotonic()
            try:
                execution_id = launch(pipeline, node)
            except BaseException as error:
                component.error = error
                raise
            finally:
                component.wall_s = time.monotonic() - start
                if component.error:
                    self._on_end(component)
            component.skipped = execution_id is None
            if not component.skipped:
                with metadata.Metadata(_connection(pipeline)) as handle:
                    _read_outcome(handle, execution_id, component)
            self._on_end(component)


def components_of(pipeline: pipeline_pb2.Pipeline, run_id: str) -> list[ComponentRun]:
    """What the components of a run have put out so far, from the metadata store, whoever launched them; no times."""
    name, found = pipeline.pipeline_info.id, []
    with metadata.Metadata(_connection(pipeline)) as handle:
        run = handle.store.get_context_by_type_and_name("pipeline_run", run_id)
        for execution in sorted(handle.store.get_executions_by_context(run.id), key=lambda one: one.id):
            for context in handle.store.get_contexts_by_execution(execution.id):
                if context.type == "node" and context.name.startswith(f"{name}."):
                    component = ComponentRun(context.name.removeprefix(f"{name}."))
                    _read_outcome(handle, execution.id, component)
                    found.append(component)
    return found


def _read_outcome(handle: metadata.Metadata, execution_id: int, component: ComponentRun) -> None:
    """Fills in, from the metadata store, whether the execution was cached and what it put out."""
    [execution] = handle.store.get_executions_by_id([execution_id])
    component.cached = execution.last_known_state == metadata_store_pb2.Execution.CACHED
    component.outputs = execution_lib.get_output_artifacts(handle, execution_id)
