"""`python run_data_steps.py CONFIG WORKDIR`: the run's first five components; prints each one's state as JSON."""

import json
import sys
from pathlib import Path

from tfx.dsl.compiler.compiler import Compiler

from pipeline.config.run_config import load_config
from pipeline.execution.local_runner import LocalRunner
from pipeline.execution.metadata_store import connect
from pipeline.graph import Folders, create_pipeline
from pipeline.run.run_log import new_run_id

DATA_STEPS = {"examples", "statistics", "schema", "anomalies", "data_gate"}


def run_data_steps(config_file: Path, workdir: Path) -> dict[str, str]:
    """The state of each component."""
    config = load_config(config_file)
    folders = Folders(*(str(workdir / name) for name in ("artifacts", "checkpoints", "serving", "label_store")))
    dag = create_pipeline(config, folders, connect(config.metadata, workdir))
    compiled = Compiler().compile(dag)
    kept = [node for node in compiled.nodes if node.pipeline_node.node_info.id in DATA_STEPS]
    del compiled.nodes[:]
    compiled.nodes.extend(kept)
    runner = LocalRunner(new_run_id(), lambda *_: None, lambda _: None)
    runner.run_with_ir(compiled)
    return {component.name: component.state for component in runner.components}


if __name__ == "__main__":
    print(json.dumps(run_data_steps(Path(sys.argv[1]), Path(sys.argv[2]))))
