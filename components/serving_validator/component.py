"""ServingValidator's specification."""

from __future__ import annotations

import json

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.serving_validator.check_config import ServingCheckConfig
from components.serving_validator.executor import Executor
from trainer.data.categories import Categories


class ServingValidatorSpec(types.ComponentSpec):
    PARAMETERS = {
        "settings": component_spec.ExecutionParameter(type=str),
        "categories": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "infra_blessing": component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing, optional=True),
    }
    OUTPUTS = {"blessing": component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing)}


class ServingValidator(base_component.BaseComponent):
    """Blesses a model that loads, predicts rightly and fits its budget in a fresh process.

    TFX's InfraValidator needs docker and looks neither at predictions nor at times.
    """

    SPEC_CLASS = ServingValidatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        examples: types.BaseChannel,
        categories: Categories,
        settings: ServingCheckConfig | None = None,
        infra_blessing: types.BaseChannel | None = None,
    ):
        """Constructs the component.

        Args:
          model: of the last trainer.
          examples: ImageExampleGen's output.
          categories: of the run.
          settings: limits.
          infra_blessing: of an InfraValidator, which must agree.
        """
        super().__init__(
            ServingValidatorSpec(
                settings=(settings or ServingCheckConfig()).model_dump_json(),
                categories=json.dumps(categories.to_dict()),
                model=model,
                examples=examples,
                infra_blessing=infra_blessing,
                blessing=types.Channel(type=standard_artifacts.InfraBlessing),
            )
        )
