"""`transferseg push hf` against a hub on loopback with the real one's protocol: create, preupload, LFS, commit."""

import base64
import hashlib
import json
import os
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from commands import transferseg_process

from pipeline.hub import push
from serving.saved_model import MODEL_CARD
from trainer.errors import UserError

CARD = "---\nlibrary_name: tensorflow\n---\n# pets\n\nmIoU 61.2\n"
WEIGHTS = bytes(range(256)) * 40
REPO = "my-lab/pets"
TOKEN = "hf_of_the_test"


@pytest.fixture
def version(tmp_path):
    folder = tmp_path / "serving" / "pets" / "12"
    files = {
        "saved_model.pb": b"graph",
        "variables/variables.index": b"index",
        "variables/variables.data-00000-of-00001": WEIGHTS,
        "assets.extra/categories.json": b"{}",
        "assets.extra/metadata.json": json.dumps({"image_size": 321, "lineage": {"run": "/home/me/run"}}).encode(),
        "assets.extra/tf_serving_warmup_requests": b"pictures",
        "assets.extra/trainer_predictions.tfrecord": b"pictures",
        MODEL_CARD: CARD.encode(),
    }
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


class Hub(BaseHTTPRequestHandler):
    """One repository; what is committed lands in `server.files`."""

    def log_message(self, *_):
        pass

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def answer(self, value: object, status: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        assert self.path.startswith(f"/api/models/{REPO}/tree/main"), self.path
        files = self.server.files
        self.answer([{"type": "file", "path": name, "size": len(files[name]), "oid": "0" * 40} for name in files])

    def do_PUT(self):
        data = self.body()
        self.server.large[hashlib.sha256(data).hexdigest()] = data
        self.answer({})

    def do_POST(self):
        body = self.body()
        if self.headers["Authorization"] != f"Bearer {TOKEN}" and "lfs" not in self.path:
            return self.answer({"error": "no"}, 401)
        request = None if self.path.endswith("/commit/main") else json.loads(body)
        if self.path == "/api/repos/create":
            self.server.created.append(request)
            if len(self.server.created) > 1:
                return self.answer(
                    {"error": "You already created this model repo", "url": f"{self.server.url}/{REPO}"}, 409
                )
            return self.answer({"url": f"{self.server.url}/{REPO}"})
        if self.path == "/api/validate-yaml":
            assert request["content"] == CARD
            return self.answer({"errors": [], "warnings": []})
        if self.path == f"/api/models/{REPO}/preupload/main":
            modes = {file["path"]: "lfs" if file["size"] > 1000 else "regular" for file in request["files"]}
            return self.answer(
                {"files": [{"path": name, "uploadMode": mode, "shouldIgnore": False} for name, mode in modes.items()]}
            )
        if self.path == f"/{REPO}.git/info/lfs/objects/batch":
            actions = {"upload": {"href": f"{self.server.url}/large"}}
            objects = [{**one, "actions": actions} for one in request["objects"]]
            return self.answer({"transfer": "basic", "objects": objects})
        assert self.path == f"/api/models/{REPO}/commit/main", self.path
        for line in body.splitlines():
            operation = json.loads(line)
            value = operation["value"]
            if operation["key"] == "file":
                self.server.files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                self.server.files[value["path"]] = self.server.large[value["oid"]]
            elif operation["key"] == "deletedFile":
                del self.server.files[value["path"]]
            else:
                self.server.commits.append(value["summary"])
        url = f"{self.server.url}/{REPO}/commit/{'1' * 40}"
        return self.answer({"commitUrl": url, "commitOid": "1" * 40})


@contextmanager
def hub():
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.url = f"http://127.0.0.1:{server.server_port}"
        server.files, server.large = {".gitattributes": b"", "old.txt": b"of an earlier version"}, {}
        server.created, server.commits = [], []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


def push_to(server, *arguments, token=TOKEN):
    """A process of its own: huggingface_hub reads its environment when it is imported."""
    environment = {"HF_ENDPOINT": server.url, "HF_TOKEN": token, "HF_HUB_DISABLE_XET": "1"}
    return transferseg_process("push", "hf", "--repo", REPO, *arguments, env=os.environ | environment)


def test_a_version_is_uploaded_with_its_card_and_without_pictures(version):
    pytest.importorskip("huggingface_hub", reason="the extra hf is not installed: nothing was pushed to a hub")
    with hub() as server:
        done = push_to(server, "--model", version.parent, "--private", "--json", version.parent / "done.json")
        assert done.returncode == 0, done.stderr
        assert server.files == {
            ".gitattributes": b"",
            "README.md": CARD.encode(),
            "saved_model.pb": b"graph",
            "variables/variables.index": b"index",
            "variables/variables.data-00000-of-00001": WEIGHTS,
            "assets.extra/categories.json": b"{}",
            "assets.extra/metadata.json": json.dumps({"image_size": 321}, indent=1).encode(),
        }
        assert server.commits == ["Version 12"] and server.created[0]["visibility"] == "private"
        found = json.loads((version.parent / "done.json").read_text())
        assert found["url"] in done.stdout and found["version"] == str(version) and len(found["files"]) == 6

        (version / "variables" / "variables.index").unlink()
        assert push_to(server, "--model", version).returncode == 0
        assert "variables/variables.index" not in server.files and len(server.commits) == 2


def test_what_the_hub_refuses_is_told(version):
    pytest.importorskip("huggingface_hub", reason="the extra hf is not installed: nothing was pushed to a hub")
    with hub() as server:
        done = push_to(server, "--model", version, token="hf_wrong")
        assert done.returncode == 2 and f"{REPO}: the hub refused with status 401" in done.stderr, done.stderr
        assert "give HF_TOKEN one that may write there" in done.stderr and server.files.keys() == {
            ".gitattributes",
            "old.txt",
        }
    done = push_to(server, "--model", version)
    assert done.returncode == 2 and f"the hub at {server.url} cannot be reached" in done.stderr, done.stderr


def test_without_the_extra_or_a_token_the_remedy_is_named(version, monkeypatch, tmp_path):
    try:
        import huggingface_hub
    except ImportError:
        with pytest.raises(UserError, match=r"is not installed; in the checkout: build/uv/bin/uv pip install -e"):
            push(version, REPO)
    else:
        monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
        with pytest.raises(UserError, match="no token of the Hugging Face Hub: set HF_TOKEN"):
            push(version, REPO)


@pytest.mark.parametrize("repo", ["my-lab/a--b", "my-lab/x.git", "my-lab/-x"])
def test_names_that_the_hub_has_not_got_are_refused(version, repo):
    pytest.importorskip("huggingface_hub", reason="the extra hf is not installed: nothing was pushed to a hub")
    with hub() as server:
        done = push_to(server, "--model", version, "--repo", repo)
        assert done.returncode == 2 and f"--repo {repo}: no name of a repository" in done.stderr, done.stderr


def test_wrong_arguments_are_refused_before_anything_is_sent(version, tmp_path):
    for repo in ("pets", "my lab/pets", "a/b/c", "my-lab/"):
        with pytest.raises(UserError, match="not OWNER/NAME"):
            push(version, repo)
    with pytest.raises(UserError, match="99: not a SavedModel"):
        push(version.parent / "99", REPO)
    (version / MODEL_CARD).unlink()
    with pytest.raises(UserError, match="12: has no model card"):
        push(version.parent, REPO)
