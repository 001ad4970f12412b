"""TFX's Pusher, but a model that is the newest version already gets no second number."""

from __future__ import annotations

import contextlib
from typing import Any

from google.protobuf import json_format
from tfx import types
from tfx.components.pusher import component, executor
from tfx.dsl.components.base import executor_spec
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils
from tfx.utils import io_utils

from components.beam_masks.job import model_digest
from serving.saved_model import find_saved_model
from trainer.data.files import is_remote
from trainer.errors import UserError


class Executor(executor.Executor):
    """A rerun may judge the model of the last one anew, against itself; what is served stays as it is."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """As TFX's. `pushed_destination` is the newest version where its graph and weights are the model's."""
        destination = json_format.Parse(exec_properties["push_destination"], pusher_pb2.PushDestination())
        folder, newest = destination.filesystem.base_directory, None
        if not is_remote(folder):
            with contextlib.suppress(UserError):  # nothing was pushed yet
                newest = find_saved_model(folder)
        model = self.GetModelPath(input_dict)
        if newest and self.CheckBlessing(input_dict) and model_digest(newest) == model_digest(model):
            pushed = artifact_utils.get_single_instance(output_dict["pushed_model"])
            io_utils.copy_dir(model, pushed.uri)
            self._MarkPushed(pushed, pushed_destination=str(newest), pushed_version=newest.name)
        else:
            super().Do(input_dict, output_dict, exec_properties)


class Pusher(component.Pusher):
    """Pushes a blessed model under a new number, unless it is the newest version already."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
