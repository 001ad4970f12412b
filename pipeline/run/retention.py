"""Clean-up of a work folder: what no later run and no served model needs any more."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from tfx.orchestration.metadata import Metadata

from components.beam_masks.lock import locked
from components.pusher.ledger import note_withdrawn
from components.weak_labels.examples import LABELS, read_labels
from components.weak_labels.label_store import labels_in
from pipeline.config.run_config import load_config
from pipeline.execution.metadata_store import check_file, connect
from pipeline.run.history import DELETED, ModelHistory, destination
from serving.saved_model import versions
from trainer.errors import UserError


@dataclass(frozen=True)
class Removed:
    """What went: `kind` is "artifact", "serving version", "unfinished", "checkpoints" (folders) or "label" (a file)."""

    kind: str
    name: str
    path: str
    bytes: int


def clean(workdir: Path, keep: int, keep_versions: int, dry_run: bool = False) -> list[Removed]:
    """Removes what nothing needs any more, and marks it DELETED, so that TFX's cache does not hand it out.

    Kept are the outputs of each component's newest `keep` executions; all that the newest serving version and the
    latest blessed model were made from, and the verdicts on them; the newest `keep_versions` serving versions; of the
    label store the files with a label that is in one of the kept outputs.

    Args:
      workdir: of earlier runs.
      keep, keep_versions: at least 1.
      dry_run: only tells.

    Raises:
      UserError: no run has been here, one is going on, or the metadata store cannot be reached.
    """
    workdir = workdir.resolve()
    if not ((workdir / "config.yaml").is_file() and (workdir / "artifacts").is_dir()):
        raise UserError(f"{workdir}: no run has been here (no config.yaml and artifacts); give the --workdir of a run")
    config = load_config(workdir / "config.yaml")
    check_file(config.metadata, workdir)
    with locked(workdir, "a clean-up"), Metadata(connect(config.metadata, workdir)) as handle:
        history = ModelHistory(handle.store, config.name)
        pushed = versions(workdir / "serving" / config.name).values()
        complete = [path for path in pushed if (path / "saved_model.pb").is_file()]  # TFX's Pusher copies it last
        old_versions = complete[:-keep_versions]
        served = history.pushed_to(complete[-1]) if complete else set()
        needed = history.newest(keep) | history.lineage(served | history.latest_blessed())
        # By URI: an Importer may have registered the same folder a second time.
        uris = {artifact.uri for id, artifact in history.artifacts.items() if id in needed}
        old = [
            artifact
            for artifact in history.artifacts.values()
            if Path(artifact.uri).is_relative_to(workdir / "artifacts")
            and (artifact.uri not in uris or destination(artifact) in old_versions)
        ]
        unfinished = [
            path for path in workdir.glob("artifacts/*/[!.]*/*") if (path.parts[-3], path.name) in history.leftovers
        ]
        unfinished += workdir.glob("artifacts/*/.system/stateful_working_dir/*")
        unfinished += [path for path in pushed if path not in complete]
        removed = [_removed("artifact", Path(artifact.uri), workdir) for artifact in old]
        removed += [_removed("serving version", path, workdir) for path in old_versions]
        removed += [_removed("unfinished", path, workdir) for path in unfinished]
        removed += [_removed("checkpoints", path, workdir) for path in workdir.glob("checkpoints")]
        removed += _unused_labels(workdir, {Path(entry.path) for entry in removed})
        if not dry_run:
            note_withdrawn(workdir / "serving" / config.name)
            # Marked first: after a kill in between, the next clean-up knows the folders as deleted.
            for artifact in old:
                artifact.state = DELETED
            handle.store.put_artifacts(old)
            for entry in removed:
                if entry.kind == "label":
                    Path(entry.path).unlink()
                else:
                    shutil.rmtree(entry.path, ignore_errors=True)
    return removed


def print_removed(removed: list[Removed], dry_run: bool, console: Console) -> None:
    """A row for each kind of folder that went, and the sum."""
    table = Table(title="Would be freed" if dry_run else "Freed", title_justify="left")
    table.add_column("what")
    for column in ("number", "size"):
        table.add_column(column, justify="right")
    for what in sorted({entry.name for entry in removed}):
        entries = [entry for entry in removed if entry.name == what]
        table.add_row(what, str(len(entries)), decimal(sum(entry.bytes for entry in entries)))
    table.add_section()
    table.add_row("all", str(len(removed)), decimal(sum(entry.bytes for entry in removed)))
    console.print(table)


def _unused_labels(workdir: Path, gone: set[Path]) -> list[Removed]:
    kept = [labels.parent for labels in workdir.glob(f"artifacts/*/[!.]*/*/{LABELS}") if labels.parent not in gone]
    stamps = {record["stamp"] for artifact in kept for record in read_labels(str(artifact))}
    stored = {path: {label["stamp"] for label in labels_in(str(path))} for path in workdir.glob("label_store/*/*")}
    unused = [path for path, own in stored.items() if stamps.isdisjoint(own)]  # half-written ones too
    return [Removed("label", "label_store", str(path), path.stat().st_size) for path in unused]


def _removed(kind: str, path: Path, workdir: Path) -> Removed:
    """Named like artifacts/cam/model: without the number, which is the last part."""
    inside = path.relative_to(workdir)
    name = str(inside.parent if inside.name.isdecimal() else inside)
    size = sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir())
    return Removed(kind, name + (" (unfinished)" if kind == "unfinished" else ""), str(path), size)
