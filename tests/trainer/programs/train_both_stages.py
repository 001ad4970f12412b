"""Trains a tiny segmentation network, then refines it with P-Net; a process to be killed or spread over devices.

    python train_both_stages.py FOLDER NUM_DEVICES SEGMENTATION_STEPS P_NET_STEPS [MOMENT]

With TF_CONFIG it is one of several hosts. Prints "ready" before training; writes the final weights to
FOLDER/weights.npz. The same FOLDER resumes. Without steps P-Net's stage is left out. With a MOMENT it ends there as
if killed.
"""

import os
import sys
from pathlib import Path

import cv2
import numpy as np
import tensorflow as tf

from trainer.config import AdversarialConfig, NetworkConfig, StageConfig
from trainer.data import features
from trainer.data.categories import from_lists
from trainer.training.checkpoints import Checkpoints
from trainer.training.hosts import hosts
from trainer.training.refinement import refine_segmentation
from trainer.training.session import RunFolders, Session
from trainer.training.stages import SEGMENTATION, train

CATEGORIES = from_lists(["disc"], ["square"])
NETWORK = NetworkConfig(backbone="tiny", weights=None, image_size=65, precision="float32")

KILLED = 137  # exit status
# A moment: (class, method, its call that ends the process instead of being made). Checkpoints come every 5 steps.
MOMENTS = {
    "in a step": (Session, "end_step", 8),
    "restoring": (Checkpoints, "restore", 1),
    "saving": (tf.train.CheckpointManager, "_record_state", 1),  # all is written, nothing says that it is the newest
    "between the stages": (Session, "__enter__", 2),
    "in the joint phase": (Session, "end_step", 8),  # segmentation is done: steps of the second stage, 4 alone before
}


def end_at(moment: str) -> None:
    """Lets this process end at that moment: nothing is flushed, no handler runs."""
    kind, name, last = MOMENTS[moment]
    method, calls = getattr(kind, name), 0

    def counted(*arguments, **options):
        nonlocal calls
        calls += 1
        if calls == last:
            os._exit(KILLED)
        return method(*arguments, **options)

    setattr(kind, name, counted)


def main(folder: Path, num_devices: int, segmentation_steps: int, p_net_steps: int) -> None:
    place = hosts()
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * num_devices)
    records = [write_records(folder / f"records{place.index}.gz", count=8)]
    stage = StageConfig(
        batch_size=4,
        accumulate=2,
        steps=segmentation_steps,
        learning_rate=0.05,
        clip_norm=1.0,
        scale=(0.8, 1.4),
        checkpoint_every=5,
    )
    p_net = AdversarialConfig(
        batch_size=4,
        accumulate=2,
        steps=p_net_steps or None,
        pretrain_epochs=2,
        segmentation_learning_rate=0.02,
        p_net_learning_rate=0.05,
        weight=0.5,
        checkpoint_every=5,
    )
    print("ready", flush=True)

    def folders(name: str) -> RunFolders:
        return RunFolders(name, str(folder / name), str(folder / f"{name}.state"))

    net = train(SEGMENTATION, records, CATEGORIES, NETWORK, stage, folders("segmentation"))
    weights = trained = net.get_weights()
    if p_net_steps:
        refined = refine_segmentation(
            records, records, CATEGORIES, NETWORK, p_net, folders("p_net"), lambda net: net.set_weights(trained)
        )
        weights = [*trained, *refined.get_weights()]
    if place.chief:
        np.savez(folder / "weights.npz", *weights)


def write_records(path: Path, count: int) -> str:
    """Images of one disc or square each, with their masks; the same ones every time."""
    rng = np.random.default_rng(0)
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for index in range(count):
            image = rng.integers(0, 90, (60, 80, 3), np.uint8)
            mask = np.zeros((60, 80), np.uint8)
            centre = rng.integers(20, 40, 2).tolist()
            if index % 2:
                cv2.circle(mask, centre, 15, 1, -1)
            else:
                cv2.rectangle(mask, centre, [value + 18 for value in centre], 2, -1)
            image[mask == 1], image[mask == 2] = (220, 60, 60), (60, 60, 220)
            encoded = [cv2.imencode(".png", array)[1].tobytes() for array in (image, mask)]
            example = features.make_example(f"{index}", encoded[0], 60, 80, [1 if index % 2 else 2], encoded[1])
            writer.write(example.SerializeToString())
    return str(path)


def newest_checkpoint(folder: Path) -> tuple[int, int]:
    """(steps of the segmentation stage, steps of the P-Net stage)."""

    def steps(name: str) -> int:
        return max((int(path.stem.split("-")[1]) for path in folder.glob(f"{name}.state/ckpt-*.index")), default=0)

    return steps("segmentation"), steps("p_net")


if __name__ == "__main__":
    for moment in sys.argv[5:]:
        end_at(moment)
    main(Path(sys.argv[1]), *map(int, sys.argv[2:5]))
