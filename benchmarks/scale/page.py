"""docs/scale.md: the measured figures, multiplied."""

from __future__ import annotations

from pathlib import Path

import jinja2

from trainer.data.features import SHARD_SIZE

SIZES = (10_000, 1_000_000, 100_000_000)
PRICE, WORKERS, WEAK_SHARE, MAX_EVAL = 0.04, 64, 0.75, 10_000  # dollars a core-hour; the others are no measurements
_TRAINING = ("cam", "l_net", "segmentation", "p_net")


def page(
    measured: dict,
    epochs: dict[str, float],
    price: float = PRICE,
    workers: int = WORKERS,
    weak_share: float = WEAK_SHARE,
) -> str:
    """The page as Markdown.

    Args:
      measured: of `measure`.
      epochs: of cam, l_net, segmentation, p_net and p_net_pretrain.
      price: dollars for an hour of a core.
      workers: Beam workers of one core each.
      weak_share: share of the training images that have tags only, 0..1.
    """
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    environment.filters["hours"] = lambda value: f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
    names = ("examples", "cam", "l_net", "weak_labels", "segmentation", "p_net", "evaluator")
    template = environment.from_string(Path(__file__).with_name("page.md.jinja").read_text())
    return template.render(
        **{key: measured[key] for key in ("how", "config", "cores", "images")},
        total=sum(measured["images"].values()),
        price=price,
        workers=workers,
        weak_share=weak_share,
        max_eval=MAX_EVAL,
        steps=[{"name": n, "seconds": measured["seconds"][n], "training": n in _TRAINING} for n in names],
        example_kb=measured["bytes"]["example"] / 1000,
        mask_kb=measured["bytes"]["mask"] / 1000,
        sizes=[work(images, measured, epochs, price, workers, weak_share) for images in SIZES],
        shard=SHARD_SIZE,
        fingerprint=measured["serial"]["fingerprint"],
    )


def work(
    images: int, measured: dict, epochs: dict[str, float], price: float, workers: int, weak_share: float
) -> dict[str, float]:
    """Hours, dollars, gigabytes and files for so many training images."""
    seconds, serial, size, cores = measured["seconds"], measured["serial"], measured["bytes"], measured["cores"]
    weak, strong, evaluated = images * weak_share, images * (1 - weak_share), min(images, MAX_EVAL)
    per_beam_core = cores / 3600  # a Beam step of the measured run had all cores
    made = (images + evaluated) * seconds["examples"] * per_beam_core
    beam = made + (weak * seconds["weak_labels"] + evaluated * seconds["evaluator"]) * per_beam_core
    p_net = (epochs["p_net"] * images + epochs["p_net_pretrain"] * strong) * seconds["p_net"] / 3600
    training = p_net + sum(
        epochs[name] * count * seconds[name] / 3600
        for name, count in (("cam", images), ("l_net", strong), ("segmentation", images))
    )
    copies = images + evaluated + images  # examples, and those with labels
    return {
        "images": images,
        "beam_hours": beam,
        "beam_wall": beam / workers,
        "training_hours": training,
        "p_net_hours": p_net,
        "cost": (beam + training * cores) * price,
        "gigabytes": (copies * size["example"] + weak * size["mask"]) / 1e9,
        "shards": -(-images // SHARD_SIZE),
        "fingerprint": images * serial["fingerprint"] / 3600,
        "count": images * serial["count"] / 3600,
        "increment_hours": made + 0.01 * weak * seconds["weak_labels"] * per_beam_core,
    }
