"""Loads SavedModels from any folder."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trainer.data.files import is_remote, read_json
from trainer.errors import UserError, shown

METADATA = "assets.extra/metadata.json"
MODEL_CARD = "assets.extra/model_card.md"  # of a version that a run pushed
_ARTIFACT = "Format-Serving"  # folder of the SavedModel in a Trainer's artifact


def find_saved_model(path: str | os.PathLike) -> Path:
    """The SavedModel that a path means: itself, the one in a Trainer's artifact, or the newest of numbered folders.

    Raises:
      UserError: there is none.
    """
    folder = Path(path)
    for candidate in (folder, *reversed(versions(folder).values())):
        if (place := model_in(candidate)) is not None:
            return place
    raise UserError(
        f"{shown(str(folder))}: not a SavedModel (no saved_model.pb), nor a folder of numbered ones; give an exported "
        "model, a run's serving/<name> or an artifact's folder"
    )


def model_in(folder: Path) -> Path | None:
    """A folder that is a SavedModel, or that of the one in a Trainer's artifact; None if it is neither."""
    places = (folder, folder / _ARTIFACT)
    return next((place for place in places if (place / "saved_model.pb").is_file()), None)


def versions(folder: Path) -> dict[int, Path]:
    """Number -> folder of the versions in a folder, the oldest first."""
    numbered = {version_of(path.name): path for path in folder.glob("*") if path.is_dir()}
    return {number: numbered[number] for number in sorted(numbered.keys() - {None})}


def newest_version(folder: Path) -> Path | None:
    """The version in a folder that servers take: of those that are complete the newest; None if there is none."""
    return next((path for path in reversed(versions(folder).values()) if (path / "saved_model.pb").is_file()), None)


def version_of(name: str) -> int | None:
    """The version that a folder's name stands for: an int64 in ASCII digits, as TF Serving reads it."""
    return int(name) if re.fullmatch("[0-9]{1,19}", name) and int(name) < 2**63 else None


def check_saved_model(directory: str | os.PathLike) -> None:
    """Raises UserError if a folder of this machine is none; remote ones are looked into when they are loaded."""
    if not is_remote(str(directory)) and not (Path(directory) / "saved_model.pb").is_file():
        raise UserError(
            f"{shown(str(directory))}: not a SavedModel (no saved_model.pb); give the folder of an exported model"
        )


def read_metadata(directory: str | os.PathLike) -> dict[str, Any]:
    """What an exported model says of itself: kind, image_size, look, max_pixels, ...

    Raises:
      UserError: it says nothing.
    """
    return read_json(f"{directory}/{METADATA}", "an exported model")


@contextmanager
def plain_path(directory: str | os.PathLike) -> Iterator[str]:
    """The folder under a name without `[`, `*`, `?` or `\\`: TensorFlow takes a checkpoint's path for a pattern.

    Remote paths stay as they are.
    """
    if is_remote(str(directory)):
        yield str(directory)
        return
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder, "model")
        plain.symlink_to(Path(directory).resolve())
        yield str(plain)


def load_saved_model(directory: str | os.PathLike) -> Any:
    """What `tf.saved_model.load` gives."""
    import tensorflow as tf  # Beam workers import this module before they know whether they will load a model

    with plain_path(directory) as path:
        return tf.saved_model.load(path)
