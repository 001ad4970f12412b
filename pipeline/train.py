"""One training stage outside of a pipeline run: by hand, or on every one of several hosts."""

from __future__ import annotations

from pathlib import Path

from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.utils import path_utils

from components.image_example_gen.records import WEAK
from components.trainers import run_fns
from components.weak_labels.examples import LABELS
from pipeline.config.run_config import RunConfig
from pipeline.nodes import exported_folder, trained_splits, trainer_config
from trainer.errors import UserError
from trainer.training.hosts import LOST, hosts


def train_stage(config: RunConfig, stage: str, examples: Path, output: Path, base_model: Path | None) -> Path:
    """Trains a stage as the pipeline's Trainer does; a killed training continues.

    Writes <output>/Format-Serving (the exported model), run/ (history and curves) and checkpoints/. With several hosts
    (TF_CONFIG) each of them calls this, all with the same folders; the chief writes.

    Args:
      stage: cam or l_net on ImageExampleGen's artifact, segmentation or p_net on WeakLabels' (without weak categories
        on ImageExampleGen's too).
      base_model: of p_net, the segmentation network to refine; of segmentation, where to begin.

    Returns:
      The exported model's folder.

    Raises:
      UserError: the examples or the base model are not there, the output has a model already, or a host was lost.
    """
    splits = trained_splits(stage, config.categories.resolve())
    if missing := [split for split in splits if not (examples / f"Split-{split}").is_dir()]:
        raise UserError(f"--examples {examples}: has no folder Split-{missing[0]}; give an examples artifact of a run")
    if WEAK in splits and stage != "cam" and not (examples / LABELS).is_dir():
        raise UserError(f"--examples {examples}: has no folder {LABELS}, no weak labels; give the weak_labels artifact")
    if stage == "p_net" and not base_model:
        raise UserError("--base-model: p_net refines a segmentation network; give its folder")
    model = Path(path_utils.serving_model_dir(str(output)))
    if model.exists():
        raise UserError(f"--output {output}: holds a trained model; give another folder")
    folder = exported_folder("--base-model", str(base_model)) if base_model else None
    arguments = FnArgs(
        train_files=[f"{examples.resolve()}/Split-{split}/*" for split in splits],
        serving_model_dir=str(model),
        model_run_dir=str(output / "run"),
        base_model=path_utils.serving_model_path(folder) if folder else None,
        custom_config=trainer_config(config, stage, str(output / "checkpoints")),
    )
    try:
        getattr(run_fns, stage)(arguments)
    except LOST as error:
        if hosts().number == 1:
            raise
        raise UserError(
            f"{stage}: lost another of the {hosts().number} hosts before the first step or after the last one; start "
            f"all of them again ({type(error).__name__}: {str(error).splitlines()[0]})"
        ) from error
    return model
