"""The compiled Kubeflow spec, run: each container's own command line, task by task, as Kubeflow's backend would."""

import json
import re
from pathlib import Path
from unittest import mock

import pytest
import yaml
from discs import draw_dataset, quick_config_of
from stand_ins import seeing_discs, trainers

from pipeline.config.run_config import make_config
from pipeline.runners.kubeflow import compile_pipeline
from pipeline.runners.step import MOUNTS, run_step
from trainer.errors import UserError

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("kubeflow")
    draw_dataset(place / "data")
    return place


class Backend:
    """Does what Kubeflow Pipelines does with a spec, artifacts in a folder that stands for the bucket s3://runs."""

    def __init__(self, spec: dict, store: Path):
        self.spec, self.mounts = spec, {"s3://": f"{store}/"}
        self.outputs: dict[str, dict] = {}  # task -> output key -> artifact, of those that ran

    def run(self) -> None:
        waiting = dict(self.spec["root"]["dag"]["tasks"])
        while waiting:
            ready = [name for name, task in waiting.items() if not set(task.get("dependentTasks", [])) & set(waiting)]
            for name in ready:
                self.run_task(name, waiting.pop(name))

    def run_task(self, name: str, task: dict) -> None:
        if not set(task.get("dependentTasks", [])) <= set(self.outputs):
            return  # one before it was skipped
        inputs = {}
        for key, one in task.get("inputs", {}).get("artifacts", {}).items():
            source = one["taskOutputArtifact"]
            inputs[key] = {"artifacts": [self.outputs[source["producerTask"]][source["outputArtifactKey"]]]}
        if not holds(task.get("triggerPolicy", {}).get("condition"), inputs):
            return
        parameters = task.get("inputs", {}).get("parameters", {})
        definitions = self.spec["components"][name]["outputDefinitions"]["artifacts"]
        produced = {
            key: {"name": f"{name}/{key}", "uri": f"s3://runs/{name}/{key}", "type": definition["artifactType"]}
            for key, definition in definitions.items()
        }
        invocation = {
            "inputs": {
                "artifacts": inputs,
                "parameterValues": {key: one["runtimeValue"]["constant"] for key, one in parameters.items()},
            },
            "outputs": {
                "artifacts": {key: {"artifacts": [one]} for key, one in produced.items()},
                "outputFile": f"s3://runs/{name}/executor_output.json",
            },
        }
        container = self.spec["deploymentSpec"]["executors"][f"{name}_executor"]["container"]
        assert container["command"] == ["python", "-m", "pipeline.runners.step"]
        arguments = [json.dumps(invocation) if argument == "{{$}}" else argument for argument in container["args"]]
        with mock.patch.dict(MOUNTS, self.mounts):
            run_step(arguments)
        written = json.loads(Path(self.mounts["s3://"], f"runs/{name}/executor_output.json").read_text())
        for key, one in produced.items():
            [update] = written["artifacts"][key]["artifacts"]
            assert update["uri"] == one["uri"]
            one["metadata"] = update.get("metadata", {})
        self.outputs[name] = produced


def holds(condition: str | None, inputs: dict) -> bool:
    """Evaluates the only kind of CEL expression that the pipeline's Cond compiles to."""
    if condition is None:
        return True
    pattern = r"\(inputs\.artifacts\['(.+)'\]\.artifacts\[0\]\.metadata\['(.+)'\] == (.+)\)"
    key, name, value = re.fullmatch(pattern, condition).groups()
    return inputs[key]["artifacts"][0]["metadata"][name] == float(value)


def compiled(place: Path, root: str, **options) -> dict:
    config = quick_config_of(place / "data")
    config |= {
        "cluster": {"image": "transferseg:1", "root": str(place / root), "volumes": {"work": str(place)}},
        **options,
    }
    compile_pipeline(make_config(config, "test"), place)
    return next(yaml.safe_load_all((place / "discs.kfp.yaml").read_text()))


@pytest.fixture(scope="module")
def ran(place):
    short = {"segmentation": quick_config_of(place / "data")["segmentation"] | {"steps": 2}}
    backend = Backend(compiled(place, "work", **short), place / "store")
    seeing = seeing_discs()
    del seeing["segmentation"]  # one of the trainers is the real one
    with trainers(**seeing):
        backend.run()
    return backend


def test_the_containers_commands_end_in_a_pushed_model(place, ran):
    [version] = (place / "work" / "serving" / "discs").iterdir()
    assert (version / "saved_model.pb").is_file() and (version / "assets.extra" / "categories.json").is_file()
    assert set(ran.outputs) == set(ran.spec["root"]["dag"]["tasks"])
    assert list((place / "work" / "checkpoints").glob("segmentation-*/*.index"))
    assert ran.outputs["pusher"]["pushed_model"]["metadata"]["pushed_destination"] == str(version)


def test_a_model_that_fails_the_serving_check_is_neither_judged_nor_pushed(place, ran):
    again = Backend(compiled(place, "other", serving_check={"images": 4, "max_latency_ms": 0.001}), place / "store")
    again.outputs = {
        name: artifacts
        for name, artifacts in ran.outputs.items()
        if name not in ("serving_check", "evaluator", "pusher")
    }
    tasks = again.spec["root"]["dag"]["tasks"]
    for name in ("serving_check", "evaluator", "pusher"):
        again.run_task(name, tasks[name])
    assert again.outputs["serving_check"]["blessing"]["metadata"]["blessed"] == 0
    assert "evaluator" not in again.outputs and "pusher" not in again.outputs
    assert not (place / "other" / "serving").exists()


def test_a_step_that_refuses_its_input_raises_what_the_person_reads(place, ran):
    spec = compiled(place, "work", dataset={"root": "/nowhere/at/all"})
    with pytest.raises(UserError, match="dataset.root: no folder /nowhere/at/all"):
        Backend(spec, place / "refused").run_task("examples", spec["root"]["dag"]["tasks"]["examples"])
