"""`transferseg validate`: every problem of a dataset at once, before any training."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from components.data_gate.findings import empty_split_lines
from components.image_example_gen.dataset_config import DatasetConfig, layout_faults, order_faults
from components.image_example_gen.inspection import inspect, near_duplicates
from components.image_example_gen.records import EVAL, STRONG, splits_of
from components.image_example_gen.tables import Boxes, Tags, read_boxes, read_tags
from components.image_example_gen.write_examples import plan_shards
from pipeline.config.run_config import RunConfig
from pipeline.report.problems import Problem, grouped, write_page
from pipeline.weights import advice
from trainer.data.boxes import BOXES
from trainer.data.categories import Categories
from trainer.errors import UserError, few

FEW = 10  # our choice: training images of a category below which a warning is due


def find_problems(config: RunConfig) -> tuple[list[Problem], dict[str, int]]:
    """Looks at every file the config names.

    Returns:
      (problems, errors first; number of usable images by split: strong, weak, eval)
    """
    settings, categories = config.dataset, config.categories.resolve()
    problems = [Problem.error(where, fault) for where, fault in layout_faults(settings)]
    problems += [Problem.error("categories", fault) for fault in order_faults(settings, categories)]
    problems += _weights(config)
    tables: list[dict] = []
    for read, path, name in ((read_tags, settings.tags_path, settings.tags), (read_boxes, settings.boxes_path, BOXES)):
        table, faults = {}, []
        try:
            table = read(path, categories, settings.root, settings.listed(), faults) if path else {}
        except UserError as error:
            problems.append(Problem.error(name, str(error)))
        problems += [Problem.error(name, f"line {line}: {fault}") for line, fault in faults]
        tables.append(table)
    tags, boxes = tables
    counts: dict[str, int] = {}
    if not any(problem.where in ("dataset.root", *settings.lists) for problem in problems):
        entries = inspect(plan_shards(settings, categories, tags, boxes), settings, categories, config.beam_args)
        counts = dict(Counter(entry["split"] for entry in entries if entry["split"]))
        problems += [
            Problem.error(entry["key"], f"{entry['stage']}: {entry['reason']}", "picture")
            for entry in entries
            if entry["stage"]
        ]
        required = splits_of(categories)
        problems += [Problem.error(name, line) for name in required for line in empty_split_lines(counts, [name])]
        problems += _classes(entries, categories)
        problems += _blank(entries)
        problems += _copies(entries)
        problems += _unlisted(tags, boxes, entries, settings)
    return sorted(problems, key=lambda problem: problem.severity), counts


def validate(config: RunConfig, html_path: Path | None, console: Console) -> list[Problem]:
    """Prints the problems as a table and returns them; `html_path` gets them as a page with thumbnails."""
    problems, counts = find_problems(config)
    if html_path:
        write_page(html_path, config, problems, counts)
    if problems:
        table = Table("", "where", "what", title=f"{len(problems)} problems", title_justify="left")
        for kind, several in grouped(problems):
            for problem in several:
                colour = {"high": "red", "some": "yellow", "little": "green"}[kind.cost]
                table.add_row(
                    Text(problem.severity, colour), Text(problem.where), Text(problem.what)
                )  # never as markup
        console.print(table)
    if counts:
        usable = ", ".join(f"{counts.get(split, 0)} {split}" for split in splits_of(config.categories.resolve()))
        console.print(f"usable images: {usable}", highlight=False)
    if not problems:
        console.print("[green]no problems[/]")
    return problems


def _weights(config: RunConfig) -> Iterator[Problem]:
    try:
        if lines := advice(config.network.backbone, config.network.weights):
            text = " ".join(line.strip() for line in lines).removeprefix("network.weights: ")
            yield Problem.warning("network.weights", text, "weights")
    except UserError as error:
        yield Problem.error("network.weights", str(error).removeprefix("network.weights: "))


def _classes(entries: Sequence[dict], categories: Categories) -> Iterator[Problem]:
    usable = [entry for entry in entries if entry["split"]]
    train, evaluated = (Counter(tag for e in usable if e["evaluation"] == flag for tag in e["tags"]) for flag in (0, 1))
    for category, name in enumerate(categories.names[1:], start=1):
        if not train[category]:
            yield Problem.warning(
                name, "no training image shows it: the model will never predict it; add some", "unseen"
            )
        elif train[category] < FEW:
            yield Problem.warning(
                name, f"only {train[category]} training images show it; {FEW} or more are better", "few"
            )
        if not evaluated[category]:
            yield Problem.warning(name, "no evaluation image shows it: its IoU will be n/a", "unscored")


def _blank(entries: Sequence[dict]) -> Iterator[Problem]:
    """Masks without any category; weak images' masks are not read."""
    for split, kind in ((STRONG, "training"), (EVAL, "evaluation")):
        masked = [entry["key"] for entry in entries if entry["split"] == split]
        if blank := [entry["key"] for entry in entries if entry["split"] == split and not entry["tags"]]:
            yield Problem.warning(
                "masks",
                f"{len(blank)} of {len(masked)} {kind} masks show no category (background or void alone): "
                f"{few(blank, 3)}; right only if there is nothing to see",
                "blank",
            )


def _copies(entries: Sequence[dict]) -> Iterator[Problem]:
    """Same files under several names, and pictures that are trained and evaluated on."""
    train, evaluated = ([e for e in entries if e["evaluation"] == flag] for flag in (False, True))
    for group in (train, evaluated):
        names = defaultdict(dict)
        for entry in group:
            if entry["digest"]:
                names[entry["digest"]][entry["key"]] = None
        for keys in names.values():
            if len(keys) > 1:
                first, *others = keys
                yield Problem.warning(first, f"the same file as {', '.join(others)}; keep one", "copy")
    by_case = defaultdict(dict)
    for entry in entries:
        by_case[entry["key"].casefold()][entry["key"]] = None
    for keys in by_case.values():
        if len(keys) > 1:
            first, *others = keys
            yield Problem.warning(
                first,
                f"differs from {', '.join(others)} in case alone; some file systems take them for one: rename",
                "name",
            )
    listed_twice = {e["key"] for e in train} & {e["key"] for e in evaluated}
    for key, other in near_duplicates(train, evaluated):
        if key not in listed_twice:
            yield Problem.warning(
                key, f"looks like {other} of the evaluation list: the scores would flatter; drop one", "flattering"
            )


def _unlisted(tags: Tags, boxes: Boxes, entries: Sequence[dict], settings: DatasetConfig) -> Iterator[Problem]:
    if settings.train_limit or settings.eval_limit:
        return
    listed = {entry["key"] for entry in entries}
    tables = ((settings.tags, "tags", tags), (BOXES, "has boxes of", boxes))
    for where, verb, keys in (*tables, (settings.corrected, "names", settings.corrected_keys())):
        if unknown := [key for key in keys if key not in listed]:
            yield Problem.warning(
                where, f"{verb} {len(unknown)} images that no list names: {few(unknown, 3)}", "unused"
            )
