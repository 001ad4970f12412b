"""Images and two SavedModels to weak labels: the DoFn of the TFX component, the experiment and `transferseg label`.

Workers import this module, so it stays free of TFX, and of TensorFlow until the models are loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from components.beam_masks.images import Sample
from components.beam_masks.masks import Result
from components.beam_masks.networks import RunNetworks
from components.weak_labels.core.geometry import map_on_stored_pixels
from components.weak_labels.core.label_config import LabelConfig
from components.weak_labels.core.label_image import LabelResult, label_image
from trainer.data.boxes import clipped
from trainer.data.categories import BACKGROUND, VOID
from trainer.errors import ImageFault

_MAP_SIDE = 1024  # our choice: maps are resampled up to this side; the core works at its superpixels' resolution anyway
ROWS = 4  # our choice: images a network call; on a CPU as fast as 8, and a shard's last call is filled up less


@dataclass(frozen=True)
class FinishLabel:
    """Finishes a sample by the whole method: models are (CAM, L-Net); channel c - 1 of the CAM is category c.

    Without a CAM it has one tag, of any category, and L-Net alone decides (paper, Figure 5): a superpixel whose mean M
    lies above the background cut gets the tag; the core's score becomes M alone.
    """

    settings: LabelConfig

    def __call__(
        self, sample: Sample, image: np.ndarray, outputs: list[dict[str, np.ndarray]], image_sizes: list[int]
    ) -> Result:
        settings = self.settings
        if len(outputs) == 1:
            if len(sample.tags) != 1:
                raise ImageFault("tags", f"has {len(sample.tags)} tags; without a CAM an image needs exactly one")
            settings = settings.model_copy(update={"objectness_weight": 1.0})
            activations = map_on_stored_pixels(outputs[0], image_sizes[0], _map_size(image))
            objectness = activations[..., 0]
        else:
            objectness, activations = maps_of(image, sample.tags, outputs, image_sizes)
        boxes = [clipped(box, *image.shape[:2]) for box in sample.boxes]
        return _result(sample, label_image(image, objectness, activations, sample.tags, settings, boxes))


def maps_of(
    image: np.ndarray, tags: Sequence[int], outputs: list[dict[str, np.ndarray]], image_sizes: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """What CAM and L-Net say about an image, as `label_image` takes it: objectness and the activations of its tags.

    Raises:
      ImageFault: a tag the CAM does not know.
    """
    cam, l_net = outputs
    size = _map_size(image)
    if any(tag > cam["maps"].shape[-1] for tag in tags):
        raise ImageFault("tags", f"tags {list(tags)}: the CAM knows only 1..{cam['maps'].shape[-1]}")
    of_tags = {**cam, "maps": cam["maps"][..., [tag - 1 for tag in tags]]}
    activations = map_on_stored_pixels(of_tags, image_sizes[0], size)
    objectness = map_on_stored_pixels(l_net, image_sizes[1], size)[..., 0]
    return objectness, activations


def label_networks(
    cam: str | None, l_net: str, settings: LabelConfig, *, max_pixels: int, threads: int | None = None
) -> RunNetworks:
    """The DoFn that makes labels: Samples -> Results.

    Args:
      cam, l_net: SavedModel folders that every worker sees; no CAM labels single-tag images by objectness alone.
      settings: of the core.
      max_pixels: larger images are refused before they are decoded.
      threads: of each worker process; None for as many as there are cores.
    """
    directories = [cam, l_net] if cam else [l_net]
    return RunNetworks(directories, FinishLabel(settings), max_pixels=max_pixels, batch_size=ROWS, threads=threads)


def mask_shares(mask: np.ndarray) -> dict[str, float]:
    """Share of the pixels of each id in a mask, keyed by the id as JSON writes it, background and void always there."""
    counts = np.bincount(mask.ravel(), minlength=256)
    ids = sorted({BACKGROUND, VOID, *np.flatnonzero(counts).tolist()})
    return {str(i): round(float(counts[i] / mask.size), 6) for i in ids}


def _map_size(image: np.ndarray) -> tuple[int, int]:
    height, width = image.shape[:2]
    factor = min(1.0, _MAP_SIDE / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def _result(sample: Sample, label: LabelResult) -> Result:
    note = {
        "stamp": sample.stamp,
        "tags": list(sample.tags),
        "confidence": round(label.confidence, 6),
        "seed_share": {str(tag): round(share, 6) for tag, share in label.seed_share.items()},
        "shares": mask_shares(label.mask),
    }
    if sample.boxes:
        shares = zip(sample.boxes, label.box_shares, strict=True)
        note["boxes"] = [[box.tag, round(share, 6)] for box, share in shares]
    return Result(sample.key, label.mask, note)
