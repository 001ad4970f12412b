"""WeakLabels' specification: what goes in, what comes out."""

from __future__ import annotations

import json

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.weak_labels.core.label_config import LabelConfig
from components.weak_labels.executor import Executor
from trainer.data.categories import Categories


class WeakLabelsSpec(types.ComponentSpec):
    """Inputs and outputs may not share a name, hence `unlabelled_examples` in and `examples` out."""

    PARAMETERS = {
        "settings": component_spec.ExecutionParameter(type=str),
        "categories": component_spec.ExecutionParameter(type=str),
        "max_dead_share": component_spec.ExecutionParameter(type=float),
        "store": component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {
        "unlabelled_examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "cam": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "l_net": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "calibration": component_spec.ChannelParameter(type=standard_artifacts.HyperParameters, optional=True),
    }
    OUTPUTS = {"examples": component_spec.ChannelParameter(type=standard_artifacts.Examples)}


class WeakLabels(base_beam_component.BaseBeamComponent):
    """Gives every weak example a generated mask; strong examples are passed on. The eval split is left behind."""

    SPEC_CLASS = WeakLabelsSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        cam: types.BaseChannel,
        l_net: types.BaseChannel,
        settings: LabelConfig,
        categories: Categories,
        max_dead_share: float = 0.05,
        calibration: types.BaseChannel | None = None,
        store: str | None = None,
    ):
        """Constructs the component.

        Args:
          examples: ImageExampleGen's output.
          cam: exported CAM classifier of the same categories.
          l_net: exported L-Net.
          settings: of the label core.
          categories: of the run.
          max_dead_share: share of weak images that may fail, 0..1.
          calibration: of LabelCalibration; its values replace `settings`.
          store: folder of labels kept from run to run; None labels every image anew.
        """
        super().__init__(
            WeakLabelsSpec(
                settings=settings.model_dump_json(),
                categories=json.dumps(categories.to_dict()),
                max_dead_share=max_dead_share,
                store=store,
                unlabelled_examples=examples,
                cam=cam,
                l_net=l_net,
                calibration=calibration,
                examples=types.Channel(type=standard_artifacts.Examples),
            )
        )
