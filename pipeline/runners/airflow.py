"""The pipeline as an Airflow DAG: one task per component, launched as a local run launches it.

TFX's own AirflowDagRunner launches components the old way, which knows no conditions: it would evaluate, and so perhaps
bless, a model that failed the serving check.
"""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from airflow import DAG
from airflow.exceptions import AirflowFailException, AirflowSkipException
from airflow.operators.python import PythonOperator
from tfx.dsl.compiler.compiler import Compiler
from tfx.orchestration.portable import runtime_parameter_utils

from components.beam_masks.faults import TooManyFaults
from components.beam_masks.lock import locked
from pipeline.config.run_config import dump_config, load_config
from pipeline.execution.local_runner import build, components_of, folders_in, launch
from pipeline.graph import create_pipeline, training_hash
from pipeline.report.facts import Facts
from pipeline.report.model_card import describe
from pipeline.report.summary import summarise
from pipeline.run.readiness import make_ready
from trainer.errors import UserError


def make_dag(config: str | None = None, workdir: str | None = None, schedule: str | None = None, **options: Any) -> DAG:
    """The DAG of a config file.

    Args:
      config: path of the file; by default the environment variable TRANSFERSEG_CONFIG.
      workdir: where everything is written, as in a local run; by default TRANSFERSEG_WORKDIR.
      schedule: cron expression or preset; None: started by hand.
      options: of airflow.DAG.

    Raises:
      UserError: the config is wrong, or neither argument nor variable is given.
    """
    config, folder = _given(config, "TRANSFERSEG_CONFIG"), Path(_given(workdir, "TRANSFERSEG_WORKDIR")).resolve()
    values = load_config(config)
    # Airflow makes the DAG anew every half minute: of its shape alone, without a look at the dataset or the store.
    pipeline = create_pipeline(values, folders_in(folder, values), None, dataset_state="")
    dag = DAG(
        pipeline.pipeline_info.pipeline_name,
        schedule=schedule,
        start_date=datetime(2024, 1, 1, tzinfo=timezone.utc),
        catchup=False,
        max_active_runs=1,
        max_active_tasks=1,  # two components beside each other would share the cores, and SQLite
        **options,
    )
    tasks = {
        node.id: PythonOperator(
            task_id=node.id,
            dag=dag,
            python_callable=run_component,
            op_kwargs={"config": config, "workdir": str(folder), "name": node.id},
        )
        for node in pipeline.components
    }
    for node in pipeline.components:
        tasks[node.id].set_upstream([tasks[parent.id] for parent in node.upstream_nodes])
    return dag


def run_component(config: str, workdir: str, name: str, run_id: str) -> None:
    """What a task does; Airflow passes the run's id. The dataset's fingerprint is taken now, for each run.

    Raises:
      AirflowSkipException: the condition on an earlier component did not hold.
      AirflowFailException: the component refused its input; trying again would not help.
    """
    folder = Path(workdir)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder, f"Airflow's run {run_id}"):
            values = load_config(config)
            (folder / "config.yaml").write_text(dump_config(values))  # for `clean` and `review`
            dag = build(values, folder)
            if name == "examples":  # which everything but the look-up of the blessed model waits for
                make_ready(values, folder)
            pipeline = Compiler().compile(dag)
            runtime_parameter_utils.substitute_runtime_parameter(pipeline, {"pipeline-run-id": run_id})
            [node] = [node for node in pipeline.nodes if node.pipeline_node.node_info.id == name]
            if launch(pipeline, node) is None:
                raise AirflowSkipException(f"{name}: its condition did not hold")
            if name == "pusher":
                facts = Facts(values, folder, components_of(pipeline, run_id))
                describe(facts, summarise(facts, 0.0, training_hash(values), run_id))
    except (UserError, TooManyFaults) as error:
        raise AirflowFailException(str(error)) from None


def _given(value: str | None, variable: str) -> str:
    value = value or os.environ.get(variable)
    if not value:
        raise UserError(f"{variable}: not set; set it or give make_dag the path")
    return value
