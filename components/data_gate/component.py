"""DataGate's specification."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.data_gate.executor import Executor


class DataBlessing(types.Artifact):
    """Says that the examples passed; its folder holds blessed.json, the number of examples of each split."""

    TYPE_NAME = "transferseg.DataBlessing"  # Kubeflow wants a name in two parts


class DataGateSpec(types.ComponentSpec):
    PARAMETERS = {"required_splits": component_spec.ExecutionParameter(type=str)}
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "anomalies": component_spec.ChannelParameter(type=standard_artifacts.ExampleAnomalies),
    }
    OUTPUTS = {"blessing": component_spec.ChannelParameter(type=DataBlessing)}


class DataGate(base_component.BaseComponent):
    """Fails unless the examples are free of anomalies and no required split is empty.

    ExampleValidator only reports. Components that must not run on bad examples are put behind the gate by
    `component.add_upstream_node(gate)`.
    """

    SPEC_CLASS = DataGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        anomalies: types.BaseChannel,
        required_splits: Sequence[str] = ("strong", "weak", "eval"),
    ):
        """Constructs the component.

        Args:
          examples: ImageExampleGen's output.
          anomalies: ExampleValidator's output on the same examples.
          required_splits: splits that must not be empty.
        """
        super().__init__(
            DataGateSpec(
                required_splits=json.dumps(list(required_splits)),
                examples=examples,
                anomalies=anomalies,
                blessing=types.Channel(type=DataBlessing),
            )
        )
