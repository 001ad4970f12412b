"""What to do after a run: where the model lies, why it was refused in words, what may help, how to overrule it."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from components.serving_validator.checks import ALL_BACKGROUND
from pipeline.config.run_config import GateConfig, RunConfig
from pipeline.report.evidence import FEW_LABELS, Evidence
from pipeline.report.facts import Facts, Miss
from pipeline.report.summary import RunSummary
from pipeline.report.templates import percent
from trainer.config import StageConfig

_SHORT = 30  # our choice: pictures of a category below which more of them come first
_JUDGED = 3  # our choice: pictures to judge a category by, below which one decides
_LEARNED = 0.5  # our choice: mean IoU of the categories with masks below which training was too short
_REMEDIES = 2
_LOOKS = "--set 'maps={extra_scales: [0.7, 1.3, 1.6], mirror: true}'"


@dataclass(frozen=True)
class Remedy:
    """What may help and why, and the commands that do it."""

    text: str
    commands: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Advice:
    """What a person needs to know after a run.

    Attributes:
      model: folder of the SavedModel, pushed or not; None without one.
      reasons: why it was not pushed, in words.
      remedies: the two most likely ones.
      use: the command that makes masks with it.
      again: the command that judges it with limits it reaches; accept: the one that pushes it whatever its scores.
      go_on: the command that continues a run that stopped.
    """

    model: str | None = None
    reasons: list[str] = field(default_factory=list)
    remedies: list[Remedy] = field(default_factory=list)
    use: str | None = None
    again: str | None = None
    accept: str | None = None
    go_on: str | None = None

    @property
    def commands(self) -> list[tuple[str, str]]:
        """(what it does, the command)."""
        titled = (
            ("When that is mended, go on; what is done is kept", self.go_on),
            ("Judge it again with limits it reaches, without training", self.again),
            ("Push it as it is; the reason is recorded", self.accept),
            ("Masks with it", self.use),
        )
        return [(title, command) for title, command in titled if command]


def advise(facts: Facts, summary: RunSummary, evidence: Evidence) -> Advice:
    """After a run, however it ended.

    Args:
      facts, summary: what it came to.
      evidence: see `gather`.
    """
    run = _words("transferseg", "run", near(facts.workdir / "config.yaml"), "--workdir", near(facts.workdir))
    if summary.pushed_model:
        folder = near(Path(summary.pushed_model).parent)
        return Advice(near(summary.pushed_model), use=_predict(folder))
    model = facts.model and near(facts.model)
    if any(component.error for component in facts.components):
        return Advice(model, go_on=run)
    config, missed = facts.config, facts.misses
    if any(ALL_BACKGROUND in reason for reason in summary.refused_because):
        return Advice(model, remedies=_remedies(config, run, facts.workdir, summary, [], [], evidence))
    if not missed:
        return Advice(model, use=model and _predict(model))
    worst = _worst(config, summary, missed, evidence)
    return Advice(
        model,
        [*map(_missed_in_words, missed), *(_category_in_words(name, config, summary, evidence) for name in worst)],
        _remedies(config, run, facts.workdir, summary, missed, worst, evidence),
        _predict(model),
        " ".join([run, *(f"--set {setting}" for setting in _limits(config, missed))]),
        f"{run} --accept 'why this one all the same'",
    )


def near(path: str | Path) -> str:
    """A path as a person in the current folder would write it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _words(*words: str) -> str:
    return shlex.join(words)


def _predict(model: str) -> str:
    return _words("transferseg", "predict", "--model", model, "--images", "photos", "--output", "masks")


def _missed_in_words(miss: Miss) -> str:
    what = "The mean IoU of the categories learned from tags" if miss.metric == "weak_miou" else "The mean IoU"
    if miss.is_change:
        return (
            f"{what} fell by {-100 * miss.value:.1f} points against the model that is served; "
            f"{-100 * miss.limit:.1f} are allowed."
        )
    if math.isnan(miss.value):
        return f"{what} cannot be told: no picture to judge by shows one."
    return f"{what} is {percent(miss.value)} %; the gate asks for {percent(miss.limit)} %."


def _limits(config: RunConfig, missed: list[Miss]) -> list[str]:
    """The config values under which the model passes, as the config takes them together."""
    settings = dict(_reached(miss).split("=") for miss in missed)
    own, drop = config.gate.max_weak_miou_drop, GateConfig().max_weak_miou_drop
    if settings.get("gate.min_weak_miou") == "null" and (own != drop or "gate.max_weak_miou_drop" in settings):
        settings["gate.max_weak_miou_drop"] = f"{drop:g}"  # another one is refused where nothing is judged
    return [f"{key}={value}" for key, value in settings.items()]


def _reached(miss: Miss) -> str:
    """The config value under which the model passes."""
    if miss.is_change:
        return f"gate.max_{miss.metric}_drop={min(1.0, math.ceil(-100 * miss.value + 1e-6) / 100):g}"
    if math.isnan(miss.value):
        return f"gate.min_{miss.metric}=null"
    return f"gate.min_{miss.metric}={math.floor(100 * miss.value) / 100:g}"


def _worst(config: RunConfig, summary: RunSummary, missed: list[Miss], evidence: Evidence) -> list[str]:
    """The two categories that cost most, of those that the missed thresholds are about."""
    categories = config.categories.resolve()
    about = categories.weak if all(miss.metric == "weak_miou" for miss in missed) else categories.foreground
    judged = [name for name in about if evidence.judged.get(name) and name not in config.categories.added]
    known = [(summary.per_class[name], name) for name in judged if summary.per_class.get(name) is not None]
    return [name for _, name in sorted(known)[:2]]


def _category_in_words(name: str, config: RunConfig, summary: RunSummary, evidence: Evidence) -> str:
    kind = "masks" if name in config.categories.resolve().strong else "tags"
    text = (
        f"{name}: {percent(summary.per_class[name])} %, learned from {kind} of {evidence.trained.get(name, 0)} "
        f"pictures, judged by {evidence.judged.get(name, 0)}"
    )
    if cause := evidence.cause(name):
        text += f"; {cause}"
    if worst := evidence.worst(name):
        text += "; worst: " + ", ".join(f"{p.key} ({percent(p.iou.get(name, 0.0))} %)" for p in worst)
    return text + "."


def _remedies(
    config: RunConfig,
    run: str,
    workdir: Path,
    summary: RunSummary,
    missed: list[Miss],
    worst: list[str],
    evidence: Evidence,
) -> list[Remedy]:
    """The most likely first."""
    found: list[Remedy] = []
    if config.network.weights is None and config.network.backbone != "tiny":
        found.append(
            Remedy(
                "The networks began with random weights. ImageNet's know edges and parts already; nothing helps more.",
                [f"{run} --set network.weights=imagenet"],
            )
        )
    for name in worst:
        found += _for_category(name, config, run, workdir, evidence)
    learns_l_net = config.categories.resolve().weak and not config.l_net_from
    strong, segmentation = summary.strong_miou, _longer("segmentation", config.segmentation)
    if strong is not None and strong < _LEARNED:
        found.append(
            Remedy(
                f"Train longer: categories with masks are at {percent(strong)} % too.",
                [" ".join([run, *([_longer("l_net", config.l_net)] if learns_l_net else []), segmentation])],
            )
        )
    if any(miss.is_change for miss in missed):
        found.append(Remedy("Begin as the model that is served, not from ImageNet.", [f"{run} --set warm_start=true"]))
    if _may_look_more(config):
        found.append(Remedy("Let the networks that make the weak labels look eight times.", [f"{run} {_LOOKS}"]))
    found.append(Remedy("Train longer.", [f"{run} {segmentation}"]))
    different: dict[str, Remedy] = {}
    for remedy in found:  # the first of those that do the same
        different.setdefault(" ".join(remedy.commands), remedy)
    return list(different.values())[:_REMEDIES]


def _for_category(name: str, config: RunConfig, run: str, workdir: Path, evidence: Evidence) -> Iterator[Remedy]:
    root, weak = config.dataset.root, name in config.categories.resolve().weak
    number, judged = evidence.trained.get(name, 0), evidence.judged.get(name, 0)
    label = evidence.labels.get(name)
    source = ["--images", "more", *(["--tags", "more.csv"] if weak else ["--masks", "more_masks"])]
    if number < _SHORT:
        kind = "tagged pictures" if weak else "pictures with masks"
        add = _words("transferseg", "import", "folder", *source, "--output", root, "--split", config.dataset.train)
        found = Remedy(f"More {kind} of {name}: {number} are few; {_SHORT} to 100 make a difference.", [add, run])
        yield found
    if weak and label and label["labelled"] and label["presence"] < FEW_LABELS and _may_look_more(config):
        yield Remedy(
            f"Better weak labels: {name} is in {label['present']} of its {label['labelled']}. Look eight times:",
            [f"{run} {_LOOKS}"],
        )
    if weak and number >= _SHORT:
        export = _words("transferseg", "review", "export", "--workdir", near(workdir), "--output", "review")
        yield Remedy(f"Correct the least certain weak labels by hand, {name}'s first.", [export])
    if judged < _JUDGED:
        yield Remedy(
            f"More masks to judge {name} by: {judged} let one picture decide.",
            [
                _words("transferseg", "import", "folder", "--images", "more", "--masks", "more_masks")
                + f" --output {shlex.quote(root)} --split {config.dataset.eval}"
            ],
        )


def _may_look_more(config: RunConfig) -> bool:
    """Whether `maps` would change something: networks of another run look as they were exported."""
    imported = config.cam_from and config.l_net_from
    return bool(config.categories.resolve().weak) and not config.maps.mirror and not imported


def _longer(name: str, stage: StageConfig) -> str:
    if stage.steps:
        return f"--set {name}.steps={2 * stage.steps}"
    return f"--set {name}.epochs={2 * (stage.epochs or 1):g}"
