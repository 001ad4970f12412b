"""docs/images/label-steps.png: how a label is made, on pictures of the demo.

    python -m benchmarks.label_steps build/demo

Each row is a picture of a weak category: superpixels, activation map, M, seeds, q of the tag, the label.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from skimage.segmentation import mark_boundaries

import transferseg
from components.weak_labels.core.label_image import describe, diffuse
from components.weak_labels.core.seeds import find_seeds
from pipeline.config.run_config import load_config
from trainer.data.categories import palette
from trainer.data.masks import read_mask
from trainer.data.pictures import decode

PAGE = Path("docs/images/label-steps.png")
SHOWN = ("gear", "fish")
TITLES = ("picture", "superpixels", "activation of the tag", "M, from L-Net", "seeds", "q of the tag", "label")
_TAG, _BACKGROUND = (214, 39, 40), (31, 119, 180)


def row_of(labeller: transferseg.Labeller, path: Path, tag: str) -> list[np.ndarray]:
    """The panels, uint8 [H, W, 3], or float [H, W] in 0..1 for a heat map."""
    image, settings = decode(path.read_bytes()), labeller.settings
    ids = [labeller.categories.id_of(tag)]
    objectness, activations = labeller.maps(path, [tag])
    regions = describe(image, objectness, activations, ids, settings)
    seeds = find_seeds(regions.activations, regions.objectness, settings)
    q = diffuse(regions.edges(settings.sigma), seeds, settings)
    cells = (255 * mark_boundaries(np.zeros((*regions.labels.shape, 3)), regions.labels, (1, 1, 1))).astype(np.uint8)
    sown = np.full((*regions.labels.shape, 3), 235, np.uint8)
    sown[seeds[regions.labels, 0]], sown[seeds[regions.labels, 1]] = _TAG, _BACKGROUND
    mask = labeller(path, [tag]).mask
    return [image, cells, activations[..., 0], objectness, sown, q[regions.labels, 0], palette()[mask]]


def picture_of(root: Path, labeller: transferseg.Labeller, tag: str) -> Path:
    """The first picture that shows this category alone."""
    number, wanted = labeller.categories.num_classes, {0, labeller.categories.id_of(tag)}
    for mask in sorted((root / "SegmentationClass").glob("train*.png")):
        if set(np.unique(read_mask(mask.read_bytes(), number))) - {255} == wanted:
            return root / "JPEGImages" / f"{mask.stem}.jpg"
    raise SystemExit(f"{root}: no picture shows {tag} alone")


def main(workdir: Path) -> None:
    root = Path(load_config(workdir / "config.yaml").dataset.root)
    l_net, cam = (workdir / f"artifacts/{name}/model" for name in ("l_net", "cam"))
    labeller = transferseg.load_labeller(l_net, cam)
    figure, axes = plt.subplots(len(SHOWN), len(TITLES), figsize=(2 * len(TITLES), 2.1 * len(SHOWN)), squeeze=False)
    for panels, tag in zip(axes, SHOWN, strict=True):
        for axis, panel in zip(panels, row_of(labeller, picture_of(root, labeller, tag), tag), strict=True):
            axis.imshow(panel, vmin=0, vmax=1, cmap="inferno")
            axis.set(xticks=[], yticks=[])
        panels[0].set_ylabel(tag)
    for axis, title in zip(axes[0], TITLES, strict=True):
        axis.set_title(title, fontsize=9)
    figure.tight_layout()
    figure.savefig(PAGE, dpi=80)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
