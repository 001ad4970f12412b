"""ImageExampleGen's specification: what goes in, what comes out."""

from __future__ import annotations

import json

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.image_example_gen.dataset_config import DatasetConfig
from components.image_example_gen.executor import Executor
from trainer.data.categories import Categories


class ImageExampleGenSpec(types.ComponentSpec):
    """Execution properties are strings, so that the cache sees every change of settings, categories and files."""

    PARAMETERS = {
        "dataset": component_spec.ExecutionParameter(type=str),
        "categories": component_spec.ExecutionParameter(type=str),
        "fingerprint": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {}
    OUTPUTS = {"examples": component_spec.ChannelParameter(type=standard_artifacts.Examples)}


class ImageExampleGen(base_beam_component.BaseBeamComponent):
    """Reads a VOC-layout folder into examples with the splits `strong`, `weak` and `eval`."""

    SPEC_CLASS = ImageExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(self, dataset: DatasetConfig, categories: Categories, fingerprint: str):
        """Constructs the component.

        Args:
          dataset: where and how to read.
          categories: which categories are strong and which weak.
          fingerprint: a string that changes when the files do (dataset_config.fingerprint), so that the cache is right.
        """
        super().__init__(
            ImageExampleGenSpec(
                dataset=dataset.model_dump_json(),
                categories=json.dumps(categories.to_dict()),
                fingerprint=fingerprint,
                examples=types.Channel(type=standard_artifacts.Examples),
            )
        )
