"""Folder -> dataset in our layout (imported if need be) -> config file."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from rich.console import Console

from components.dataset_import.writer import FAULTS, TAGS, import_dataset
from components.image_example_gen import voc
from pipeline.config.run_config import load_config
from pipeline.init.asked import Asked
from pipeline.init.dataset import Found, least_missed, look
from pipeline.init.found_table import print_found
from pipeline.init.lists import drop_gone
from pipeline.init.parts import NamesMissing
from pipeline.init.plain_folders import tables_beside
from pipeline.init.recognise import names_in, others_beside, recognise
from pipeline.run.plan import count, plan, print_plan, probe
from pipeline.weights import advice
from trainer.data.categories import VOC, VOC_SPLITS
from trainer.data.files import read_lines, walk
from trainer.data.names import stem_of, suffix_of
from trainer.errors import UserError, few, shown
from trainer.models.weight_files import backbone_of

_MAX_DEAD_SHARE = 0.1  # our choice, as import's: more unreadable pictures have a common cause


def init(asked: Asked, console: Console) -> Path:
    """Writes a config that runs, for a dataset of any known kind.

    Returns:
      The config file.

    Raises:
      UserError: see `Asked.check`, `recognise` and `look`; too many pictures are not readable; the command that would
        make a config is in the message wherever there is one.
    """
    asked.check()
    folder, root, names = asked.folder, asked.output, asked.names
    try:
        place, parts = recognise(folder, names, root)
    except NamesMissing as error:
        example = [f"name{number}" for number in range(1, error.number + 1)]
        raise UserError(f"{error}: {asked.command(names=example)}") from None
    if not parts:
        root = place
        _say(console, f"{root}: VOC's layout, used as it is")
        if number := _only_in_xml(root):
            whole = f"transferseg import voc --root {shlex.quote(str(root))} --output all, then transferseg init all"
            _say(console, f"  {number} pictures have an XML alone, which is not read; to have these too: {whole}")
    elif root.resolve().is_relative_to(place.resolve()) and _holds_pictures(root):
        aside = asked.command(output=Path(f"{place.resolve().name}_{root.name}"))
        raise UserError(f"{root}: holds pictures of the dataset itself; bring it into another folder: {aside}")
    for note in [*tables_beside(place, parts, root), *others_beside(place, parts)]:
        _say(console, f"{place}: {note}")
    brought: list[tuple[str, str]] = []
    unread: set[str] = set()
    for part in parts:
        source = f"{place.resolve()}#{part.kind}#{part.split}"
        done = import_dataset(part.read(), root, part.split, replace=True, source=source)
        brought.extend(done["keys"].items())
        letters = read_lines(root / FAULTS)
        unread.update(stem_of(letter["key"]) for letter in letters if letter["stage"] not in ("tags", "label"))
        _say(
            console,
            f"{place}: {part.kind}, {done['images']} images ({part.split}), {done['masks']} with a mask, "
            f"{done['dead']} not readable -> {root}",
        )
        for note in done["notes"]:
            _say(console, f"  {note}")
        if done["first_fault"]:
            _say(console, f"  not used: {done['first_fault']}; all: {root / FAULTS}")
        _check_readable(done, root)
    if gone := drop_gone(root, place, {key for _, key in brought}, unread):
        _say(console, f"  {len(gone)} images of before come from {place} no more and are not trained on: {few(gone)}")
    if not names and names_in(root) is None:
        _say(console, f"{root}: no categories.txt, so ids are taken for VOC's; else give --categories a,b,c")
    found = look(root, asked, names if not parts else None, brought)
    print_found(found, root, console)
    if not found.weak:
        _say(console, "Every category has masks: a run learns from these alone (full supervision)")
        if first := least_missed(found.trained):
            instead = asked.command(weak=[first], force=True)
            _say(console, f"  to learn one from its tags instead, and judge it by its masks: {instead}")
    asked.config.write_text(_render(asked, root, found))
    config = load_config(asked.config)  # a config written here is right or is a bug
    counts = count(config)
    print_plan(plan(config, counts, probe(config)), counts, console)
    for line in advice(config.network.backbone, config.network.weights):
        _say(console, line)
    steps = [f"transferseg {step} {shlex.quote(str(asked.config))}" for step in ("validate", "run")]
    _say(console, f"Wrote {asked.config}. Next, to see every bad file: {steps[0]}")
    _say(console, f"Then: {steps[1]} --workdir runs/first")
    return asked.config


def _holds_pictures(root: Path) -> bool:
    """Whether pictures lie in a folder that no import has written into."""
    return not (root / voc.IMAGES).is_dir() and any(map(suffix_of, walk(root)[0]))


def _only_in_xml(root: Path) -> int:
    """How many pictures of VOC's layout would have tags and boxes if they were imported."""
    if (root / TAGS).exists():
        return 0
    told = {path.stem for path in (root / "Annotations").glob("*.xml")}
    return len(told.intersection(voc.keys(root)) - {path.stem for path in (root / voc.MASKS).iterdir()})


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


def _render(asked: Asked, root: Path, found: Found) -> str:
    import tensorflow as tf  # slow to import: only to look for a GPU

    gpu = bool(tf.config.list_physical_devices("GPU"))
    environment = Environment(
        loader=PackageLoader("pipeline.init", "."), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("config.yaml.jinja").render(
        source=shown(str(asked.folder)),
        path=shown(str(asked.config)),
        name=_name(asked.config.stem),
        root=_scalar(str(root.resolve())),
        found=found,
        split=_split(found),
        order=_inline(found.names),
        strong=_inline(found.strong),
        weak=_inline(found.weak),
        weak_scored=any(found.scored[name] for name in found.weak),
        backbone=backbone_of(asked.weights) if asked.has_weights_file else "vgg16" if gpu else "mobilenet_v2",
        gpu=gpu,
        weights=_scalar(asked.weights),
    )


def _split(found: Found) -> str | None:
    """The paper's split that the dataset is, as far as it shows VOC's categories."""
    if found.names != VOC:
        return None
    shown = {name for name in VOC if found.images[name]}
    return next((name for name, strong in VOC_SPLITS.items() if shown & set(strong) == set(found.strong)), None)


def _name(stem: str) -> str:
    name = re.sub(r"[^\w-]", "-", stem)
    return name if name[:1].isalpha() else f"run-{name}"


def _inline(names: Sequence[str]) -> str:
    return yaml.safe_dump(list(names), default_flow_style=True, width=100).strip().replace("\n", "\n  ")


def _scalar(value: str | None) -> str:
    style = None if value is None or value.isprintable() else '"'  # which keeps all on one line
    return yaml.safe_dump(value, width=float("inf"), default_style=style).split("\n")[0]
