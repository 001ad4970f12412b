"""WeakLabelGate's specification."""

from __future__ import annotations

import json

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.weak_label_gate.executor import Executor
from components.weak_label_gate.label_statistics import LabelGateConfig
from trainer.data.categories import Categories


class LabelBlessing(types.Artifact):
    """Says that the labels may be trained on; its folder holds statistics.json, see label_statistics."""

    TYPE_NAME = "transferseg.LabelBlessing"  # Kubeflow wants a name in two parts


class WeakLabelGateSpec(types.ComponentSpec):
    PARAMETERS = {
        "settings": component_spec.ExecutionParameter(type=str),
        "categories": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "unlabelled_examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
    }
    OUTPUTS = {"blessing": component_spec.ChannelParameter(type=LabelBlessing)}


class WeakLabelGate(base_beam_component.BaseBeamComponent):
    """Fails on a collapsed or stale label set.

    Components that must not train on bad labels are put behind the gate by `component.add_upstream_node(gate)`.
    """

    SPEC_CLASS = WeakLabelGateSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        unlabelled_examples: types.BaseChannel,
        categories: Categories,
        settings: LabelGateConfig | None = None,
    ):
        """Constructs the component.

        Args:
          examples: WeakLabels' output.
          unlabelled_examples: ImageExampleGen's output; labels of other images or tags are refused as stale.
          categories: of the run.
          settings: the limits.
        """
        super().__init__(
            WeakLabelGateSpec(
                settings=(settings or LabelGateConfig()).model_dump_json(),
                categories=json.dumps(categories.to_dict()),
                examples=examples,
                unlabelled_examples=unlabelled_examples,
                blessing=types.Channel(type=LabelBlessing),
            )
        )
