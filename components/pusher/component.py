"""TFX's Pusher, but what it pushes is the newest version, and a model that is so already gets no second number."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from tfx import types
from tfx.components.pusher import component, executor
from tfx.dsl.components.base import executor_spec
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils
from tfx.utils import io_utils

from components.beam_masks.job import model_digest, recipe_of
from components.pusher.ledger import is_withdrawn, note_withdrawn, read_ledger, write_ledger
from serving.export import CATEGORIES
from serving.saved_model import newest_version, versions
from trainer.data.files import is_remote


class Executor(executor.Executor):
    """A rerun may judge the model of the last one anew, against itself; what is served stays as it is."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """As TFX's. `pushed_destination` is the newest version where its graph, weights and names are the model's.

        A version's number is the Unix time, or the next one where a clock was set back or people count otherwise. Of a
        model whose version was withdrawn (ledger.py) nothing is copied, and `pushed_destination` is that version.
        """
        pushed = artifact_utils.get_single_instance(output_dict["pushed_model"])
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed)
            return
        destination = json_format.Parse(exec_properties["push_destination"], pusher_pb2.PushDestination())
        model, folder = self.GetModelPath(input_dict), destination.filesystem.base_directory
        version = self._push_remote(model, folder) if is_remote(folder) else self._push(model, Path(folder))
        io_utils.copy_dir(model, pushed.uri)
        self._MarkPushed(pushed, pushed_destination=f"{folder}/{version}", pushed_version=version)

    def _push(self, model: str, folder: Path) -> str:
        note_withdrawn(folder)
        newest, digest, ledger = newest_version(folder), _digest(model), read_ledger(folder)
        if newest and _digest(newest) == digest:
            write_ledger(folder, {**ledger, newest.name: digest})  # a kill behind the copy may have left it out
            return newest.name
        for version, known in ledger.items():
            if known == digest and is_withdrawn(folder / version):
                return version
        taken = [*versions(folder), *map(int, ledger)]
        version = str(max([int(time.time()), *(number + 1 for number in taken)]))
        self._copy(model, f"{folder}/{version}")
        write_ledger(folder, {**ledger, version: digest})
        return version

    def _push_remote(self, model: str, folder: str) -> str:
        version = str(int(time.time()))
        self._copy(model, f"{folder}/{version}")
        return version

    @staticmethod
    def _copy(model: str, target: str) -> None:
        """A server takes a version for complete once saved_model.pb is there."""
        io_utils.copy_dir(model, target, deny_regex_patterns=[r"saved_model\.pb"])
        io_utils.copy_file(f"{model}/saved_model.pb", f"{target}/saved_model.pb")


def _digest(model: str | Path) -> str:
    """Of all that a version serves: what its ids mean too, which neither graph nor weights tell."""
    names = Path(model, CATEGORIES)
    return recipe_of(model_digest(model), names.read_bytes() if names.is_file() else b"")


class Pusher(component.Pusher):
    """Pushes a blessed model as the newest version, unless it is that already."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
