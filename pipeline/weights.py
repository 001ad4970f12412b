"""Whether the networks' ImageNet weights are at hand, before hours of work ask for them."""

from __future__ import annotations

import urllib.request

from trainer.errors import one_line
from trainer.models.weight_files import FILES, cache_folder, check_weights

_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications"
_FOLDERS = {"vgg16": "vgg16", "resnet50": "resnet", "mobilenet_v2": "mobilenet_v2", "mobilenet": "mobilenet"}
_TIMEOUT_S = 5


def at_hand(backbone: str, weights: str | None) -> bool:
    """Whether nothing need be downloaded.

    Raises:
      UserError: see `check_weights`.
    """
    check_weights(backbone, weights)
    return weights != "imagenet" or (cache_folder() / FILES[backbone].name).is_file()


def advice(backbone: str, weights: str | None) -> list[str]:
    """What to do, in lines, if the weights are neither here nor to be had from here; else [].

    Raises:
      UserError: see `check_weights`.
    """
    if at_hand(backbone, weights) or (reason := _unreachable(address(backbone))) is None:
        return []
    file = FILES[backbone]
    return [
        f"network.weights: {file} is not in {cache_folder()}, and cannot be downloaded from here ({reason}).",
        f"  On a machine with internet: curl -O {address(backbone)}",
        f"  Then put it into {cache_folder()}, or run with --set network.weights=/path/to/{file.name}",
        "  Without it, network.weights: null with freeze_backbone: false is random, which needs many more pictures.",
    ]


def fetch(backbone: str, weights: str | None) -> None:
    """Downloads what is not here yet, as the first stage of a training would do it.

    Raises:
      UserError: it cannot be downloaded, or see `check_weights`.
    """
    if at_hand(backbone, weights):
        return
    from trainer.models.backbones import BACKBONES
    from trainer.models.weights import stored_weights

    stored_weights(backbone, weights, BACKBONES[backbone].application)


def address(backbone: str) -> str:
    """Where the file of a backbone is downloaded from."""
    file = FILES[backbone]
    return file.url or f"{_KERAS}/{_FOLDERS[backbone]}/{file.name}"


def _unreachable(url: str) -> str | None:
    """Why a file cannot be downloaded; None if it can."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_TIMEOUT_S):
            return None
    except (OSError, ValueError) as error:
        return one_line(getattr(error, "reason", None) or error)
