"""Runs methods on splits with seeds, a row at a time; a row that is there is not made again."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from components.beam_masks.lock import locked
from components.image_example_gen.dataset_config import check_dataset
from pipeline.config.run_config import CategoriesConfig, RunConfig
from pipeline.experiment.evaluation import score
from pipeline.experiment.methods import METHODS
from pipeline.experiment.result_table import MEANS, Row, with_ratios, write_tables
from pipeline.experiment.steps import ExperimentSteps, seconds_of
from pipeline.graph import training_hash
from pipeline.report.templates import duration
from pipeline.run.plan import Remaining, count, known_rates, plan
from trainer.data.categories import Categories, named_split
from trainer.data.files import refuse_pattern
from trainer.errors import UserError
from trainer.inference.looks import Look
from trainer.metrics import known

OWN = "own"
_FOUND_AGAIN_S = 10  # our choice: a row that takes less was there already
CRF = "+crf"  # after a method's name: its masks refined by a dense CRF
_OURS = ("cam", "l_net", "weak_labels", "segmentation")
STEPS = {  # method -> the components of a run that it amounts to; a number sets those apart that are not shared
    "full": ("segmentation:full",),
    "strong-only": ("strong_only",),
    "wssl": ("segmentation:wssl",),
    "ae": ("cam:1", "cam:2", "cam:3", "segmentation:ae"),
    "ae-saliency": ("cam:1", "cam:2", "cam:3", "l_net", "segmentation:saliency"),
    "transfernet": ("segmentation:transfernet", "segmentation:labels"),
    "l-net": _OURS,
    "p-net": (*_OURS, "p_net"),
    "p-net-direct": (*_OURS, "p_net:direct"),
}


def _of_split(config: RunConfig, split: str) -> RunConfig:
    """The config of a `run` on that split."""
    return config if split == OWN else config.model_copy(update={"categories": CategoriesConfig(split=split)})


def with_seed(config: RunConfig, seed: int) -> RunConfig:
    return config.model_copy(update={"network": config.network.model_copy(update={"seed": seed})})


def run_experiment(
    config: RunConfig,
    methods: Sequence[str],
    splits: Sequence[str],
    seeds: Sequence[int],
    workdir: Path,
    out: Path,
    console: Console,
) -> list[Row]:
    """Trains and scores every combination and writes the tables after each.

    Args:
      config: of one run; its categories are replaced by each split's, its seed by each seed.
      methods: names in METHODS, also with "+crf".
      splits: named splits, or "own" for the config's categories.
      seeds: in place of the config's.
      workdir: networks, labels and scores; a second call finds them again.
      out: where table2.json and table2.md go.
      console: gets a line for each row.

    Returns:
      Rows: split, method, seed, strong (names), miou, strong_miou, weak_miou, boundary_miou (0..1), per_class,
      ratio_to_full, wall_s (of the last training step of the method), config_hash.

    Raises:
      UserError: unknown method or split, one without weak categories, a config of other networks than an experiment's
        own, the dataset's ids are not those of a split's categories, or another experiment is going on in `workdir`.
    """
    unknown = [name for name in methods if name.removesuffix(CRF) not in METHODS]
    if unknown:
        raise UserError(f"--methods {','.join(unknown)}: unknown; known: {', '.join(METHODS)}, each also with {CRF}")
    for key in ("calibrate", "cam_from", "l_net_from", "warm_start"):
        if getattr(config, key):
            raise UserError(f"{key}: an experiment trains all its networks, and labels by `labels`; leave it out")
    refuse_pattern(workdir.resolve(), "--workdir")
    resolved = resolve(config, splits)
    for name, categories in resolved.items():
        if not categories.weak:
            raise UserError(
                f"--splits {name}: no category is weak, so there is nothing to compare; name some weak ones"
            )
        check_dataset(config.dataset, categories)
    workdir.mkdir(parents=True, exist_ok=True)
    with locked(workdir, "an experiment"):
        return _run(config, methods, resolved, seeds, workdir, out, console)


def _run(
    config: RunConfig,
    methods: Sequence[str],
    resolved: Mapping[str, Categories],
    seeds: Sequence[int],
    workdir: Path,
    out: Path,
    console: Console,
) -> list[Row]:
    about = {"config": config.name, "network": _network(config), "hardware": _hardware()}
    rows: list[Row] = []
    left = _plan(config, [(split, method, seed) for seed in seeds for split in resolved for method in methods], workdir)
    for seed in seeds:
        networks = ExperimentSteps(with_seed(config, seed), workdir)
        for split, categories in resolved.items():
            for method in methods:
                name, start = name_of(split, method, seed), time.monotonic()
                expected = f"about {duration(left.of(name) or 0)}; the whole {duration(left.seconds)} more"
                console.print(f"[bold]{split}[/bold] {method}, seed {seed} ... {expected}", highlight=False)
                trained = METHODS[method.removesuffix(CRF)](networks, categories)
                found = score(networks, categories, trained, crf=method.endswith(CRF))
                row = {"split": split, "method": method, "seed": seed, "strong": list(categories.strong)}
                row |= {name: known(getattr(found, name)) for name in (*MEANS, "boundary_miou")}
                row["per_class"] = {name: known(value) for name, value in found.per_class.items()}
                row |= {"wall_s": seconds_of(trained), "config_hash": training_hash(_of_split(networks.config, split))}
                rows.append(row)
                means = ", ".join(f"{name} {row[name]:.3f}" for name in MEANS if row[name] is not None)
                console.print(f"    {means}", highlight=False)
                write_tables(with_ratios(rows), out, about)
                took = time.monotonic() - start
                left.done(name, took, worked=took > _FOUND_AGAIN_S)
    return with_ratios(rows)


def _plan(config: RunConfig, rows: Sequence[tuple[str, str, int]], workdir: Path) -> Remaining:
    everything = config.model_copy(update={"compare_strong_only": True})
    return plan_rows(rows, plan(everything, count(config), known_rates(config, workdir)))


def plan_rows(rows: Sequence[tuple[str, str, int]], planned: Mapping[str, float]) -> Remaining:
    """Seconds of each (split, method, seed): its networks that no row before it has trained.

    `planned`: of a run's components, see `plan`. "+crf" costs nothing here.
    """
    seen: set[tuple[str, int, str]] = set()
    found = {}
    for split, method, seed in rows:
        steps = {(split, seed, step) for step in STEPS[method.partition("+")[0]]} - seen
        seen |= steps
        found[name_of(split, method, seed)] = sum(planned.get(step.partition(":")[0], 0.0) for _, _, step in steps)
    return Remaining(found)


def name_of(split: str, method: str, seed: int) -> str:
    return f"{split} {method}, seed {seed}"


def resolve(config: RunConfig, splits: Sequence[str]) -> dict[str, Categories]:
    """Named splits, or "own" for the config's -> their categories.

    Raises:
      UserError: no such split.
    """
    return {name: config.categories.resolve() if name == OWN else named_split(name) for name in splits}


def _network(config: RunConfig) -> str:
    network, stage, look = config.network, config.segmentation, config.look("segmentation")
    tested = "" if look == Look(size=network.image_size) else f", tested {look}"
    return f"{network.backbone}, {network.image_size} pixels, {stage.length} of batch {stage.batch_size}{tested}"


def _hardware() -> str:
    import tensorflow as tf

    devices = tf.config.list_physical_devices("GPU")
    names = [str(tf.config.experimental.get_device_details(device).get("device_name")) for device in devices]
    return ", ".join(names) or f"{os.cpu_count()} CPU cores ({platform.machine()}), no GPU"
