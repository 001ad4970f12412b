"""DataGate's executor: reads what ExampleValidator found and lets the run go on or stops it."""

from __future__ import annotations

import json
from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx import types
from tfx.components.example_validator.executor import DEFAULT_FILE_NAME
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from components.beam_masks.masks import write_atomic
from components.data_gate.findings import anomaly_lines, empty_split_lines
from components.image_example_gen.write_examples import read_summary
from trainer.data.files import read_bytes
from trainer.errors import UserError


class Executor(base_executor.BaseExecutor):
    """Stops the run on bad data."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Checks the examples.

        Args:
          input_dict:
            - examples: ImageExampleGen's artifact; its summary.json has the counts.
            - anomalies: ExampleValidator's artifact, one SchemaDiff.pb for each split.
          output_dict:
            - blessing: gets blessed.json, the number of examples of each split.
          exec_properties:
            - required_splits: JSON list of the splits that must not be empty.

        Raises:
          UserError: there are anomalies or empty splits; one line each.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        anomalies = artifact_utils.get_single_instance(input_dict["anomalies"])
        counts = read_summary(examples.uri)["splits"]
        required = json.loads(exec_properties["required_splits"])
        lines = empty_split_lines(counts, required)
        for split in artifact_utils.decode_split_names(anomalies.split_names):
            if counts.get(split):
                path = f"{artifact_utils.get_split_uri([anomalies], split)}/{DEFAULT_FILE_NAME}"
                lines += anomaly_lines(split, anomalies_pb2.Anomalies.FromString(read_bytes(path)))
        if lines:
            raise UserError("\n".join(["the examples did not pass the data gate:", *lines]))
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        write_atomic(f"{blessing.uri}/blessed.json", json.dumps(counts).encode())
