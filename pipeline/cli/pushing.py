"""The command that brings a pushed version to other people."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.common import JSON, PATH, cli, say, write_json


@cli.group()
def push() -> None:
    """Gives a pushed version to other people.

    Example: transferseg push hf --repo my-lab/street-scenes --model build/demo/serving/demo
    """


@push.command()
@click.option("--repo", required=True, metavar="OWNER/NAME", help="made if it is not there")
@click.option("--model", type=PATH, required=True, help="a pushed version, or the folder of versions")
@click.option("--private", is_flag=True, help="if it is made, make it private")
@JSON
def hf(repo: str, model: Path, private: bool, json_path: Path | None) -> None:
    """Uploads a version to the Hugging Face Hub, its model card as README.md.

    The token is HF_TOKEN's, or that of `hf auth login`. Pictures of the training set that the version keeps are not
    uploaded.

    Example: transferseg push hf --repo my-lab/street-scenes --model build/demo/serving/demo
    """
    from pipeline.hub import push as push_version

    done = push_version(model, repo, private)
    write_json(json_path, done)
    say(f"{len(done['files'])} files of {done['version']}: {done['url']}")
