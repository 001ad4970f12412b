"""Which split a name says: of a folder, a file, a list or what a tool calls a subset."""

from __future__ import annotations

import re

SPLITS = {  # what people and tools write, some as data.yaml's keys -> what they mean
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}


def split_said(name: str) -> str | None:
    """The split that a name says: "instances_val2017.json" -> "val"; None if it says none."""
    return next((SPLITS[word] for word in words_of(name) if word in SPLITS), None)


def words_of(name: str) -> list[str]:
    return re.split(r"[^a-z]+", name.lower())
