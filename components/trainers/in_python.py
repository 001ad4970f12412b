"""Training on one's own arrays or tf.data, without a pipeline: the same loops, the same export."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from serving.export import export_maps, export_segmentation
from serving.model import encoded
from trainer.config import NetworkConfig, StageConfig, instance_of
from trainer.data import features
from trainer.data.categories import BACKGROUND, VOID, Categories, from_lists
from trainer.data.masks import encode_grey
from trainer.data.pictures import decode
from trainer.errors import ImageFault, UserError
from trainer.inference.looks import InferenceConfig
from trainer.training import stages
from trainer.training.session import RunFolders

Kind = Literal["segmentation", "l_net", "cam"]
_STAGES = {"segmentation": stages.SEGMENTATION, "l_net": stages.L_NET, "cam": stages.CAM}
_EXAMPLES, _MODEL, _KEPT = "examples", "model", 8  # our choice: images whose predictions go into the export


def train(
    examples: Iterable[tuple[Any, Any]],
    categories: Categories | Sequence[str],
    workdir: str | os.PathLike,
    *,
    kind: Kind = "segmentation",
    network: NetworkConfig | None = None,
    stage: StageConfig | None = None,
) -> Path:
    """Trains one network. A call that was killed continues when it is made again with the same arguments.

    Writes `<workdir>/model` (the SavedModel), run/ (history.csv and curves), examples/ and checkpoints/.

    Args:
      examples: (image, mask) or (image, tags) of each picture, gone through once; a tf.data.Dataset must end (`take`).
        image: uint8 [H, W, 3] RGB, any size, or a file's path or bytes; mask: integers [H, W] of ids, 255 is void;
        tags: a list of names, for pictures without a mask, from which "cam" learns.
      categories: Categories (`from_lists`), or the names of ids 1, 2, 3 ...
      workdir: a folder of this training alone.
      kind: "segmentation" learns the masks; "l_net" object or background, from pictures of strong categories alone;
        "cam" the tags, with those that the masks show.
      network: backbone, image size, precision; by default the paper's.
      stage: length, batch, rates; by default the paper's.

    Returns:
      `<workdir>/model`, for `load_model`, `load_labeller`, `transferseg serve` or TF Serving.

    Raises:
      UserError: an example cannot be used, the kind has nothing to learn from, or there is a model already.
    """
    if kind not in _STAGES:
        raise UserError(f"kind '{kind}': give one of {', '.join(_STAGES)}")
    known = categories if isinstance(categories, Categories) else from_lists(categories, [])
    network = instance_of(NetworkConfig, network or NetworkConfig(), "network")
    stage = instance_of(StageConfig, stage or StageConfig(), "stage")
    workdir = Path(workdir)
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"{workdir}: is a file; give a folder")
    if (workdir / _MODEL).exists():
        raise UserError(f"{workdir / _MODEL}: holds a trained model; give another folder")
    workdir.mkdir(parents=True, exist_ok=True)
    digest = _write_examples(examples, known, workdir / _EXAMPLES, needs_masks=kind != "cam")
    identity = f"{kind} {digest} {known} {network.model_dump_json()} {stage.model_dump_json()}"
    state = hashlib.sha256(identity.encode()).hexdigest()[:16]
    folders = RunFolders(kind, str(workdir / "run"), str(workdir / "checkpoints" / state))
    policy = tf.keras.mixed_precision.global_policy()
    try:
        net = stages.train(_STAGES[kind], [f"{workdir / _EXAMPLES}/*"], known, network, stage, folders)
        _export(net, kind, workdir, known, network, stage)
    finally:
        tf.keras.mixed_precision.set_global_policy(policy)  # the precision was this network's, not the caller's next
    return workdir / _MODEL


def _export(
    net: tf.keras.Model,
    kind: Kind,
    workdir: Path,
    categories: Categories,
    network: NetworkConfig,
    stage: StageConfig,
) -> None:
    look = InferenceConfig().look(network.image_size, stage.scale)
    shared = {"categories": categories, "image_size": network.image_size, "look": look}
    about = {"backbone": network.backbone}
    if kind != "segmentation":
        export_maps(net, workdir / _MODEL, kind=kind, metadata=about, **shared)
        return
    examples = features.read_examples(str(min((workdir / _EXAMPLES).iterdir())))
    images = [features.image_of(example) for example in islice(examples, _KEPT)]
    export_segmentation(
        net,
        workdir / _MODEL,
        metadata=about,
        warmup_images=images[:1],
        predicted_images=images,
        **shared,
    )


def _write_examples(
    examples: Iterable[tuple[Any, Any]], categories: Categories, folder: Path, needs_masks: bool
) -> str:
    """Writes tf.Examples (trainer/data/features.py) into some files, since training unpacks them whole.

    Returns:
      Their digest.
    """
    digest, useful = hashlib.sha256(), 0
    shutil.rmtree(folder, ignore_errors=True)  # of a call that was killed
    folder.mkdir()
    checked = _checked(examples, categories, needs_masks)
    for number, several in enumerate(iter(lambda: list(islice(checked, features.SHARD_SIZE)), [])):
        with tf.io.TFRecordWriter(f"{folder}/{number:06}.gz", features.GZIP) as writer:
            for example, has_use in several:
                record = example.SerializeToString(deterministic=True)
                digest.update(record)
                writer.write(record)
                useful += has_use
    if not useful:
        wanted = "a mask" if needs_masks else "a tag, or a mask that shows a category"
        raise UserError(f"none of the examples has {wanted}: there is nothing to learn from")
    return digest.hexdigest()


def _checked(
    examples: Iterable[tuple[Any, Any]], categories: Categories, needs_masks: bool
) -> Iterator[tuple[tf.train.Example, bool]]:
    """(the tf.Example, whether there is something in it to learn) of each."""
    for number, pair in enumerate(examples):
        key = f"example-{number:06}"
        try:
            if not isinstance(pair, list | tuple) or len(pair) != 2:
                raise UserError("must be a pair: (image, mask) or (image, tags)")
            image, about = pair
            data = encoded(image.numpy() if tf.is_tensor(image) else image)
            height, width = decode(data).shape[:2]
            mask, tags = _mask_and_tags(about, (height, width), categories)
        except (UserError, ImageFault) as error:
            raise UserError(f"{key}: {error}") from None
        supervision = b"weak" if categories.is_weak_image(tags) else b"strong"
        source = features.NONE if mask is None else features.HUMAN
        png = None if mask is None else encode_grey(mask)
        example = features.make_example(key, data, height, width, tags, png, source, supervision)
        yield example, mask is not None if needs_masks else bool(tags)


def _mask_and_tags(about: Any, size: tuple[int, int], categories: Categories) -> tuple[np.ndarray | None, list[int]]:
    if isinstance(about, list | tuple | set) and all(isinstance(name, str) for name in about):
        return None, sorted({categories.id_of(name) for name in about})
    mask = np.asarray(about)
    if mask.shape != size or not np.issubdtype(mask.dtype, np.integer):
        found = f"{mask.dtype} {list(mask.shape)}"
        raise UserError(f"its mask must be integers {list(size)} as the image is, or a list of tags, not {found}")
    ids = np.unique(mask)
    if odd := [int(i) for i in ids if not 0 <= i < categories.num_classes and i != VOID]:
        raise UserError(f"its mask has ids {odd[:5]}; ids are 0..{categories.num_classes - 1} and {VOID} for void")
    return mask.astype(np.uint8), [int(i) for i in ids if i not in (BACKGROUND, VOID)]
