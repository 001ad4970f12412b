"""The four run_fns of the TFX Trainers: unpack the arguments, train, export. The training itself lives in `trainer/`.

Where several hosts train together (TF_CONFIG), each of them calls the run_fn; the chief alone exports, and the others
return when the model is there.

`custom_config` of each Trainer holds JSON-ready dicts: `network` (NetworkConfig), `stage` (StageConfig, or
AdversarialConfig for P-Net), `look` (a Look, how the exported network looks at pictures), `max_pixels` (that it
takes), `categories` (Categories.to_dict), `metadata` (goes into the model's assets) and `checkpoint_root`, a
folder that outlives a killed run.
"""

from __future__ import annotations

import hashlib
import json
import os
from functools import partial
from typing import TypeVar

import tensorflow as tf
from tfx.components.trainer.fn_args_utils import FnArgs

from components.beam_masks.job import model_digest
from serving.export import export_maps, export_segmentation, read_categories, restore_net
from trainer.config import AdversarialConfig, NetworkConfig, StageConfig
from trainer.data import features
from trainer.data.categories import Categories
from trainer.data.input_pipeline import record_files
from trainer.errors import UserError
from trainer.inference.looks import Look
from trainer.training.checkpoints import read_history
from trainer.training.hosts import LOST, barrier, hosts
from trainer.training.refinement import refine_segmentation
from trainer.training.session import RunFolders
from trainer.training.stages import CAM, L_NET, SEGMENTATION, train

Settings = TypeVar("Settings", StageConfig, AdversarialConfig)
RUN_ID = "TRANSFERSEG_RUN_ID"  # environment variable; as a parameter it would spoil the cache
_WARMUP_IMAGES, _PREDICTED_IMAGES = 2, 8  # our choice


def cam(fn_args: FnArgs) -> None:
    """Trains the CAM classifier on the tags of the given splits and exports its activation maps."""
    categories, network, stage = _settings(fn_args, StageConfig)
    net = train(CAM, fn_args.train_files, categories, network, stage, _folders(fn_args, "CAM"))
    _export_maps(net, fn_args, "cam", categories, network)


def l_net(fn_args: FnArgs) -> None:
    """Trains L-Net on the strong split and exports its class-agnostic map."""
    categories, network, stage = _settings(fn_args, StageConfig)
    net = train(L_NET, fn_args.train_files, categories, network, stage, _folders(fn_args, "L-Net"))
    _export_maps(net, fn_args, "l_net", categories, network)


def segmentation(fn_args: FnArgs) -> None:
    """Trains the segmentation network on the given splits and exports the served model.

    It begins as the base model, if there is one of the same categories.
    """
    categories, network, stage = _settings(fn_args, StageConfig)
    restore = None
    if fn_args.base_model and read_categories(fn_args.base_model, "segmentation").foreground == categories.foreground:
        restore = partial(restore_net, saved_model=fn_args.base_model)
    net = train(
        SEGMENTATION, fn_args.train_files, categories, network, stage, _folders(fn_args, "segmentation"), restore
    )
    _export_segmentation(net, fn_args, categories, network)


def p_net(fn_args: FnArgs) -> None:
    """Refines the base model adversarially; the first given split is the strong one."""
    categories, network, settings = _settings(fn_args, AdversarialConfig)
    net = refine_segmentation(
        fn_args.train_files[:1],
        fn_args.train_files,
        categories,
        network,
        settings,
        _folders(fn_args, "P-Net"),
        restore=partial(restore_net, saved_model=fn_args.base_model),
    )
    _export_segmentation(net, fn_args, categories, network)


def _settings(fn_args: FnArgs, settings_class: type[Settings]) -> tuple[Categories, NetworkConfig, Settings]:
    config = fn_args.custom_config
    return (
        Categories.from_dict(config["categories"]),
        NetworkConfig.model_validate(config["network"]),
        settings_class.model_validate(config["stage"]),
    )


def _folders(fn_args: FnArgs, name: str) -> RunFolders:
    """The same inputs and settings find the same checkpoints again, also after a kill; other records or another model
    behind the same path do not."""
    records = [(path, tf.io.gfile.stat(path).length) for path in record_files(fn_args.train_files)]
    base = fn_args.base_model and model_digest(fn_args.base_model)
    identity = json.dumps([records, fn_args.base_model, base, fn_args.custom_config], sort_keys=True)
    digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
    return RunFolders(name, fn_args.model_run_dir, f"{fn_args.custom_config['checkpoint_root']}/{name}-{digest}")


def _export_maps(
    net: tf.keras.Model, fn_args: FnArgs, kind: str, categories: Categories, network: NetworkConfig
) -> None:
    if hosts().chief:
        export_maps(
            net,
            fn_args.serving_model_dir,
            kind=kind,
            image_size=network.image_size,
            categories=categories,
            metadata=_metadata(fn_args),
            **_looking(fn_args),
        )
    _await_chief(fn_args.serving_model_dir)


def _export_segmentation(net: tf.keras.Model, fn_args: FnArgs, categories: Categories, network: NetworkConfig) -> None:
    if hosts().chief:
        files, limit = record_files(fn_args.train_files), fn_args.custom_config["max_pixels"]
        images = features.first_images(files, _PREDICTED_IMAGES, limit)
        export_segmentation(
            net,
            fn_args.serving_model_dir,
            categories=categories,
            image_size=network.image_size,
            metadata=_metadata(fn_args),
            warmup_images=images[:_WARMUP_IMAGES],
            predicted_images=images,
            **_looking(fn_args),
        )
    _await_chief(fn_args.serving_model_dir)


def _looking(fn_args: FnArgs) -> dict:
    config = fn_args.custom_config
    return {"look": Look.model_validate(config["look"]), "max_pixels": config["max_pixels"]}


def _await_chief(model: str) -> None:
    """Returns on every host when the chief has exported the model: TFX asks each of them for it."""
    try:
        barrier()
    except LOST as error:
        if not tf.io.gfile.exists(model):  # else the chief was done before it, or this host's fellow, ended
            raise UserError(
                f"{model}: the chief ended before it had exported the model; start all hosts again to continue from "
                "the last checkpoint"
            ) from error


def _metadata(fn_args: FnArgs) -> dict:
    """What the assets say of the model's origin: the run's own words, the artifacts used, the last losses."""
    rows = read_history(f"{fn_args.model_run_dir}/history.csv")
    lineage = {"examples": list(fn_args.train_files), "base_model": fn_args.base_model, "run": fn_args.model_run_dir}
    config = fn_args.custom_config
    own = config["metadata"] | {"backbone": config["network"]["backbone"], "run_id": os.environ.get(RUN_ID)}
    return {**own, "lineage": lineage, "training": rows[-1] if rows else {}}
