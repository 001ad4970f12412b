"""LabelCalibration's specification: what goes in, what comes out."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.label_calibration.executor import Executor
from components.weak_labels.core.label_config import LabelConfig


class LabelCalibrationSpec(types.ComponentSpec):
    """The calibration is an artifact of hyperparameters, like a Tuner's."""

    PARAMETERS = {"settings": component_spec.ExecutionParameter(type=str)}
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "cam": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "l_net": component_spec.ChannelParameter(type=standard_artifacts.Model),
    }
    OUTPUTS = {"calibration": component_spec.ChannelParameter(type=standard_artifacts.HyperParameters)}


class LabelCalibration(base_component.BaseComponent):
    """Finds the label core's values on strong images; weak masks are never seen."""

    SPEC_CLASS = LabelCalibrationSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        cam: types.BaseChannel,
        l_net: types.BaseChannel,
        settings: LabelConfig,
    ):
        """Constructs the component.

        Args:
          examples: ImageExampleGen's output.
          cam, l_net: exported models; the L-Net was trained with `Categories.rehearsal`.
          settings: where the search starts.
        """
        super().__init__(
            LabelCalibrationSpec(
                settings=settings.model_dump_json(),
                examples=examples,
                cam=cam,
                l_net=l_net,
                calibration=types.Channel(type=standard_artifacts.HyperParameters),
            )
        )
