"""Which ImageNet files there are, and what to say when one is missing. Without TensorFlow: config checks ask, too."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import h5py

from trainer.errors import UserError, one_line


@dataclass(frozen=True)
class WeightFile:
    """A Keras .h5 file of ImageNet weights.

    Attributes:
      name: what Keras calls it in its cache.
      layer: one that no other network's file has.
      size: bytes.
      md5: what Keras checks; None: it checks nothing.
      url: where it is, for a file that keras.applications does not know.
      with_top: it holds the classifier's layers too.
    """

    name: str
    layer: str
    size: int | None
    md5: str | None = None
    url: str | None = None
    with_top: bool = False

    def __str__(self) -> str:
        facts = [f"{self.size} bytes"] if self.size else []
        facts += [f"MD5 {self.md5}"] if self.md5 else []
        return f"{self.name} ({', '.join(facts)})"


FILES = {
    "vgg16": WeightFile(  # its classifier makes fc6 and fc7; without it (no_top) they begin as random ones
        "vgg16_weights_tf_dim_ordering_tf_kernels.h5",
        "block5_conv3",
        553_467_096,
        "64373286793e3c8b2b4e3219cbf3544b",
        with_top=True,
    ),
    "resnet50": WeightFile(
        "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "conv5_block3_3_conv",
        94_765_736,
        "4d473c1dd8becc155b73f8504c6f6626",
    ),
    "mobilenet_v2": WeightFile(
        "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5", "block_16_project", 9_406_464
    ),
    "mobilenet": WeightFile("mobilenet_1_0_224_tf_no_top.h5", "conv_pw_13", 17_225_924),
    "efficientnet_lite0": WeightFile(
        "efficientnet_lite_b0_notop.h5",
        "stem_conv",
        None,
        "d7a91a3c0e7f0bdffe67f599ebe511cd",
        "https://github.com/sebastian-sz/efficientnet-lite-keras/releases/download/v1.0/efficientnet_lite_b0_notop.h5",
    ),
}


def check_weights(backbone: str, weights: str | None) -> None:
    """Looks whether `weights` can be what the config key of that name says, as far as this machine knows.

    Raises:
      UserError: a path without a file, a file of another backbone, or a backbone that has no stored weights.
    """
    if weights is None:
        return
    if backbone not in FILES:
        raise UserError(
            f"network.weights: {weights}: backbone '{backbone}' has no stored weights; set network.weights: null"
        )
    if weights != "imagenet" and not Path(weights).is_file():
        raise UserError(
            f"weights: no file {weights}; give the path of a Keras .h5 of {backbone}, as {FILES[backbone]}; "
            "or imagenet, which downloads it; or null"
        )
    if weights != "imagenet" and (held := backbone_of(weights)) not in (None, backbone):
        raise UserError(
            f"weights: {weights} is of {held}, and network.backbone is {backbone}; set network.backbone: {held}, or "
            f"give a file of {backbone}, as {FILES[backbone]}"
        )


def backbone_of(path: str) -> str | None:
    """Whose weights a Keras .h5 file holds, by a name in it; None if it is no network's that there is.

    Raises:
      UserError: see `stored_layers`.
    """
    with stored_layers(path) as (_, names):
        return next((name for name, file in FILES.items() if file.layer in names), None)


@contextmanager
def stored_layers(path: str | Path) -> Iterator[tuple[h5py.Group, list[str]]]:
    """Opens a Keras .h5 file, of weights or of a whole model: the group that holds its layers, and their names.

    Raises:
      UserError: not a Keras .h5 file.
    """
    try:
        with h5py.File(path) as file:
            root = file.get("model_weights", file)
            yield root, [text(name) for name in root.attrs["layer_names"]]
    except (OSError, KeyError) as error:
        raise UserError(f"weights: {path} is not a Keras .h5 weights file; {one_line(error)}") from error


def text(value: bytes | str) -> str:
    """A name as h5py gives it, of whatever age the file is."""
    return value.decode() if isinstance(value, bytes) else value


def content_of(weights: str | None) -> str | None:
    """Hex digest of the file that `weights` names; None where it names none of this machine's.

    The published files are the same everywhere.
    """
    path = Path(weights or "")
    if not weights or not path.is_file():
        return None
    state = path.stat()
    return _digest(path, state.st_size, state.st_mtime_ns)


@lru_cache  # each node of a graph asks; VGG-16's file has half a gigabyte
def _digest(path: Path, size: int, changed: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def no_download(backbone: str, reason: str) -> UserError:
    """What to say when Keras could not fetch a backbone's file."""
    return UserError(
        f"network.weights: 'imagenet' could not be downloaded; put {FILES[backbone]} into {cache_folder()}, or set "
        f"network.weights to its path, or to null; {reason}"
    )


def cache_folder() -> Path:
    """Where Keras keeps and looks for downloaded weights."""
    return Path.home() / ".keras" / "models"
