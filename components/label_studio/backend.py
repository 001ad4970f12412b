"""Answers of an ML backend: tasks in, brush strokes with scores out; the newest version of the model is asked."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

from components.dataset_import.brush import brush_results
from components.label_studio.config import Interface, read_interface
from components.label_studio.pictures import PictureSource
from serving.model import encoded, load_model
from serving.saved_model import find_saved_model
from trainer.data.pictures import read_header, upright_pixels
from trainer.errors import ImageFault, UserError
from trainer.inference.looks import limit_of

log = logging.getLogger(__name__)


class Backend:
    """A model behind Label Studio's contract (label-studio-ml-backend, api.py): health, setup, predict."""

    def __init__(self, model: Path, source: PictureSource | None = None):
        """Args:
        model: see `load_model`; a folder of versions is looked into again before every answer.
        source: where pictures of relative paths are; None: from the environment, else as `setup` says.

        Raises:
          UserError: no model there.
        """
        self._folder = model
        self._source = source or PictureSource.from_environment()
        self._fixed = bool(self._source.url)
        self._model = load_model(model)
        self._lock = threading.Lock()  # one answer at a time: a picture takes all cores anyway

    def health(self) -> dict[str, Any]:
        return {"status": "UP", "model_class": "transferseg", "model_version": self.version}

    @property
    def version(self) -> str:
        """What Label Studio calls the model that predicted: its folder's number or name."""
        return f"transferseg {self._model.path.resolve().name}"

    def setup(self, request: dict[str, Any]) -> dict[str, Any]:
        """A project connects: its interface must be one that this backend can serve.

        Raises:
          UserError: it is not.
        """
        if request.get("schema"):
            interface = read_interface(str(request["schema"]))
            self._labels(interface)
        if not self._fixed and request.get("hostname"):
            self._source = PictureSource(str(request["hostname"]), str(request.get("access_token") or ""))
        return {"model_version": self.version}

    def predict(self, request: dict[str, Any]) -> dict[str, Any]:
        """Predictions for `tasks`, in their order. A picture that cannot be used has an empty one; the log says why.

        Raises:
          UserError: no list of tasks, or an interface that asks for something else.
        """
        tasks = request.get("tasks")
        if not isinstance(tasks, list):
            raise UserError("the request has no list of tasks")
        interface = read_interface(str(request.get("label_config") or ""))
        with self._lock:
            self._take_up_newest()
            labels = self._labels(interface)
            results = [self._prediction(task, interface, labels) for task in tasks]
        return {"results": results, "model_version": self.version}

    def _labels(self, interface: Interface) -> dict[int, str]:
        names = interface.names(self._model.categories)
        if not names:
            known = ", ".join(self._model.categories.foreground[:5])
            raise UserError(f"no label of the interface is a category of the model ({known}, ...); use the same names")
        return names

    def _prediction(self, task: Any, interface: Interface, labels: dict[int, str]) -> dict[str, Any]:
        try:
            result, score = self._brush(task, interface, labels)
        except (ImageFault, UserError) as fault:
            log.warning("task %s: %s", task.get("id") if isinstance(task, dict) else task, fault)
            result, score = [], 0.0
        return {"result": result, "score": score, "model_version": self.version}

    def _brush(self, task: Any, interface: Interface, labels: dict[int, str]) -> tuple[list[dict[str, Any]], float]:
        data = task.get("data") if isinstance(task, dict) else None
        picture = data.get(interface.key) if isinstance(data, dict) else None
        if not isinstance(picture, str):
            raise ImageFault("read", f"its data name no picture in '{interface.key}'")
        limit = limit_of(self._model.metadata)
        image = encoded(self._source.read(picture), limit)
        mask = upright_pixels(self._model(image), read_header(image, limit).orientation)
        sure = self._model.scores(image)
        ids = {label: i for i, label in labels.items()}
        result = brush_results(mask, labels, interface.from_name, interface.to_name)
        for stroke in result:
            stroke["score"] = round(float(sure["scores"][ids[stroke["id"]]]), 4)
        return result, round(float(sure["confidence"]), 4)

    def _take_up_newest(self) -> None:
        try:
            newest = find_saved_model(self._folder)
            if newest != self._model.path:
                self._model = load_model(newest)
        except Exception as error:  # whatever is wrong with a new version, the old one goes on
            log.warning("%s: cannot load the newest version: %s", self._folder, error)
