"""Real sockets: clients that are not ours get the in-process model's masks, and TF Serving's statuses for mistakes."""

import base64
import json
import re
import subprocess

import grpc
import numpy as np
import ovmsclient
import pytest
import requests
import tensorflow as tf
from commands import ROOT, TIMEOUT_S
from google.protobuf import text_format
from serving_samples import BAD_IMAGES, CATEGORIES, ODD_IMAGES, draw, encode, read_mask
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.client import SegmentationClient
from trainer.errors import UserError

IMAGES = [encode(draw(h, w, seed), "JPEG") for seed, (h, w) in enumerate([(50, 80), (120, 75), (33, 7)])]


@pytest.fixture(scope="module")
def stub(address):
    with grpc.insecure_channel(address.grpc) as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


def predict_request(images, signature="serving_default", name="image_bytes", model="transferseg", version=None):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    if version is not None:
        request.model_spec.version.value = version
    request.inputs[name].CopyFrom(tf.make_tensor_proto(images, tf.string, [len(images)]))
    return request


def refusal(call, *arguments) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as error:
        call(*arguments, timeout=TIMEOUT_S)
    return error.value.code().name, error.value.details()


def post(address, body, path="/v1/models/transferseg:predict") -> requests.Response:
    data = body if isinstance(body, (bytes, str)) else json.dumps(body)
    return requests.post(f"http://{address.rest}{path}", data=data, timeout=TIMEOUT_S)


def b64(data: bytes) -> dict:
    return {"b64": base64.b64encode(data).decode()}


def check_masks(address, signatures, images, masks) -> None:
    for image, mask in zip(images, masks, strict=True):
        served = read_mask(mask)
        own = signatures["serving_default"](image_bytes=tf.constant([image]))["mask_bytes"].numpy()[0]
        assert served.shape == read_mask(own).shape
        if address.is_ours:
            np.testing.assert_array_equal(served, read_mask(own))


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_our_client_gets_the_in_process_masks_of_mixed_sizes(address, signatures, transport):
    with SegmentationClient(getattr(address, transport), transport=transport) as client:
        check_masks(address, signatures, IMAGES, client.predict(IMAGES))


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_our_client_asks_for_a_label(address, transport):
    """The local server has none, and says so as TF Serving does of one that it does not know."""
    with (
        SegmentationClient(getattr(address, transport), transport=transport, version="stable") as client,
        pytest.raises(UserError, match="Unrecognized servable version label: stable|Could not find label stable"),
    ):
        client.predict(IMAGES[:1])


@pytest.mark.parametrize("signature", ["serving_default", "masks_and_scores"])
def test_what_masks_show_is_counted_whoever_asks(address, stub, signature):
    if not address.is_ours:
        pytest.skip("TF Serving counts no predictions")

    def count() -> float:
        text = requests.get(f"http://{address.rest}/metrics", timeout=TIMEOUT_S).text
        return float(re.search(r"^transferseg_prediction_confidence_count (\S+)", text, re.MULTILINE)[1])

    before = count()
    stub.Predict(predict_request(IMAGES, signature), timeout=TIMEOUT_S)
    assert count() == before + len(IMAGES)


def test_tensorflow_serving_stub(address, signatures, stub):
    response = stub.Predict(predict_request(IMAGES), timeout=TIMEOUT_S)
    check_masks(address, signatures, IMAGES, response.outputs["mask_bytes"].string_val)
    assert response.model_spec.signature_name == "serving_default"
    scores = stub.Predict(predict_request(IMAGES, "scores"), timeout=TIMEOUT_S).outputs
    assert tf.make_ndarray(scores["scores"]).shape[0] == len(IMAGES)
    filtered = predict_request(IMAGES, "scores")
    filtered.output_filter.append("area")
    assert list(stub.Predict(filtered, timeout=TIMEOUT_S).outputs) == ["area"]


def test_ovmsclient_over_grpc_and_rest(address, signatures):
    by_grpc = ovmsclient.make_grpc_client(address.grpc)
    check_masks(address, signatures, IMAGES[:1], by_grpc.predict({"image_bytes": IMAGES[:1]}, "transferseg"))
    by_rest = ovmsclient.make_http_client(address.rest)
    answer = by_rest.predict({"image_bytes": IMAGES[:1]}, "transferseg")
    check_masks(address, signatures, IMAGES[:1], [base64.b64decode(item["b64"]) for item in answer])
    for client in (by_grpc, by_rest):
        states = client.get_model_status("transferseg")
        assert [state["state"] for state in states.values()] == ["AVAILABLE"]
    assert by_grpc.get_model_metadata("transferseg")["outputs"]["mask_bytes"]["dtype"] == "DT_STRING"
    assert "metadata" in by_rest.get_model_metadata("transferseg")


def test_curl(address, signatures, tmp_path):
    """As docs/serving.md has it, with a picture longer than a command may be."""
    page = (ROOT / "docs" / "serving.md").read_text()
    [command] = re.findall(r"^transferseg query .*\n([^`]*curl [^`]*)^```", page, re.MULTILINE)
    picture = encode(np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8))
    (tmp_path / "photo.jpg").write_bytes(picture)
    script = command.replace("localhost:8501", address.rest)
    run = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, check=True)
    masks = [base64.b64decode(mask["b64"]) for mask in json.loads(run.stdout)["predictions"]]
    check_masks(address, signatures, [picture], masks)


@pytest.mark.parametrize(
    "body, key",
    [
        ({"instances": [b64(image) for image in IMAGES]}, "predictions"),
        ({"instances": [{"image_bytes": b64(image)} for image in IMAGES]}, "predictions"),
        ({"inputs": [b64(image) for image in IMAGES]}, "outputs"),
        ({"inputs": {"image_bytes": [b64(image) for image in IMAGES]}}, "outputs"),
    ],
    ids=["rows", "named rows", "column", "named column"],
)
def test_rest_formats(address, signatures, body, key):
    response = post(address, body)
    assert response.status_code == 200, response.text
    check_masks(address, signatures, IMAGES, [base64.b64decode(mask["b64"]) for mask in response.json()[key]])


def test_rest_rows_of_several_outputs_are_objects(address):
    response = post(address, {"signature_name": "scores", "instances": [b64(image) for image in IMAGES]})
    rows = response.json()["predictions"]
    assert len(rows) == len(IMAGES)
    assert set(rows[0]) == {"scores", "area", "confidence"}
    assert sum(rows[0]["area"]) == pytest.approx(1, abs=1e-4)


def test_status_and_metadata_over_both(address, stub):
    with grpc.insecure_channel(address.grpc) as channel:
        request = text_format.Parse('model_spec { name: "transferseg" }', get_model_status_pb2.GetModelStatusRequest())
        (status,) = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request).model_version_status
    assert status.state == get_model_status_pb2.ModelVersionStatus.AVAILABLE
    (rest,) = requests.get(f"http://{address.rest}/v1/models/transferseg").json()["model_version_status"]
    assert rest["state"] == "AVAILABLE" and int(rest["version"]) == status.version

    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "transferseg"
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert stub.GetModelMetadata(request).metadata["signature_def"].Unpack(signatures)
    rest = requests.get(f"http://{address.rest}/v1/models/transferseg/metadata").json()
    named = set(rest["metadata"]["signature_def"]["signature_def"])
    assert {"serving_default", "scores", "examples", "evaluate"} <= set(signatures.signature_def) & named


@pytest.mark.parametrize("name", ODD_IMAGES)
def test_unusual_images_are_served(address, stub, name):
    data, shape = ODD_IMAGES[name]
    mask = read_mask(stub.Predict(predict_request([data]), timeout=TIMEOUT_S).outputs["mask_bytes"].string_val[0])
    assert mask.shape == shape
    if address.is_ours:
        assert mask.max() < CATEGORIES.num_classes


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_bad_images_are_refused_over_both(address, stub, name):
    code, message = refusal(stub.Predict, predict_request([BAD_IMAGES[name]]))
    assert code == "INVALID_ARGUMENT" and message
    response = post(address, {"instances": [b64(BAD_IMAGES[name])]})
    assert response.status_code == 400 and response.json()["error"]


def test_mistakes_over_grpc(stub):
    assert refusal(stub.Predict, predict_request(IMAGES, model="other"))[0] == "NOT_FOUND"
    assert refusal(stub.Predict, predict_request(IMAGES, version=99))[0] == "NOT_FOUND"
    assert refusal(stub.Predict, predict_request(IMAGES, "unknown"))[0] == "FAILED_PRECONDITION"
    assert refusal(stub.Predict, predict_request(IMAGES, name="images"))[0] == "INVALID_ARGUMENT"
    assert refusal(stub.Predict, predict_request([]))[0] == "INVALID_ARGUMENT"
    assert refusal(stub.Predict, predict_pb2.PredictRequest())[0] == "INVALID_ARGUMENT"
    labelled = predict_request(IMAGES)
    labelled.model_spec.version_label = "unknown"
    assert refusal(stub.Predict, labelled)[0] == "INVALID_ARGUMENT"
    floats = predict_request(IMAGES)
    floats.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([1.0, 2.0]))
    assert refusal(stub.Predict, floats)[0] == "INVALID_ARGUMENT"
    matrix = predict_request(IMAGES)
    matrix.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([[IMAGES[0]]]))
    assert refusal(stub.Predict, matrix)[0] == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    "path, body, status",
    [
        ("/v1/models/other:predict", {"instances": [b64(IMAGES[0])]}, 404),
        ("/v1/models/transferseg/versions/99:predict", {"instances": [b64(IMAGES[0])]}, 404),
        ("/v1/models/transferseg/labels/unknown:predict", {"instances": [b64(IMAGES[0])]}, 400),
        ("/v1/models/transferseg:guess", {"instances": [b64(IMAGES[0])]}, 400),
        ("/v1/models/transferseg:predict", {"signature_name": "unknown", "instances": [b64(IMAGES[0])]}, 400),
        ("/v1/models/transferseg:predict", {"instances": [{"b64": "!not base64!"}]}, 400),
        ("/v1/models/transferseg:predict", {"instances": [{"b64": 7}]}, 400),
        ("/v1/models/transferseg:predict", {"instances": [{"images": b64(IMAGES[0])}]}, 400),
        ("/v1/models/transferseg:predict", {"instances": [1.5]}, 400),
        ("/v1/models/transferseg:predict", {"instances": []}, 400),
        ("/v1/models/transferseg:predict", {}, 400),
        ("/v1/models/transferseg:predict", [], 400),
        ("/v1/models/transferseg:predict", b"", 400),
        ("/v1/models/transferseg:predict", b"{not json", 400),
        ("/v1/models/transferseg:predict", b"\xff\xfe\x00", 400),
        ("/v1/models/transferseg:predict", b"[" * 100_000, 400),
    ],
)
def test_mistakes_over_rest(address, path, body, status):
    response = post(address, body, path)
    assert response.status_code == status, response.text
    assert response.json()["error"]


def test_classify_is_not_served(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        assert refusal(stub.Classify, classification_pb2.ClassificationRequest())[0] == "UNIMPLEMENTED"


def test_a_tensor_that_promises_more_than_it_holds_is_refused(stub):
    request = predict_request(IMAGES[:1])
    request.inputs["image_bytes"].tensor_shape.dim[0].size = 10**12
    assert refusal(stub.Predict, request)[0] == "INVALID_ARGUMENT"
