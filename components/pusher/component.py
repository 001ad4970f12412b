"""TFX's Pusher, but what it pushes is the newest version, and a model that is so already gets no second number."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from google.protobuf import json_format
from tfx import types
from tfx.components.pusher import component, executor
from tfx.dsl.components.base import executor_spec
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils
from tfx.utils import io_utils

from components.beam_masks.job import model_digest
from serving.saved_model import find_saved_model, version_of
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
        """As TFX's. `pushed_destination` is the newest version where its graph and weights are the model's.

        A version's number is the Unix time, or the next one where a clock was set back or people count otherwise.
        """
        pushed = artifact_utils.get_single_instance(output_dict["pushed_model"])
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed)
            return
        destination = json_format.Parse(exec_properties["push_destination"], pusher_pb2.PushDestination())
        folder, newest = destination.filesystem.base_directory, None
        if not is_remote(folder):
            with contextlib.suppress(UserError):  # nothing was pushed yet
                newest = find_saved_model(folder)
        model = self.GetModelPath(input_dict)
        if newest and model_digest(newest) == model_digest(model):
            version = newest.name
        else:
            version = str(max(int(time.time()), 1 + ((newest and version_of(newest.name)) or 0)))
            # A server takes a version for complete once this file is there.
            io_utils.copy_dir(model, f"{folder}/{version}", deny_regex_patterns=[r"saved_model\.pb"])
            io_utils.copy_file(f"{model}/saved_model.pb", f"{folder}/{version}/saved_model.pb")
        io_utils.copy_dir(model, pushed.uri)
        self._MarkPushed(pushed, pushed_destination=f"{folder}/{version}", pushed_version=version)


class Pusher(component.Pusher):
    """Pushes a blessed model as the newest version, unless it is that already."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
