"""The deployment files: parsed with TF Serving's own schemas, and consistent with each other."""

import importlib.resources
import inspect
import json
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import kubernetes.client
import pytest
import requests
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from tensorflow_serving.config import model_server_config_pb2

from serving.client import SegmentationClient
from serving.export import MODEL_NAME

DEPLOY = Path(__file__).parents[2] / "serving" / "deploy"

# TF Serving's session_bundle_config.proto and monitoring_config.proto, which tensorflow-serving-api leaves out.
SCHEMAS = """
name: "transferseg_test_schemas.proto" syntax: "proto3" package: "schemas"
message_type { name: "Int64Value" field { name: "value" number: 1 type: TYPE_INT64 label: LABEL_OPTIONAL } }
message_type { name: "BatchingParameters"
  field { name: "max_batch_size" number: 1 type_name: ".schemas.Int64Value" label: LABEL_OPTIONAL }
  field { name: "batch_timeout_micros" number: 2 type_name: ".schemas.Int64Value" label: LABEL_OPTIONAL }
  field { name: "max_enqueued_batches" number: 3 type_name: ".schemas.Int64Value" label: LABEL_OPTIONAL }
  field { name: "num_batch_threads" number: 4 type_name: ".schemas.Int64Value" label: LABEL_OPTIONAL } }
message_type { name: "PrometheusConfig"
  field { name: "enable" number: 1 type: TYPE_BOOL label: LABEL_OPTIONAL }
  field { name: "path" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL } }
message_type { name: "MonitoringConfig"
  field { name: "prometheus_config" number: 1 type_name: ".schemas.PrometheusConfig" label: LABEL_OPTIONAL } }
"""


def parse(file: str, message: str):
    pool = descriptor_pool.DescriptorPool()
    pool.Add(text_format.Parse(SCHEMAS, descriptor_pb2.FileDescriptorProto()))
    empty = message_factory.MessageFactory(pool).GetPrototype(pool.FindMessageTypeByName(f"schemas.{message}"))()
    return text_format.Parse((DEPLOY / file).read_text(), empty)


def compose() -> dict:
    return yaml.safe_load((DEPLOY / "docker-compose.yml").read_text())["services"]["transferseg"]


def manifests(text: str = (DEPLOY / "kubernetes.yaml").read_text()) -> dict[str, dict]:
    return {one["kind"]: one for one in yaml.safe_load_all(text)}


def canary() -> dict[str, dict]:
    command = ["sed", "-f", DEPLOY / "canary.sed", DEPLOY / "kubernetes.yaml"]
    return manifests(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def container() -> dict:
    return manifests()["Deployment"]["spec"]["template"]["spec"]["containers"][0]


def test_model_config():
    config = model_server_config_pb2.ModelServerConfig()
    text_format.Parse((DEPLOY / "models.config").read_text(), config)
    (model,) = config.model_config_list.config
    assert model.name == MODEL_NAME and model.base_path == f"/models/{MODEL_NAME}"
    assert set(model.version_labels) == {"stable", "canary"}
    assert model.model_version_policy.latest.num_versions >= len(set(model.version_labels.values()))


def test_batching_and_monitoring_config():
    batching = parse("batching.config", "BatchingParameters")
    assert min(value.value for _, value in batching.ListFields()) > 0
    monitoring = parse("monitoring.config", "MonitoringConfig").prometheus_config
    annotations = manifests()["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert monitoring.enable and monitoring.path == annotations["prometheus.io/path"]


@pytest.mark.parametrize("arguments", [compose()["command"], container()["args"]], ids=["compose", "kubernetes"])
def test_every_config_file_named_is_there_and_used(arguments):
    named = {argument.split("=/config/")[1] for argument in arguments if "=/config/" in argument}
    assert named == {path.name for path in DEPLOY.glob("*.config")}


def test_compose_file_fits_the_compose_specification():
    import jsonschema  # takes a second

    schema = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    jsonschema.validate(yaml.safe_load((DEPLOY / "docker-compose.yml").read_text()), json.loads(schema.read_text()))


def as_kubernetes_reads_it(manifest: dict) -> dict:
    """What is left of a manifest in the API's own classes, which refuse a missing field and drop an unknown one."""
    client = kubernetes.client.ApiClient()
    response = SimpleNamespace(data=json.dumps(manifest))
    return client.sanitize_for_serialization(client.deserialize(response, f"V1{manifest['kind']}"))


def test_kubernetes_manifests_fit_their_schemas():
    for manifest in [*manifests().values(), *canary().values()]:
        assert as_kubernetes_reads_it(manifest) == manifest


@pytest.mark.parametrize("wrong", [{"resurces": {}}, {"tty": "yes"}, {"ports": [{"name": "grpc"}]}])
def test_the_schemas_would_find_a_mistake(wrong):
    manifest = manifests()["Deployment"]
    manifest["spec"]["template"]["spec"]["containers"][0].update(wrong)
    with pytest.raises((ValueError, AssertionError)):
        assert as_kubernetes_reads_it(manifest) == manifest


def test_kubernetes_parts_fit_together():
    deployment, service = manifests()["Deployment"]["spec"], manifests()["Service"]["spec"]
    pod = deployment["template"]
    labels = pod["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == labels == {**service["selector"], "track": "stable"}
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    assert ports == {port["targetPort"]: port["port"] for port in service["ports"]} == {"grpc": 8500, "rest": 8501}
    assert {mount["name"] for mount in container()["volumeMounts"]} == {v["name"] for v in pod["spec"]["volumes"]}
    assert container()["startupProbe"]["httpGet"] == {"path": f"/v1/models/{MODEL_NAME}", "port": "rest"}
    assert container()["livenessProbe"]["tcpSocket"]["port"] in ports
    assert int(container()["resources"]["limits"]["nvidia.com/gpu"]) >= 1


def test_a_pod_that_ends_outlives_the_calls_under_way():
    grace = manifests()["Deployment"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    slept = int(re.search(r"sleep (\d+)", container()["lifecycle"]["preStop"]["exec"]["command"][2])[1])
    timeout = inspect.signature(SegmentationClient).parameters["timeout"].default
    readiness = container()["readinessProbe"]
    unready_after = readiness["periodSeconds"] * readiness["failureThreshold"] + readiness["timeoutSeconds"]
    assert unready_after + timeout < slept < grace


def test_readiness_goes_first_and_calls_are_answered_meanwhile(server, tmp_path):
    def command(words: list[str]) -> list[str]:
        """As in the pod, but for its paths, ports and patience."""
        own = words[2].replace("/tmp/", f"{tmp_path}/").replace("/8501", f"/{server.rest_port}").replace("sleep 40", "")
        return [*words[:2], own]

    ready = command(container()["readinessProbe"]["exec"]["command"])
    assert subprocess.run(ready).returncode == 0
    elsewhere = [*ready[:2], ready[2].replace(MODEL_NAME, "other")]
    assert subprocess.run(elsewhere).returncode == 1
    subprocess.run(command(container()["lifecycle"]["preStop"]["exec"]["command"]), check=True)
    assert subprocess.run(ready).returncode == 1
    assert requests.get(f"http://127.0.0.1:{server.rest_port}/v1/models/{MODEL_NAME}").status_code == 200


def test_a_canary_is_the_same_with_a_config_and_labels_of_its_own():
    stable, other = manifests(), canary()
    assert other["Deployment"]["metadata"]["name"] == other["Service"]["metadata"]["name"] == f"{MODEL_NAME}-canary"
    labels = {"app": MODEL_NAME, "track": "canary"}
    assert (
        other["Deployment"]["spec"]["template"]["metadata"]["labels"] == labels == other["Service"]["spec"]["selector"]
    )
    assert other["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert stable["Service"]["spec"]["selector"].items() <= labels.items()  # so it gets its share of all calls
    text = yaml.safe_dump(other).replace("-canary", "").replace("track: canary", "track: stable")
    same = yaml.safe_load(text.replace("replicas: 1", "replicas: 2"))
    del same["Service"]["spec"]["selector"]["track"]
    assert same == stable


def test_compose_mounts_what_its_command_reads():
    targets = {volume.rsplit(":", 2)[1] for volume in compose()["volumes"]}
    assert targets == {"/models", "/config"}
    assert compose()["ports"] == ["8500:8500", "8501:8501"]
