"""One model's versions: which folders are there, which are loaded, which one a request means."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow_serving.apis import get_model_status_pb2, model_pb2
from tensorflow_serving.config import file_system_storage_path_source_pb2, model_server_config_pb2

from serving.local_server.status import Code, ServingError, invalid
from serving.warmup import read_warmup
from trainer.errors import UserError

log = logging.getLogger(__name__)
State = get_model_status_pb2.ModelVersionStatus
Policy = file_system_storage_path_source_pb2.FileSystemStoragePathSourceConfig.ServableVersionPolicy


class Servable:
    """One loaded SavedModel version, warmed up."""

    def __init__(self, path: Path, version: int):
        self.version = version
        saved = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
        self.signatures: dict[str, meta_graph_pb2.SignatureDef] = dict(saved.meta_graphs[0].signature_def)
        self._model = tf.saved_model.load(str(path))
        for request in read_warmup(path):
            inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
            self.run(request.model_spec.signature_name, inputs)

    def run(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Calls one signature. Threads may call at the same time.

        Raises:
          tf.errors.OpError: the graph refused the input.
        """
        dtypes = {name: tf.as_dtype(info.dtype) for name, info in self.signatures[signature].inputs.items()}
        tensors = {name: tf.constant(value, dtypes[name]) for name, value in inputs.items()}
        return {name: value.numpy() for name, value in self._model.signatures[signature](**tensors).items()}


class VersionManager:
    """Watches a model's folder, loads new versions beside the old ones, then lets the old ones go.

    `model_dir` is a base folder with numeric version folders (TF Serving's layout) or one SavedModel itself.
    """

    def __init__(self, name: str, model_dir: Path, poll_seconds: float):
        self.name = name
        self.model_dir = model_dir
        self._policy = Policy()
        self._labels: dict[str, int] = {}
        self._servables: dict[int, Servable] = {}
        self._statuses: dict[int, State] = {}
        self._failed: dict[int, list] = {}  # version -> its files when loading failed; tried again when they change
        self._lock = threading.Lock()  # guards the tables above
        self._refreshing = threading.Lock()  # one refresh at a time
        self._stopped = threading.Event()
        self.refresh()
        if not self._servables:
            reasons = [
                f"version {version}: {status.status.error_message}" for version, status in self._statuses.items()
            ]
            detail = "; ".join(reasons) or "it holds neither saved_model.pb nor numbered version folders"
            raise UserError(f"{model_dir}: no model to serve ({detail}); give an exported or a pushed model")
        self._thread = threading.Thread(target=self._watch, args=(poll_seconds,), daemon=True, name="version-watch")
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def find(self, spec: model_pb2.ModelSpec) -> Servable:
        """The servable a request means. Version 0 without a folder `0` means the latest, as OpenVINO's clients expect.

        Raises:
          ServingError: NOT_FOUND for the model or version, INVALID_ARGUMENT for an unknown label.
        """
        if not spec.name:
            raise invalid("Missing ModelSpec")
        version = spec.version.value if spec.HasField("version") else None
        with self._lock:
            if spec.name == self.name and spec.version_label:
                if spec.version_label not in self._labels:
                    raise invalid(f"Unrecognized servable version label: {spec.version_label}")
                version = self._labels[spec.version_label]
            if spec.name == self.name and version in (None, 0) and 0 not in self._servables and self._servables:
                return self._servables[max(self._servables)]
            if spec.name == self.name and version in self._servables:
                return self._servables[version]
        wanted = f"Latest({spec.name})" if version is None else f"Specific({spec.name}, {version})"
        raise ServingError(Code.NOT_FOUND, f"Servable not found for request: {wanted}")

    def newest(self) -> int:
        """The highest version being served."""
        with self._lock:
            return max(self._servables)

    def status(self, spec: model_pb2.ModelSpec) -> get_model_status_pb2.GetModelStatusResponse:
        """States of one version or of all, newest first.

        Raises:
          ServingError: NOT_FOUND for the model or version.
        """
        version = spec.version.value if spec.HasField("version") else 0
        if spec.version_label:
            version = self.find(spec).version
        with self._lock:
            known = self._statuses if spec.name == self.name else {}
            chosen = [known[v] for v in sorted(known, reverse=True) if not version or v == version]
        if not chosen:
            what = f"version {version}" if version and spec.name == self.name else "any versions"
            raise ServingError(Code.NOT_FOUND, f"Could not find {what} of model {spec.name}")
        return get_model_status_pb2.GetModelStatusResponse(model_version_status=chosen)

    def configure(self, config: model_server_config_pb2.ModelConfig) -> None:
        """Takes over version policy and labels of TF Serving's model config; loads what it newly asks for.

        Raises:
          ServingError: INVALID_ARGUMENT for another model or folder, FAILED_PRECONDITION for a label whose version is
            not loaded.
        """
        if config.name != self.name or Path(config.base_path) != self.model_dir:
            raise invalid(f"this server serves only model {self.name} from {self.model_dir}")
        self._policy = config.model_version_policy
        self.refresh()
        with self._lock:
            for label, version in config.version_labels.items():
                if version not in self._servables:
                    raise ServingError(
                        Code.FAILED_PRECONDITION, f"label {label}: version {version} is not available for serving"
                    )
            self._labels = dict(config.version_labels)

    def refresh(self) -> None:
        """Brings the loaded versions in line with the folder. Old versions serve until the new ones are ready."""
        with self._refreshing:
            folders = self._wanted(self._folders())
            for version in sorted(folders.keys() - self._servables.keys()):
                self._load(version, folders[version])
            ready = folders.keys() & self._servables.keys()
            if ready:  # never let go of the last good version for a missing or broken one
                for version in self._servables.keys() - ready:
                    self._retire(version)

    def _watch(self, poll_seconds: float) -> None:
        while not self._stopped.wait(poll_seconds):
            try:
                self.refresh()
            except OSError as error:
                log.warning("%s: cannot look for new versions: %s", self.model_dir, error)

    def _folders(self) -> dict[int, Path]:
        if (self.model_dir / "saved_model.pb").exists():
            return {int(self.model_dir.name) if self.model_dir.name.isdigit() else 1: self.model_dir}
        if not self.model_dir.is_dir():
            return {}
        return {int(path.name): path for path in self.model_dir.iterdir() if path.is_dir() and path.name.isdigit()}

    def _wanted(self, folders: dict[int, Path]) -> dict[int, Path]:
        chosen = self._policy.WhichOneof("policy_choice")
        if chosen == "all":
            return folders
        if chosen == "specific":
            return {version: path for version, path in folders.items() if version in self._policy.specific.versions}
        newest = sorted(folders)[-(self._policy.latest.num_versions or 1) :]
        return {version: folders[version] for version in newest}

    def _load(self, version: int, path: Path) -> None:
        files = sorted((str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in path.rglob("*") if f.is_file())
        if self._failed.get(version) == files:
            return
        self._set_status(version, State.LOADING)
        try:
            servable = Servable(path, version)
        except Exception as error:  # whatever is wrong with a version, the others go on serving
            self._failed[version] = files
            message = (str(error).strip() or type(error).__name__).splitlines()[0]
            log.error("%s: cannot load: %s", path, message)
            self._set_status(version, State.END, Code.UNKNOWN, message)
            return
        self._failed.pop(version, None)
        with self._lock:
            self._servables[version] = servable
        self._set_status(version, State.AVAILABLE)
        log.info("serving %s version %d", self.name, version)

    def _retire(self, version: int) -> None:
        with self._lock:  # calls under way hold their own reference
            self._servables.pop(version)
            self._labels = {label: kept for label, kept in self._labels.items() if kept != version}
        self._set_status(version, State.END)

    def _set_status(self, version: int, state: int, code: Code = Code.OK, message: str = "") -> None:
        status = State(version=version, state=state)
        status.status.error_code = code.value[0]
        status.status.error_message = message
        with self._lock:
            self._statuses[version] = status
