"""What the metadata store knows of one pipeline: who made which artifact from what."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.components.common.importer import Importer
from tfx.dsl.components.common.resolver import Resolver
from tfx.orchestration.portable.mlmd import event_lib, execution_lib
from tfx.utils import name_utils

LIVE, DELETED = metadata_store_pb2.Artifact.LIVE, metadata_store_pb2.Artifact.DELETED


class ModelHistory:
    """A pipeline's executions and artifacts, read once.

    Attributes:
      artifacts: by id, those that are still there.
      imported: ids of those that were made elsewhere.
      forgotten: those that were deleted, marked so at least.
      leftovers: output folders of executions that did not end well, and of forgotten artifacts, as
        (component, last part of the path), but none in which another output is still there.
    """

    def __init__(self, store: MetadataStore, pipeline: str):
        prefix = f"{pipeline}."
        nodes = [context for context in store.get_contexts_by_type("node") if context.name.startswith(prefix)]
        runs = {node.name.removeprefix(prefix): store.get_executions_by_context(node.id) for node in nodes}
        # A Resolver puts out what others made: that it was looked at is no reason to keep it.
        types = {kind.name: kind.id for kind in store.get_execution_types()}
        resolver, importer = (types.get(name_utils.get_full_name(kind)) for kind in (Resolver, Importer))
        runs = {name: [e for e in executions if e.type_id != resolver] for name, executions in runs.items()}
        self._good = {
            name: sorted(run.id for run in executions if execution_lib.is_execution_successful(run))
            for name, executions in runs.items()
        }
        ids = [execution.id for executions in runs.values() for execution in executions]
        self._inputs: dict[int, list[tuple[str, int]]] = {execution: [] for execution in ids}
        self._outputs: dict[int, list[int]] = {execution: [] for execution in ids}
        for event in store.get_events_by_execution_ids(ids) if ids else []:
            if event_lib.is_valid_output_event(event):
                self._outputs[event.execution_id].append(event.artifact_id)
            elif event_lib.is_valid_input_event(event):
                self._inputs[event.execution_id].append((event.path.steps[0].key, event.artifact_id))
        # A cached execution gives out again what an earlier one made.
        self._given = {artifact: run for run in sorted(self._outputs) for artifact in self._outputs[run]}
        found = store.get_artifacts_by_id(self._given) if self._given else []
        self.artifacts = {artifact.id: artifact for artifact in found if artifact.state == LIVE}
        self.forgotten = [artifact for artifact in found if artifact.state == DELETED]
        imports = [run.id for executions in runs.values() for run in executions if run.type_id == importer]
        self.imported = {artifact for run in imports for artifact in self._outputs[run]}
        self.leftovers = set(map(_folder, self.forgotten)) - set(map(_folder, self.artifacts.values()))
        for name, executions in runs.items():
            self.leftovers |= {(name, str(run.id)) for run in executions if run.id not in self._good[name]}

    def newest(self, number: int) -> set[int]:
        """Outputs of each component's newest executions that succeeded, cached ones too."""
        runs = [run for good in self._good.values() for run in good[-number:]]
        return {artifact for run in runs for artifact in self._outputs[run]}

    def latest_blessed(self) -> set[int]:
        """The model that was blessed last, which the next run is compared with; at most one."""
        blessed = [_judged(verdict) for verdict in self._verdicts() if _blesses(verdict)]
        return set([model for model in blessed if model in self.artifacts][-1:])

    def outdated_verdicts(self) -> list[metadata_store_pb2.Artifact]:
        """Blessings of models made after the one blessed last: TFX's LatestBlessedModelStrategy would take them."""
        last = max(self.latest_blessed(), default=0)
        return [verdict for verdict in self._verdicts() if _blesses(verdict) and _judged(verdict) > last > 0]

    def pushed_to(self, version: Path) -> set[int]:
        """The model in a serving version's folder; at most one."""
        pushes = {id for id, artifact in self.artifacts.items() if destination(artifact) == version}
        runs = [run for run, outputs in self._outputs.items() if pushes.intersection(outputs)]
        return {artifact for run in runs for key, artifact in self._inputs[run] if key == "model"}

    def lineage(self, models: Iterable[int]) -> set[int]:
        """Models, all they were made from, and the verdicts on them.

        Not the earlier models that they were compared with or began from (warm_start): that chain would never end.
        """
        todo, kept = set(models), set()
        for run, inputs in self._inputs.items():
            if any(key == "model" and artifact in todo for key, artifact in inputs):
                kept.update(self._outputs[run])
        seen = set(map(_judged, self._verdicts()))
        while todo:
            artifact = todo.pop()
            seen.add(artifact)
            for run, outputs in self._outputs.items():
                if artifact in outputs:
                    kept.update(outputs)
                    todo |= {source for _, source in self._inputs[run]} - seen
        return kept

    def _verdicts(self) -> list[metadata_store_pb2.Artifact]:
        """The Evaluator's, that of the latest execution last."""
        verdicts = [one for one in self.artifacts.values() if "current_model_id" in one.custom_properties]
        return sorted(verdicts, key=lambda verdict: self._given[verdict.id])


def _folder(artifact: metadata_store_pb2.Artifact) -> tuple[str, str]:
    return Path(artifact.uri).parts[-3], Path(artifact.uri).name


def _judged(verdict: metadata_store_pb2.Artifact) -> int:
    return verdict.custom_properties["current_model_id"].int_value


def _blesses(verdict: metadata_store_pb2.Artifact) -> bool:
    return verdict.custom_properties["blessed"].int_value == 1


def destination(artifact: metadata_store_pb2.Artifact) -> Path | None:
    """Where a PushedModel went; None for other artifacts."""
    properties = artifact.custom_properties
    return Path(properties["pushed_destination"].string_value) if "pushed_destination" in properties else None
