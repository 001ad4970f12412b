"""What `--runner kubeflow` compiles: the same DAG, with images, resources and conditions, for both backends."""

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from pipeline.cli.entry import cli
from pipeline.demo.demo_data import draw_demo_dataset
from pipeline.demo.demo_run import demo_config
from trainer.errors import UserError

GPU = {"gpu": 1, "gpu_type": "NVIDIA_TESLA_T4", "spot": True, "node_labels": {"pool": "t4"}}
CLUSTER = {
    "image": "registry.example/transferseg:1",
    "root": "gs://bucket/run",
    "volumes": {"pictures": "/data"},
    "resources": {"default": {"cpu": 4, "memory": 16}, "segmentation": GPU | {"gpu": 2}, "cam": GPU | {"cpu": 8}},
}
# The golden structure: task -> what it waits for.
EDGES = {
    "examples": set(),
    "statistics": {"examples"},
    "schema": {"statistics"},
    "anomalies": {"schema", "statistics"},
    "data_gate": {"anomalies", "examples"},
    "cam": {"data_gate", "examples"},
    "l_net": {"data_gate", "examples"},
    "weak_labels": {"cam", "examples", "l_net"},
    "label_gate": {"examples", "weak_labels"},
    "segmentation": {"label_gate", "weak_labels"},
    "p_net": {"segmentation", "weak_labels"},
    "serving_check": {"examples", "p_net"},
    "evaluator": {"examples", "p_net", "serving_check"},
    "pusher": {"evaluator", "p_net", "serving_check"},
    "strong_only": {"data_gate", "examples"},
    "evaluator_strong_only": {"examples", "strong_only"},
}
BLESSED = "(inputs.artifacts['{}'].artifacts[0].metadata['blessed'] == 1.0)"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return draw_demo_dataset(tmp_path_factory.mktemp("data") / "demo", train=8, val=2, progress=False)


def compile_with(tmp_path: Path, data: Path, cluster: dict | None, *arguments: str, **options):
    config = demo_config(data) | options | ({"cluster": cluster} if cluster else {})
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    command = ["run", str(tmp_path / "config.yaml"), "--runner", "kubeflow", "--workdir", str(tmp_path / "out")]
    return CliRunner().invoke(cli, [*command, *arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def compiled(data, tmp_path_factory):
    """Screen, Vertex' job, Kubeflow's spec, Kubernetes' part."""
    place = tmp_path_factory.mktemp("compiled")
    result = compile_with(place, data, CLUSTER)
    assert result.exit_code == 0
    job = json.loads((place / "out" / "demo.vertex.json").read_text())
    return result.output, job, *yaml.safe_load_all((place / "out" / "demo.kfp.yaml").read_text())


def waits(spec: dict) -> dict[str, set[str]]:
    return {name: set(task.get("dependentTasks", [])) for name, task in spec["root"]["dag"]["tasks"].items()}


def container(spec: dict, name: str) -> dict:
    return spec["deploymentSpec"]["executors"][f"{name}_executor"]["container"]


def test_both_files_hold_the_pipelines_own_graph(compiled):
    screen, job, spec, _ = compiled
    assert "demo.vertex.json" in screen and "demo.kfp.yaml" in screen
    assert waits(spec) == EDGES
    resolvers = {"latest_blessed-model-resolver", "latest_blessed-model-blessing-resolver"}
    vertex = waits(job["pipelineSpec"])
    assert set(vertex) == set(EDGES) | resolvers
    assert vertex["evaluator"] == EDGES["evaluator"] | {"latest_blessed-model-resolver"}
    assert job["runtimeConfig"]["gcsOutputDirectory"] == spec["defaultPipelineRoot"] == "gs://bucket/run"


def test_both_files_fit_kubeflows_schema(compiled):
    _, job, spec, _ = compiled
    for one in (job["pipelineSpec"], spec):
        json_format.ParseDict(one, pipeline_spec_pb2.PipelineSpec())
        json_format.ParseDict(one["deploymentSpec"], pipeline_spec_pb2.PipelineDeploymentConfig())
    with pytest.raises(json_format.ParseError):
        json_format.ParseDict(spec | {"tasks": {}}, pipeline_spec_pb2.PipelineSpec())


def test_judging_and_pushing_hang_on_the_serving_check(compiled):
    for spec in (compiled[1]["pipelineSpec"], compiled[2]):
        tasks = spec["root"]["dag"]["tasks"]
        conditions = {name: task["triggerPolicy"] for name, task in tasks.items() if "triggerPolicy" in task}
        assert conditions == {
            "evaluator": {"condition": BLESSED.format("_serving_check.blessing")},
            "pusher": {"condition": BLESSED.format("infra_blessing")},
        }


def test_only_vertex_looks_up_the_blessed_model(compiled):
    screen, job, spec, _ = compiled
    inputs = job["pipelineSpec"]["root"]["dag"]["tasks"]["evaluator"]["inputs"]["artifacts"]
    assert inputs["baseline_model"]["taskOutputArtifact"]["producerTask"] == "latest_blessed-model-resolver"
    assert "baseline_model" not in spec["root"]["dag"]["tasks"]["evaluator"]["inputs"]["artifacts"]
    assert "baseline_model" not in spec["components"]["evaluator"]["inputDefinitions"]["artifacts"]
    assert "resolver" not in yaml.safe_dump(spec) and "only the gate's minima hold there" in screen


def test_a_warm_start_is_for_vertex_alone_and_the_command_says_so(tmp_path, data):
    result = compile_with(tmp_path, data, CLUSTER, warm_start=True)
    assert result.exit_code == 0 and "no training starts warm" in result.output
    job = json.loads((tmp_path / "out" / "demo.vertex.json").read_text())
    spec = next(yaml.safe_load_all((tmp_path / "out" / "demo.kfp.yaml").read_text()))
    inputs = [one["root"]["dag"]["tasks"]["segmentation"]["inputs"]["artifacts"] for one in (job["pipelineSpec"], spec)]
    assert set(inputs[0]) == {"base_model", "examples"} and set(inputs[1]) == {"examples"}


def test_every_step_runs_the_image_with_the_resources_asked_for(compiled):
    _, job, spec, _ = compiled
    for name in EDGES:
        for one in (job["pipelineSpec"], spec):
            assert container(one, name)["image"] == "registry.example/transferseg:1"
            assert container(one, name)["command"] == ["python", "-m", "pipeline.runners.step"]
            assert container(one, name)["resources"]["memoryLimit"] == 16
            assert container(one, name)["resources"]["cpuLimit"] == (8 if name == "cam" else 4)
    vertex = {name: container(job["pipelineSpec"], name)["resources"].get("accelerator") for name in EDGES}
    assert {name: one for name, one in vertex.items() if one} == {
        "cam": {"type": "NVIDIA_TESLA_T4", "count": "1"},
        "segmentation": {"type": "NVIDIA_TESLA_T4", "count": "2"},
    }
    assert container(spec, "segmentation")["resources"]["accelerator"] == {"type": "nvidia.com/gpu", "count": "2"}


def test_spot_steps_find_their_nodes_and_are_tried_again(compiled):
    _, _, spec, platforms = compiled
    executors = platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    spot = {
        "nodeSelector": {"labels": {"pool": "t4", "cloud.google.com/gke-spot": "true"}},
        "tolerations": [
            {"key": "cloud.google.com/gke-spot", "operator": "Equal", "value": "true", "effect": "NoSchedule"}
        ],
    }
    claim = [{"pvcNameParameter": {"runtimeValue": {"constant": "pictures"}}, "mountPath": "/data"}]
    assert executors["cam_executor"] == spot | {"pvcMount": claim}
    assert executors["examples_executor"] == {"pvcMount": claim}
    tried_again = {name for name, task in spec["root"]["dag"]["tasks"].items() if "retryPolicy" in task}
    assert tried_again == {"cam", "segmentation"}


def test_checkpoints_and_pushed_models_lie_under_the_root(compiled):
    tasks = compiled[1]["pipelineSpec"]["root"]["dag"]["tasks"]
    settings = json.loads(tasks["cam"]["inputs"]["parameters"]["custom_config"]["runtimeValue"]["constant"])
    assert settings["checkpoint_root"] == "gs://bucket/run/checkpoints"
    destination = tasks["pusher"]["inputs"]["parameters"]["push_destination"]["runtimeValue"]["constant"]
    assert json.loads(destination)["filesystem"]["base_directory"] == "gs://bucket/run/serving/demo"


def test_an_imported_l_net_and_calibration_compile_too(tmp_path, data):
    folder = "gs://bucket/earlier/l_net/model"
    assert compile_with(tmp_path, data, CLUSTER, l_net_from=folder, calibrate=True).exit_code == 0
    spec = json.loads((tmp_path / "out" / "demo.vertex.json").read_text())["pipelineSpec"]
    importer = spec["deploymentSpec"]["executors"]["l_net_executor"]["importer"]
    assert importer["artifactUri"] == {"constant": folder}
    assert waits(spec)["weak_labels"] == {"calibration", "cam", "examples", "l_net"}


def test_masks_alone_compile_too(tmp_path, data):
    names = demo_config(data)["categories"]
    options = {"categories": {"strong": [*names["strong"], *names["weak"]]}, "compare_strong_only": False}
    cluster = CLUSTER | {"resources": {"segmentation": GPU}}
    assert compile_with(tmp_path, data, cluster, **options).exit_code == 0
    spec = json.loads((tmp_path / "out" / "demo.vertex.json").read_text())["pipelineSpec"]
    assert waits(spec)["segmentation"] == {"data_gate", "examples"}


def cached(tmp_path: Path) -> tuple[bool, str]:
    """Whether the examples are, and the state of the files that the cache's key holds."""
    task = next(yaml.safe_load_all((tmp_path / "out" / "demo.kfp.yaml").read_text()))["root"]["dag"]["tasks"][
        "examples"
    ]
    return task["cachingOptions"]["enableCache"], task["inputs"]["parameters"]["fingerprint"]["runtimeValue"][
        "constant"
    ]


def test_a_dataset_that_is_only_in_the_cluster_is_read_in_every_run(tmp_path, data):
    result = compile_with(tmp_path, data, CLUSTER)
    assert result.exit_code == 0 and "dataset.root" not in result.output
    was_cached, state = cached(tmp_path)
    assert was_cached and len(state) == 64
    result = compile_with(tmp_path, data, CLUSTER, dataset={"root": "/mnt/only-there"})
    assert result.exit_code == 0 and "no folder /mnt/only-there here" in result.output
    assert cached(tmp_path) == (False, "")
    result = compile_with(tmp_path, data, CLUSTER, dataset={"root": "gs://bucket/voc"})
    assert result.exit_code == 0 and "no folder gs://bucket/voc here" in result.output
    compile_with(tmp_path, data, CLUSTER | {"reread": True})
    assert cached(tmp_path) == (False, "")


def test_a_mounted_root_leaves_artifacts_to_kubeflow_and_makes_no_vertex_job(tmp_path, data):
    assert compile_with(tmp_path, data, CLUSTER | {"root": "/data/work"}).exit_code == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["demo.kfp.yaml"]
    text = (tmp_path / "out" / "demo.kfp.yaml").read_text()
    assert "/data/work/serving/demo" in text and "/data/work/checkpoints" in text and "defaultPipelineRoot" not in text


@pytest.mark.parametrize(
    ("cluster", "options", "words"),
    [
        (None, {}, "cluster: missing"),
        ({"root": "gs://b/x"}, {}, "'cluster.image' is missing"),
        ({"image": "i"}, {}, "'cluster.root' is missing"),
        (CLUSTER | {"root": "/mnt/work"}, {}, "cluster.root: /mnt/work is on none of cluster.volumes (/data)"),
        (CLUSTER | {"root": "s3://b/x"}, {}, "'cluster.root': give gs://"),
        (CLUSTER | {"resources": {"segmentaton": {"cpu": 1}}}, {}, "no component segmentaton"),
        (CLUSTER | {"resources": {"latest_blessed": {"cpu": 1}}}, {}, "no component latest_blessed"),
        (CLUSTER | {"resources": {"cam": {"gpus": 1}}}, {}, "unknown key 'cluster.resources.cam.gpus'"),
        (CLUSTER | {"resources": {"cam": {"gpu": 1}}}, {}, "cluster.resources.cam: gpu without gpu_type"),
        (CLUSTER, {"name": "My_run"}, "name: Kubeflow allows"),
        (CLUSTER, {"dataset": {"root": "data"}}, "dataset.root: data is no absolute path"),
        (CLUSTER, {"network": {"weights": "vgg.h5"}}, "network.weights: vgg.h5 is no absolute path"),
        (CLUSTER, {"l_net_from": "runs/one"}, "l_net_from: runs/one is no URI"),
        (CLUSTER, {"cam_from": "/runs/one"}, "cam_from: /runs/one is no URI"),
        (CLUSTER, {"serving_check": {"docker_tag": "2.15.1"}}, "serving_check.docker_tag"),
        (CLUSTER, {"dataset": {"root": "/tmp"}}, "dataset.root: /tmp has no folder JPEGImages"),
    ],
)
def test_each_mistake_is_one_line_that_names_the_key(tmp_path, data, cluster, options, words):
    with pytest.raises(UserError, match=".") as caught:
        compile_with(tmp_path, data, cluster, **options)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
