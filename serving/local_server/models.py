"""One model's folder: the newest version that loads is served; a newer one takes over once it is ready."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow_serving.apis import get_model_status_pb2, model_pb2

from serving.export import read_categories
from serving.local_server.status import Code, ServingError, invalid
from serving.prediction_counts import MASKS_AND_SCORES, PredictionCounts
from serving.saved_model import load_saved_model, model_in, version_of, versions
from serving.warmup import read_warmup
from trainer.errors import UserError, one_line

log = logging.getLogger(__name__)
State = get_model_status_pb2.ModelVersionStatus
DEFAULT_SIGNATURE = "serving_default"


class Servable:
    """One loaded SavedModel version, warmed up.

    Attributes:
      version: its number.
      signatures: by name.
      counts: what it predicted, masks and scores; None for a model that does not tell.
    """

    def __init__(self, path: Path, version: int):
        path = model_in(path) or path
        self.version = version
        self.counts: PredictionCounts | None = None
        saved = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
        self.signatures: dict[str, meta_graph_pb2.SignatureDef] = dict(saved.meta_graphs[0].signature_def)
        self._model = load_saved_model(path)
        for request in read_warmup(path):
            inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
            self.run(request.model_spec.signature_name, inputs)
        if MASKS_AND_SCORES in self.signatures:
            self.counts = PredictionCounts(read_categories(path, "segmentation").names)

    def run(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Calls one signature. Threads may call at the same time.

        Raises:
          tf.errors.OpError: the graph refused the input.
        """
        if not self.counts or signature not in (DEFAULT_SIGNATURE, MASKS_AND_SCORES):
            return self._call(signature, inputs)
        outputs = self._call(MASKS_AND_SCORES, inputs)  # the same masks, and what is counted, of one look
        self.counts.add(outputs["area"], outputs["confidence"])
        return {name: outputs[name] for name in self.signatures[signature].outputs}

    def _call(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        dtypes = {name: tf.as_dtype(info.dtype) for name, info in self.signatures[signature].inputs.items()}
        tensors = {name: tf.constant(value, dtypes[name]) for name, value in inputs.items()}
        return {name: value.numpy() for name, value in self._model.signatures[signature](**tensors).items()}


class VersionManager(Collector):
    """Watches a model's folder.

    `model_dir` is a base folder with numeric version folders (TF Serving's layout) or one SavedModel itself. One
    version is served at a time, until a newer one is loaded beside it.
    """

    def __init__(self, name: str, model_dir: Path, poll_seconds: float):
        self.name = name
        self.model_dir = model_dir
        self._current: Servable | None = None  # replaced, never changed: readers need no lock
        self._statuses: dict[int, State] = {}  # likewise
        self._failed: dict[int, list] = {}  # version -> its files when loading failed; tried again when they change
        self._refreshing = threading.Lock()
        self._stopped = threading.Event()
        self.refresh()
        if not self._current:
            reasons = [f"version {number}: {state.status.error_message}" for number, state in self._statuses.items()]
            detail = "; ".join(reasons) or "it holds neither saved_model.pb nor numbered version folders"
            raise UserError(f"{model_dir}: no model to serve ({detail}); give an exported or a pushed model")
        watch = {"target": self._watch, "args": (poll_seconds,), "name": "version-watch"}
        self._thread: threading.Thread = threading.Thread(**watch, daemon=True)
        self._thread.start()

    def stop(self, grace_seconds: float | None = None) -> None:
        """Looks no more; waits for a load under way, no longer than the grace."""
        self._stopped.set()
        self._thread.join(grace_seconds)

    def find(self, spec: model_pb2.ModelSpec) -> Servable:
        """The servable a request means. Version 0 means the newest, as OpenVINO's clients expect.

        Raises:
          ServingError: NOT_FOUND for the model or version, INVALID_ARGUMENT for a label: this server has none.
        """
        if not spec.name:
            raise invalid("Missing ModelSpec")
        if spec.version_label:
            raise invalid(f"Unrecognized servable version label: {spec.version_label}")
        servable, version = self._current, spec.version.value
        if spec.name == self.name and version in (0, servable.version):
            return servable
        wanted = f"Specific({spec.name}, {version})" if version else f"Latest({spec.name})"
        raise ServingError(Code.NOT_FOUND, f"Servable not found for request: {wanted}")

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """What the version being served has answered, as prometheus_client asks its collectors."""
        if self._current.counts:
            yield from self._current.counts.collect()

    def newest(self) -> int:
        """The version being served."""
        return self._current.version

    def status(self, spec: model_pb2.ModelSpec) -> get_model_status_pb2.GetModelStatusResponse:
        """States of one version or of all, newest first.

        Raises:
          ServingError: NOT_FOUND for the model or version, INVALID_ARGUMENT for a label.
        """
        version = self.find(spec).version if spec.version_label else spec.version.value
        known = self._statuses if spec.name == self.name else {}
        chosen = [known[v] for v in sorted(known, reverse=True) if not version or v == version]
        if not chosen:
            what = f"version {version}" if version and spec.name == self.name else "any versions"
            raise ServingError(Code.NOT_FOUND, f"Could not find {what} of model {spec.name}")
        return get_model_status_pb2.GetModelStatusResponse(model_version_status=chosen)

    def refresh(self) -> bool:
        """Takes up the newest version in the folder that loads; with none, what is served goes on. Whether it did."""
        with self._refreshing:
            before, folders = self._current, self._folders()
            for version in sorted(folders, reverse=True):
                if before and version == before.version:
                    break
                if servable := self._load(version, folders[version]):
                    self._current = servable  # calls under way hold their own reference to the one before
                    self._set_status(version, State.AVAILABLE)
                    log.info("serving %s version %d", self.name, version)
                    if before:
                        self._set_status(before.version, State.END)
                    return True
        return False

    def _watch(self, poll_seconds: float) -> None:
        while not self._stopped.wait(poll_seconds):
            try:
                if self.refresh():
                    gc.collect()  # a model holds itself in circles: its memory would come back some time, or never
            except Exception as error:  # whatever is in the folder, the watch goes on
                log.warning("%s: cannot look for new versions: %s", self.model_dir, error)

    def _folders(self) -> dict[int, Path]:
        if (self.model_dir / "saved_model.pb").exists():
            return {version_of(self.model_dir.name) or 1: self.model_dir}
        # One without a model is still being copied: saved_model.pb is what TF Serving waits for too.
        return {number: folder for number, folder in versions(self.model_dir).items() if model_in(folder)}

    def _load(self, version: int, path: Path) -> Servable | None:
        files = None
        try:
            files = sorted((str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in path.rglob("*") if f.is_file())
            if self._failed.get(version) == files:
                return None
            self._set_status(version, State.LOADING)
            servable = Servable(path, version)
        except Exception as error:  # whatever is wrong with a version, the others go on serving
            self._failed[version] = files
            message = one_line(error)
            log.error("%s: cannot load: %s", path, message)
            self._set_status(version, State.END, Code.UNKNOWN, message)
            return None
        self._failed.pop(version, None)
        return servable

    def _set_status(self, version: int, state: int, code: Code = Code.OK, message: str = "") -> None:
        status = State(version=version, state=state)
        status.status.error_code = code.value[0]
        status.status.error_message = message
        self._statuses = {**self._statuses, version: status}
