"""The folder a batch job writes to: one job at a time, nothing of other people's replaced, a full disk told as such."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from components.beam_masks.lock import locked
from components.beam_masks.masks import made_by, mask_path, remove_unfinished
from trainer.data.files import LOCK
from trainer.errors import DISK_FULL, UserError, one_line, shown

DEAD_LETTERS = "dead_letters.jsonl"
SUMMARY = "summary.json"
SCRATCH = ".unfinished"  # folder in the output while the job runs; on a file system that all workers see


@contextmanager
def claimed(output: str | Path, images: str | Path | None, job: str) -> Iterator[Path]:
    """The output folder, made if need be, for one job alone; leaves nothing half-written.

    Args:
      output, images: folders; `images`, if given, must be another one.
      job: what another one is told is going on.

    Raises:
      UserError: both are the same; the output cannot be made, another job works on it, or its disk is full.
    """
    output = Path(output)
    if images is not None and output.resolve() == Path(images).resolve():
        raise UserError(f"{output}: is the folder of images; masks would overwrite them; give another output")
    try:
        output.mkdir(parents=True, exist_ok=True)
        with locked(output, f"another {job}", "--output", LOCK):
            try:
                yield output
            finally:
                shutil.rmtree(output / SCRATCH, ignore_errors=True)
                remove_unfinished(output)
    except UserError:
        raise
    except Exception as error:  # the file system's, TensorFlow's or Beam's, around the same words
        full = next((words for words in DISK_FULL if words in str(error)), None)
        if full is None and not (isinstance(error, OSError) and error.filename):
            raise
        reason = full or getattr(error, "strerror", None) or one_line(error)
        raise UserError(
            f"{shown(str(output))}: {reason}; mend that and run the same command again, it goes on where it stopped"
        ) from None


def take_over(output: Path, job: str, keys: Iterable[str], reports: Iterable[str], others: Iterable[str] = ()) -> None:
    """Removes what an earlier job of ours wrote about its masks and this one will not write again.

    Args:
      output: the claimed folder.
      job: see `made_by`: only its masks are replaced.
      keys: of the masks it may write; a mask tells by the note in it.
      reports: names of the other files it may write; they count as ours where a job of ours has worked before.
      others: names of files that jobs with other options write.

    Raises:
      UserError: the job would replace or remove a file that no such job has made.
    """
    with os.scandir(output) as entries:
        there = {entry.name for entry in entries if not entry.is_dir()}
    masks = (mask_path(str(output), key) for key in keys)
    foreign = [Path(path).name for path in masks if Path(path).name in there and made_by(path) != job]
    reports = [name for name in reports if name in there]
    if reports and not _has_worked(output, there):
        foreign += reports
    if foreign:
        more = f" and {len(foreign) - 5} more" if len(foreign) > 5 else ""
        raise UserError(
            f"{output}: holds files that this command would replace and did not make: {', '.join(foreign[:5])}{more}; "
            "give another --output, or move them"
        )
    for name in {*others} - {*reports}:
        if name in there and _has_worked(output, there):
            (output / name).unlink()


def _has_worked(output: Path, there: set[str]) -> bool:
    """Whether the folder holds a summary of ours, or masks of ours."""
    try:
        return "labelled" in json.loads((output / SUMMARY).read_text())
    except (OSError, ValueError, TypeError):
        return any(made_by(f"{output}/{name}") for name in sorted(there) if name.endswith(".png"))
