"""The command that frees disk space."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from pipeline.cli.common import JSON, PATH, cli, console, write_json


@cli.command()
@click.option("--workdir", type=PATH, required=True, help="of earlier runs")
@click.option("--keep", type=click.IntRange(1), default=2, show_default=True, help="newest executions of a component")
@click.option("--keep-versions", type=click.IntRange(1), default=3, show_default=True, help="newest serving versions")
@click.option("--dry-run", is_flag=True, help="only say what would go")
@JSON
def clean(workdir: Path, keep: int, keep_versions: int, dry_run: bool, json_path: Path | None) -> None:
    """Removes old artifacts, old serving versions, and what killed runs left.

    What the served and the latest blessed model were made from stays, and so does the cache of the newest runs. A run
    that was killed starts its training stage afresh, not from the checkpoint.

    Example: transferseg clean --workdir runs/one --keep 1 --dry-run
    """
    from pipeline.run.retention import clean as run_clean
    from pipeline.run.retention import print_removed

    removed = run_clean(workdir, keep, keep_versions, dry_run)
    print_removed(removed, dry_run, console())
    total = sum(entry.bytes for entry in removed)
    write_json(json_path, {"dry_run": dry_run, "bytes": total, "removed": [asdict(entry) for entry in removed]})
