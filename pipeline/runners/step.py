"""What each container of a compiled pipeline runs: one TFX executor, on folders instead of bucket URIs.

Kubeflow and Vertex hand an executor the URIs of its artifacts and mount (Vertex) or copy (Kubeflow) them at the folders
of MOUNTS. Inputs are read there. Outputs are made in a scratch folder and copied there when the executor is done, since
a mounted bucket can neither append to a file nor rename a folder.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tfx.orchestration.kubeflow.v2 import compiler_utils
from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor
from tfx.utils import name_utils

from components.beam_masks.faults import TooManyFaults
from components.data_gate.component import DataBlessing
from components.weak_label_gate.component import LabelBlessing
from trainer.errors import UserError

# Start of a URI -> start of the path where its content is found.
MOUNTS = {"gs://": "/gcs/", "s3://": "/s3/", "minio://": "/minio/"}


def run_step(arguments: Sequence[str]) -> None:
    """Runs an executor as its container's command line says, and writes its outputs and their metadata.

    Args:
      arguments: those that TFX compiles (executor class, invocation, inputs), then Beam's options.

    Raises:
      UserError, TooManyFaults: the component refused its input.
    """
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in ("executor_class_path", "json_serialized_invocation_args", "json_serialized_inputs_spec_args"):
        parser.add_argument(f"--{name}", required=True)
    flags, beam_args = parser.parse_known_args(arguments)
    for kind in (DataBlessing, LabelBlessing):
        compiler_utils.TITLE_TO_CLASS_PATH[kind.TYPE_NAME] = name_utils.get_full_name(kind)

    invocation = json.loads(flags.json_serialized_invocation_args)
    for artifact in _artifacts(invocation.get("inputs", {})).values():
        artifact["uri"] = _folder(artifact["uri"])
    outputs = {key: artifact["uri"] for key, artifact in _artifacts(invocation["outputs"]).items()}
    metadata = Path(_folder(invocation["outputs"]["outputFile"]))
    with tempfile.TemporaryDirectory() as scratch:
        for key, artifact in _artifacts(invocation["outputs"]).items():
            artifact["uri"] = f"{scratch}/{key}"
            Path(artifact["uri"]).mkdir()
        found = Path(scratch, ".executor", "output.json")
        invocation["outputs"]["outputFile"] = str(found)
        flags.json_serialized_invocation_args = json.dumps(invocation)
        kubeflow_v2_run_executor.main((flags, beam_args))
        result = json.loads(found.read_text())
        for key, artifact in _artifacts(result).items():
            artifact["uri"] = outputs[key]
            _copy_files(Path(scratch, key), Path(_folder(outputs[key])))
    metadata.parent.mkdir(parents=True, exist_ok=True)
    metadata.write_text(json.dumps(result))


def _artifacts(holder: dict) -> dict[str, dict]:
    """Key -> its artifact; TFX's channels hold one each."""
    return {key: each["artifacts"][0] for key, each in holder.get("artifacts", {}).items() if each.get("artifacts")}


def _copy_files(source: Path, target: Path) -> None:
    """Contents alone: a mounted bucket keeps no modes or times, and no empty folders."""
    for path in source.rglob("*"):
        if path.is_file():
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)


def _folder(uri: str) -> str:
    for start, folder in MOUNTS.items():
        if uri.startswith(start):
            return folder + uri.removeprefix(start)
    return uri


if __name__ == "__main__":
    try:
        run_step(sys.argv[1:])
    except (UserError, TooManyFaults) as error:
        sys.exit(f"transferseg: {error}")
