"""What the supervised stages share: how many updates, and which batches."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.categories import Categories
from trainer.config import AdversarialConfig, NetworkConfig, StageConfig
from trainer.input_pipeline import count_examples, read_records, training_batches
from trainer.loop import BatchesFn


def num_steps(patterns: Sequence[str], stage: StageConfig, without: Sequence[int] = ()) -> int:
    """Updates of a stage over the examples behind the TFRecord patterns; `without` as for `training_batches`."""
    return stage.steps or stage.num_steps(count_examples(read_records(patterns), without))


def batches_of(
    patterns: Sequence[str],
    categories: Categories,
    network: NetworkConfig,
    stage: StageConfig | AdversarialConfig,
    without: Sequence[int] = (),
) -> BatchesFn:
    """A function from a step to the augmented batches that begin there; `without` as for `training_batches`."""
    files = read_records(patterns)
    return lambda start_step: training_batches(
        files,
        num_categories=len(categories.foreground),
        image_size=network.image_size,
        batch_size=stage.batch_size,
        seed=network.seed,
        scale=stage.scale,
        mirror=stage.mirror,
        colour_jitter=stage.colour_jitter,
        start_step=start_step,
        without=without,
    )
