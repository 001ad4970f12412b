"""Label Studio's ML backend contract, over real sockets, and its strokes read back by our own import."""

import base64
import http.server
import json
import re
import subprocess
import threading

import numpy as np
import pytest
import requests
from commands import COMMAND, ROOT
from labelling_samples import CATEGORIES, encode, scene
from PIL import Image

from components.dataset_import.label_studio import read_label_studio
from components.label_studio.backend import Backend
from components.label_studio.config import read_interface
from components.label_studio.pictures import PictureSource
from components.label_studio.server import LabelStudioServer
from serving.model import load_model
from trainer.data.pictures import read_header
from trainer.errors import ImageFault, UserError

INTERFACE = """<View><Image name="img" value="$photo"/><BrushLabels name="brush" toName="img">
<Label value="Bee"/><Label value="cow"/><Label value="wasp"/></BrushLabels></View>"""
OTHER_LABELS = INTERFACE.replace("Bee", "x").replace("cow", "y")
PREDICTIONS = {
    "type": "object",
    "required": ["results"],
    "properties": {
        "results": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["result", "score", "model_version"],
                "properties": {
                    "score": {"type": "number", "minimum": 0, "maximum": 1},
                    "result": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["id", "from_name", "to_name", "type", "value", "original_width", "score"],
                        },
                    },
                },
            },
        }
    },
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Pictures as a folder; one of them lies turned."""
    folder = tmp_path_factory.mktemp("photos")
    exif = Image.Exif()
    exif[0x0112] = 6
    (folder / "bee.png").write_bytes(encode(scene(2, 3)[0]))
    (folder / "turned.jpg").write_bytes(encode(scene(3, 4)[0], "JPEG", exif=exif, quality=95))
    return folder


@pytest.fixture(scope="module")
def label_studio(photos):
    """What stands for Label Studio: gives its pictures to those who show the token."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            if self.headers.get("Authorization") != "Token secret":
                self.send_error(401)
                return
            self.path = "/" + self.path.rpartition("/")[2]
            super().do_GET()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), lambda *arguments: Handler(*arguments, directory=str(photos))
    )
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def backend(models, label_studio):
    server = LabelStudioServer(("127.0.0.1", 0), Backend(models["segmentation"], PictureSource(label_studio, "secret")))
    yield f"http://127.0.0.1:{server.port}"
    server.stop()


def predict(backend, *pictures, interface=INTERFACE):
    tasks = [{"id": i, "data": {"photo": picture}} for i, picture in enumerate(pictures)]
    body = {"tasks": tasks, "label_config": interface, "project": "1.1700000000", "params": {"context": None}}
    return requests.post(f"{backend}/predict", json=body, timeout=60)


def test_health_and_setup(backend):
    for page in ("", "/", "/health"):
        assert requests.get(f"{backend}{page}", timeout=60).json()["status"] == "UP"
    body = {"project": "1.1", "schema": INTERFACE, "hostname": "http://elsewhere", "access_token": "x"}
    answer = requests.post(f"{backend}/setup", json=body, timeout=60)
    assert answer.status_code == 200 and answer.json()["model_version"].startswith("transferseg")


def test_strokes_come_back_as_the_models_mask(backend, photos, models, tmp_path):
    """Predictions, taken over by an annotator as they are, exported, imported."""
    from jsonschema import validate  # takes a second

    answer = predict(backend, "/data/upload/1/bee.png", "/data/upload/1/turned.jpg")
    assert answer.status_code == 200
    validate(answer.json(), PREDICTIONS)
    names = ["bee.png", "turned.jpg"]
    export = [
        {"id": i, "data": {"photo": f"/data/upload/1/{name}"}, "annotations": [{"result": prediction["result"]}]}
        for i, (name, prediction) in enumerate(zip(names, answer.json()["results"], strict=True))
    ]
    (tmp_path / "export.json").write_text(json.dumps(export))
    contents = read_label_studio(str(tmp_path / "export.json"), str(photos))
    assert contents.names == ("Bee", "cow")
    model = load_model(models["segmentation"])
    for name, sample in zip(names, sorted(contents.samples, key=lambda sample: sample.name), strict=True):
        data = (photos / name).read_bytes()
        wanted, drawn = model(data), sample.mask(read_header(data)).ids  # both on the stored pixels
        for label, category in (("Bee", "bee"), ("cow", "cow")):
            found = drawn == contents.names.index(label) + 1
            np.testing.assert_array_equal(found, wanted == CATEGORIES.id_of(category))
        assert (wanted > 1).any(), "no stroke: this compares nothing"


def test_a_bad_picture_costs_its_own_prediction_alone(backend):
    good = "data:image/png;base64," + base64.b64encode(encode(scene(2, 3)[0])).decode()
    bad = ["/data/upload/1/missing.png", "/etc/passwd", "file:///etc/passwd"]
    bad += ["data:image/png;base64,äöü", "http://[bad/x.png", "//[x/y.png"]
    answer = predict(backend, good, *bad, good)
    counts = [len(prediction["result"]) for prediction in answer.json()["results"]]
    assert counts[0] == counts[-1] > 0 and counts[1:-1] == [0] * len(bad)


def test_the_token_goes_to_label_studio_alone(label_studio):
    with pytest.raises(ImageFault, match="HTTP 401"):
        PictureSource("http://127.0.0.1:1", "secret").read(f"{label_studio}/bee.png")
    with pytest.raises(ImageFault, match="set LABEL_STUDIO_URL"):
        PictureSource().read("/data/upload/1/bee.png")


@pytest.mark.parametrize(
    "body, message",
    [
        (b"[]", "no JSON object"),
        (b"{", "no JSON object"),
        (b"{}", "no list of tasks"),
        (b'{"tasks": []}', "is no XML"),
        (json.dumps({"tasks": [], "label_config": "<View/>"}).encode(), "no BrushLabels"),
        (json.dumps({"tasks": [], "label_config": OTHER_LABELS}).encode(), "no label of the interface"),
    ],
)
def test_wrong_requests_are_400_with_the_reason(backend, body, message):
    answer = requests.post(f"{backend}/predict", data=body, timeout=60)
    assert answer.status_code == 400 and message in answer.json()["error"]
    assert requests.get(f"{backend}/nothing", timeout=60).status_code == 404


def test_a_new_version_is_taken_up(models, tmp_path):
    (tmp_path / "1").symlink_to(models["segmentation"])
    backend = Backend(tmp_path, PictureSource())
    (tmp_path / "2").symlink_to(models["segmentation"])
    request = {"tasks": [], "label_config": INTERFACE}
    assert backend._model.path.name == "1" and backend.predict(request)["results"] == []
    assert backend._model.path.name == "2"


def test_interfaces_name_tags_data_and_labels():
    interface = read_interface(INTERFACE)
    assert (interface.from_name, interface.to_name, interface.key) == ("brush", "img", "photo")
    assert interface.names(CATEGORIES) == {2: "Bee", 3: "cow"}
    with pytest.raises(UserError, match="no BrushLabels"):
        read_interface(INTERFACE.replace("$photo", "photo"))


@pytest.mark.slow
def test_the_command_serves_both(models):
    """`serve --label-studio` without a port takes 9090, so here with one of its own."""
    command = [*COMMAND, "serve", "--model", str(models["segmentation"]), "--grpc-port", "0", "--rest-port", "0"]
    with subprocess.Popen([*command, "--label-studio", "0"], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            lines = [process.stdout.readline() for _ in range(2)]
            [url] = re.findall(r"ML backend: (http://\S+)", lines[1])
            assert requests.get(f"{url}/health", timeout=60).json()["status"] == "UP"
            [rest] = re.findall(r"REST (http://\S+)", lines[0])
            assert requests.get(rest, timeout=60).status_code == 200
        finally:
            process.terminate()
