"""What is looked at before a run in a work folder: whether what earlier runs left there still fits."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration.metadata import Metadata
from tfx.utils import path_utils

from components.beam_masks.deadline import GAVE_UP
from components.beam_masks.output import DEAD_LETTERS
from components.image_example_gen import voc
from components.image_example_gen.write_examples import REJECTED
from components.pusher.ledger import is_withdrawn
from pipeline.config.run_config import RunConfig
from pipeline.execution.metadata_store import check_file, connect
from pipeline.run.history import DELETED, ModelHistory, destination
from serving.export import read_categories
from serving.saved_model import newest_version, read_metadata
from trainer.data.files import UNREADABLE, is_remote, read_bytes, read_lines
from trainer.errors import ImageFault, UserError, few


def make_ready(config: RunConfig, workdir: Path) -> list[str]:
    """Checks folders and the model that the gate compares with; forgets what the cache is not to hand out again.

    Forgotten, i.e. marked DELETED, are pushes whose version is gone and not withdrawn (components/pusher/ledger.py),
    a serving check that refused (a busy machine, or somebody who stopped it, may have been to blame), examples and
    labels that lack a picture which could not be read then and can be now, or which took too long, and blessings of
    models made after the one that was blessed last.

    Returns:
      What a person should know.

    Raises:
      UserError: a folder cannot be written to; `check_file` refuses; the work folder was moved or copied; the model is
        gone, has other categories (a run that is accepted whatever its scores goes on), or another backbone than the
        one that is to begin as it.
    """
    check_file(config.metadata, workdir)
    for folder in (workdir / "artifacts", workdir / "serving" / config.name, workdir / "label_store"):
        _check_writable(folder)
    with Metadata(connect(config.metadata, workdir)) as handle:
        history = ModelHistory(handle.store, config.name)
        if config.metadata.kind == "sqlite":  # a server knows other work folders too
            made = history.artifacts.keys() - history.imported
            _check_place([history.artifacts[id].uri for id in made], workdir)
        outdated = [one for one in history.artifacts.values() if _is_gone(one) or _is_refusal(one)]
        last = [history.artifacts[id] for id in history.newest(1) & history.artifacts.keys()]
        tried = {letter["key"] for one in history.forgotten for letter in _letters(one) if GAVE_UP in letter["reason"]}
        outdated += [one for one in last if _may_be_whole(one, tried, config)]
        outdated += history.outdated_verdicts()
        blessed = history.latest_blessed()
        for id in blessed:
            model = history.artifacts[id]
            problem = None if is_remote(model.uri) else _problem(config, Path(path_utils.serving_model_path(model.uri)))
            if problem and not config.gate.accept:
                raise UserError(f"{problem}; or `run --accept REASON`, which compares with nothing")
            if problem and not Path(model.uri).is_dir():
                outdated.append(model)
            elif config.warm_start and not is_remote(model.uri):
                _check_same_backbone(config, Path(path_utils.serving_model_path(model.uri)))
        for artifact in outdated:
            artifact.state = DELETED
        handle.store.put_artifacts(outdated)
    return [] if blessed else _without_a_model(config, workdir)


def _without_a_model(config: RunConfig, workdir: Path) -> list[str]:
    """What a person may expect of earlier runs here, and what is not so, since none has pushed a model of this name."""
    notes = []
    if config.warm_start:
        notes.append("warm_start: no model was pushed in this work folder yet: training begins from network.weights")
    if others := [path.name for path in sorted(workdir.glob("serving/*")) if newest_version(path)]:
        notes.append(
            f"name: no model of {config.name} was pushed in this work folder yet, only of {few(others)}: the gate "
            "compares with none, and has only its minima"
        )
    return notes


def _problem(config: RunConfig, blessed: Path) -> str | None:
    """Why a model cannot be compared with the latest blessed one; None if it can."""
    if not (blessed / "saved_model.pb").is_file():
        return (
            f"{blessed}: the latest blessed model, which the gate compares with, is gone. Was the work folder moved or "
            "cleared by hand? Put it back, or begin a new --workdir"
        )
    now, before = config.categories.resolve().foreground, read_categories(blessed, "segmentation").foreground
    if before in (now, now[: len(now) - len(config.categories.added)]):
        return None
    new = [name for name in now if name not in before]
    if new and now[: len(now) - len(new)] == before:
        remedy = f"name the new ones: categories.added: [{', '.join(new)}]"
    else:
        remedy = "keep names and order (new ones come last, and in categories.added), or begin a new --workdir"
    return (
        f"categories: the latest blessed model, which the gate compares with, knows {', '.join(before)}; this run has "
        f"{', '.join(now)}: {remedy}"
    )


def _check_writable(folder: Path) -> None:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        what = "cannot be written to" if there.is_dir() else "is no folder"
        raise UserError(f"{there}: {what}; mend that, or give another --workdir")


def _check_place(uris: list[str], workdir: Path) -> None:
    """Raises UserError if all artifacts that earlier runs made are known by paths elsewhere."""
    place = (workdir / "artifacts").resolve()
    if uris and not any(Path(uri).resolve().is_relative_to(place) for uri in uris):
        raise UserError(
            f"{workdir}: was moved or copied: what earlier runs made here is known by its whole path, {uris[0]}; put "
            "the folder back where it was, or begin a new --workdir"
        )


def _check_same_backbone(config: RunConfig, blessed: Path) -> None:
    """Raises UserError if the segmentation network, which is to begin as that model, has other layers."""
    known = read_metadata(blessed).get("backbone")
    if known not in (None, config.network.backbone):
        raise UserError(
            f"warm_start: the latest blessed model has the backbone {known}, this run {config.network.backbone}; take "
            "warm_start out, or the same backbone"
        )


def _is_gone(artifact: metadata_store_pb2.Artifact) -> bool:
    version = destination(artifact)
    if version is None or not version.is_absolute():
        return False
    return not (version / "saved_model.pb").is_file() and not is_withdrawn(version)


def _is_refusal(artifact: metadata_store_pb2.Artifact) -> bool:
    """Of a serving check; an Evaluator's says which model it judged."""
    notes = artifact.custom_properties
    if "blessed" not in notes or "current_model_id" in notes:
        return False
    verdict = notes["blessed"]
    return verdict.WhichOneof("value") == "int_value" and not verdict.int_value  # ExampleValidator's is JSON


def _may_be_whole(artifact: metadata_store_pb2.Artifact, tried: Collection[str], config: RunConfig) -> bool:
    """Whether examples or labels lack a picture for a reason that was not its own and may have passed.

    One that took too long is tried a second time, not a third (`tried`): all that learns from the labels learns anew.
    """
    return any(
        (GAVE_UP in letter["reason"] and letter["key"] not in tried)
        or (letter["reason"].startswith(UNREADABLE) and _is_readable(config.dataset.root, letter["key"]))
        for letter in _letters(artifact)
    )


def _letters(artifact: metadata_store_pb2.Artifact) -> list[dict[str, str]]:
    files = [path for name in (REJECTED, DEAD_LETTERS) if (path := Path(artifact.uri, name)).is_file()]
    return [letter for path in files for letter in read_lines(path)]


def _is_readable(root: str, key: str) -> bool:
    try:
        for path in filter(None, (voc.image_path(root, key), voc.find_mask(root, key))):
            read_bytes(path)
    except ImageFault:
        return False
    return True
