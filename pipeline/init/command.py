"""Folder -> dataset in our layout (imported if need be) -> config file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from rich.console import Console

from components.dataset_import.writer import FAULTS, import_dataset
from pipeline.config import load_config
from pipeline.init.dataset import Found, look
from pipeline.init.recognise import is_ours, names_in, recognise
from trainer.categories import VOC, VOC_SPLITS
from trainer.errors import UserError

_MAX_DEAD_SHARE = 0.1  # open, as import's: more unreadable pictures have a common cause


def init(
    folder: Path,
    output: Path,
    config: Path,
    weak: Sequence[str],
    names: Sequence[str] | None,
    console: Console,
    weights: str | None = "imagenet",
) -> Path:
    """Writes a config for a dataset.

    Args:
      folder: the dataset, of any known kind.
      output: where it is brought to if it is not in our layout; an existing dataset there is extended.
      config: file to write.
      weak: categories to count as weak although they have masks.
      names: categories by id, where the files do not say.
      weights: for a machine without a GPU, see the config.

    Returns:
      The config file.

    Raises:
      UserError: unknown kind, no masks, too many unreadable pictures, or `config` exists.
    """
    if config.exists():
        raise UserError(f"{config}: is there already; delete it or give another name with --config")
    if not config.absolute().parent.is_dir():
        raise UserError(f"--config {config}: no folder {config.parent}; make it first")
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    root = folder
    if is_ours(folder):
        _say(console, f"{folder}: VOC's layout, used as it is")
    else:
        root = output
        for part in recognise(folder, names):
            done = import_dataset(part.read(), output, part.split, replace=True)
            _say(
                console,
                f"{folder}: {part.kind}, {done['images']} images ({part.split}), {done['masks']} with a mask, "
                f"{done['dead']} not readable -> {output}",
            )
            for note in done["notes"]:
                _say(console, f"  {note}")
            if done["first_fault"]:
                _say(console, f"  not used: {done['first_fault']}; all: {output / FAULTS}")
            _check_readable(done, output)
    if not names and names_in(root) is None:
        _say(console, f"{root}: no categories.txt, so ids are taken for VOC's; else give --categories a,b,c")
    found = look(root, list(weak), list(names) if names and root == folder else None, imported=root != folder)
    _tell(found, console)
    config.write_text(_render(folder, root, config, found, weights))
    load_config(config)  # a config written here is right or is a bug
    _say(console, f"wrote {config}; next: transferseg validate {config}")
    return config


def _say(console: Console, text: str) -> None:
    """A line in which no text from data is taken for markup."""
    console.print(text, highlight=False, soft_wrap=True, markup=False)


def _check_readable(done: dict[str, Any], output: Path) -> None:
    """Raises UserError if too many pictures could not be read."""
    if done["dead"] > _MAX_DEAD_SHARE * (done["images"] + done["dead"]):
        raise UserError(
            f"{done['dead']} of {done['images'] + done['dead']} pictures cannot be used ({done['first_fault']}); mend "
            f"them and start again, or bring them in with transferseg import. All of them: {output / FAULTS}"
        )


def _tell(found: Found, console: Console) -> None:
    learned = [name for name in found.weak if found.images[name]]
    unseen = [name for name in found.weak if not found.images[name]]
    for title, names in (("masks", found.strong), ("tags", learned), ("in no training image", unseen)):
        listed = ", ".join(f"{name} ({found.images[name]})" for name in names)
        if names:
            _say(console, f"  {title}: {listed}")
    if not learned:
        _say(console, "  every category has masks; those to be learned from tags are given with --weak a,b")
    if found.empty:
        _say(console, f"  {found.empty} masks show no category: only background or void (255)")


def _render(folder: Path, root: Path, config: Path, found: Found, weights: str | None) -> str:
    import tensorflow as tf  # slow to import: only to look for a GPU

    split = None
    if found.names == VOC and not found.tags and not any(found.images[name] for name in found.weak):
        split = "voc-split-1"
    elif found.names == VOC:
        split = next((name for name, strong in VOC_SPLITS.items() if set(strong) == set(found.strong)), None)
    environment = Environment(
        loader=PackageLoader("pipeline.init", "."), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("config.yaml.jinja").render(
        source=folder,
        path=config,
        name=_name(config.stem),
        root=_scalar(str(root.resolve())),
        found=found,
        split=split,
        order=_inline(found.names),
        strong=_inline(found.strong),
        weak=_inline(found.weak),
        gpu=bool(tf.config.list_physical_devices("GPU")),
        weights=_scalar(weights),
    )


def _name(stem: str) -> str:
    name = re.sub(r"[^\w-]", "-", stem)
    return name if name[:1].isalpha() else f"run-{name}"


def _inline(names: Sequence[str]) -> str:
    return yaml.safe_dump(list(names), default_flow_style=True, width=100).strip().replace("\n", "\n  ")


def _scalar(value: str | None) -> str:
    return yaml.safe_dump(value).split("\n")[0]
