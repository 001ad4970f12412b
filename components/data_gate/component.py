"""DataGate: reads what ExampleValidator found and lets the run go on or stops it."""

import json

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx import types
from tfx.components.example_validator.executor import DEFAULT_FILE_NAME
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact
from tfx.dsl.component.experimental.decorators import component
from tfx.types import artifact_utils
from tfx.types.standard_artifacts import ExampleAnomalies, Examples

from components.beam_masks.masks import write_atomic
from components.data_gate.findings import anomaly_lines, empty_split_lines
from components.image_example_gen.write_examples import read_summary
from trainer.data.files import read_bytes
from trainer.errors import UserError


class DataBlessing(types.Artifact):
    """Says that the examples passed; its folder holds blessed.json, the number of examples of each split."""

    TYPE_NAME = "transferseg.DataBlessing"  # Kubeflow wants a name in two parts


@component
def DataGate(
    examples: InputArtifact[Examples],
    anomalies: InputArtifact[ExampleAnomalies],
    blessing: OutputArtifact[DataBlessing],
) -> None:
    """Fails unless the examples are free of anomalies and no split is empty.

    ExampleValidator only reports. Components that must not run on bad examples are put behind the gate by
    `component.add_upstream_node(gate)`.

    Args:
      examples: ImageExampleGen's; its summary.json has the counts.
      anomalies: ExampleValidator's on the same examples, one SchemaDiff.pb for each split.
      blessing: gets blessed.json, the number of examples of each split.

    Raises:
      UserError: there are anomalies or empty splits; one line each.
    """
    counts = read_summary(examples.uri)["splits"]
    lines = empty_split_lines(counts, artifact_utils.decode_split_names(examples.split_names))
    for split in artifact_utils.decode_split_names(anomalies.split_names):
        if counts.get(split):
            path = f"{artifact_utils.get_split_uri([anomalies], split)}/{DEFAULT_FILE_NAME}"
            lines += anomaly_lines(split, anomalies_pb2.Anomalies.FromString(read_bytes(path)))
    if lines:
        raise UserError("\n".join(["the examples did not pass the data gate:", *lines]))
    write_atomic(f"{blessing.uri}/blessed.json", json.dumps(counts).encode())
