"""WeakLabelGate's executor: reads the label records and the examples, lets the run go on or stops it."""

from __future__ import annotations

import json
from typing import Any

import tensorflow as tf
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from components.beam_masks.output import DEAD_LETTERS
from components.image_example_gen.records import WEAK
from components.weak_label_gate.gate_config import LabelGateConfig
from components.weak_label_gate.label_statistics import failures, label_statistics
from components.weak_labels.examples import read_labels, split_files
from trainer.categories import Categories
from trainer.data.features import key_of, read_examples, tags_of
from trainer.data.json_lines import read_lines
from trainer.errors import UserError

STATISTICS = "statistics.json"


class Executor(base_executor.BaseExecutor):
    """Stops the run on bad labels."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Checks the labels.

        Args:
          input_dict:
            - examples: WeakLabels' artifact; its label records and dead_letters.jsonl are read.
            - unlabelled_examples: optional, ImageExampleGen's artifact, whose keys and tags the labels must fit.
          output_dict:
            - blessing: gets statistics.json (see label_statistics).
          exec_properties:
            - settings: JSON of LabelGateConfig.
            - categories: JSON of Categories.to_dict().

        Raises:
          UserError: the labels are refused; one line for each reason.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        labelled = artifact_utils.get_single_instance(input_dict["examples"])
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        records = list(read_labels(labelled.uri))
        if input_dict.get("unlabelled_examples"):
            inputs = _keys_and_tags(artifact_utils.get_split_uri(input_dict["unlabelled_examples"], WEAK))
        else:
            dead = read_lines(f"{labelled.uri}/{DEAD_LETTERS}")
            inputs = {letter["key"]: () for letter in dead} | {record["key"]: record["tags"] for record in records}
        categories = Categories.from_dict(json.loads(exec_properties["categories"]))
        statistics = label_statistics(records, inputs, categories)
        with tf.io.gfile.GFile(f"{blessing.uri}/{STATISTICS}", "w") as file:
            file.write(json.dumps(statistics, indent=2))
        lines = failures(statistics, LabelGateConfig.model_validate_json(exec_properties["settings"]))
        if lines:
            raise UserError("\n".join([f"the weak labels are refused ({labelled.uri}):", *lines]))


def _keys_and_tags(split_uri: str) -> dict[str, tuple[int, ...]]:
    return {key_of(example): tags_of(example) for file in split_files(split_uri) for example in read_examples(file)}
