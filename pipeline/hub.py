"""A pushed version on the Hugging Face Hub: the SavedModel as it is served, its model card as README.md."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from serving.saved_model import METADATA, MODEL_CARD, find_saved_model, read_metadata
from trainer.data.files import read_bytes, walk
from trainer.errors import UserError, one_line, shown

_README = "README.md"
_KEPT = {_README, ".gitattributes"}  # the hub's own, which says what is large
# They hold pictures of the training set, which are not the model's to give away.
_PICTURES = {"assets.extra/tf_serving_warmup_requests", "assets.extra/trainer_predictions.tfrecord"}
_ORIGIN = "lineage"  # a key of the metadata: paths where the model was trained


def push(model: Path, repo: str, private: bool = False) -> dict[str, Any]:
    """Uploads a version as one commit; files of an earlier one that this one has not got go.

    The pictures that the version keeps for warming up and for comparison stay here, and so do the paths it was trained
    from.

    Args:
      model: a pushed version, or the folder of versions, of which the newest is taken.
      repo: OWNER/NAME; made if it is not there.
      private: what it is then.

    Returns:
      repo, version (the folder), files (names), url (of the commit).

    Raises:
      UserError: the name is wrong, no such version, it has no card, no huggingface_hub or token here, or the hub
        refused.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo, re.ASCII):
        raise UserError(f"--repo {shown(repo)}: not OWNER/NAME, as in my-lab/street-scenes")
    version = find_saved_model(model)
    files = _files(version)
    hub, httpx = _hub()
    if hub.get_token() is None:
        raise UserError("no token of the Hugging Face Hub: set HF_TOKEN to one that may write, or run `hf auth login`")
    api = hub.HfApi(library_name="transferseg")
    try:
        api.create_repo(repo, private=private or None, exist_ok=True)
        gone = set(api.list_repo_files(repo)) - set(files) - _KEPT
        done = api.create_commit(
            repo,
            [hub.CommitOperationAdd(name, content) for name, content in files.items()]
            + [hub.CommitOperationDelete(name) for name in sorted(gone)],
            commit_message=f"Version {version.name}",
        )
    except hub.errors.HFValidationError as error:
        raise UserError(f"--repo {shown(repo)}: no name of a repository ({one_line(error)})") from None
    except hub.errors.OfflineModeIsEnabled:
        raise UserError("HF_HUB_OFFLINE is set, so nothing can be uploaded; unset it") from None
    except hub.errors.HfHubHTTPError as error:
        status = error.response.status_code
        remedy = "; give HF_TOKEN one that may write there" if status in (401, 403) else ""
        raise UserError(f"{repo}: the hub refused with status {status} ({one_line(error)}){remedy}") from None
    except httpx.HTTPError as error:
        raise UserError(f"{repo}: the hub at {api.endpoint} cannot be reached ({one_line(error)})") from None
    return {"repo": repo, "version": str(version), "files": sorted(files), "url": str(done.commit_url)}


def _files(version: Path) -> dict[str, str | bytes]:
    """Name in the repository -> path of the file, or its bytes."""
    card = version / MODEL_CARD
    if not card.is_file():
        raise UserError(
            f"{shown(str(version))}: has no model card ({MODEL_CARD}); give a version that a run pushed, "
            "<workdir>/serving/<name>"
        )
    names = [name for name in walk(str(version), True)[0] if name not in {*_PICTURES, MODEL_CARD}]
    files: dict[str, str | bytes] = {name: str(version / name) for name in names}
    if METADATA in files:
        about = read_metadata(version)
        files[METADATA] = json.dumps({key: value for key, value in about.items() if key != _ORIGIN}, indent=1).encode()
    return files | {_README: read_bytes(card)}


def _hub() -> tuple[Any, Any]:
    """huggingface_hub, and the HTTP client whose errors it raises."""
    try:
        import httpx
        import huggingface_hub
    except ImportError as error:
        raise UserError(
            f"{error.name}: is not installed; in the checkout: build/uv/bin/uv pip install -e '.[hf]' "
            "-c requirements.lock"
        ) from None
    return huggingface_hub, httpx
