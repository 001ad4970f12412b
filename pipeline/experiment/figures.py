"""The paper's Figures 3, 5 and 6 from this experiment's own networks, labels and images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from components.beam_masks.images import list_images
from pipeline.experiment import erasing, methods
from pipeline.experiment.steps import ExperimentSteps, held_back
from pipeline.report.images import evenly_spaced
from serving.model import encoded
from trainer.baselines.example_files import read_examples
from trainer.data.categories import Categories, palette
from trainer.data.features import image_of, key_of, mask_of, tags_of
from trainer.data.preprocessing import decode_image, decode_mask
from trainer.inference.one_image import predict_on_pixels
from trainer.training.stages import L_NET, SEGMENTATION

Panel = np.ndarray  # uint8 [H, W, 3]
_ROWS = 5  # our choice


def draw_label_maps(networks: ExperimentSteps, categories: Categories, path: Path) -> None:
    """Figure 3: images of weak categories, L-Net's map M, our labels L_w, adversarial erasing's, the truth."""
    examples = evenly_spaced(list(held_back(networks.config, categories, evaluation=False, weak=True)), _ROWS)
    keys = {key_of(example) for example in examples}
    ours = _masks(networks.labelled(categories), keys)
    rival = _masks(erasing.labelled(networks, categories), keys)
    look, l_net = networks.config.look("l_net").one_view, networks.load(L_NET, categories, networks.l_net(categories))
    grid = []
    for example in examples:
        image, logits = predict_on_pixels(l_net, image_of(example), look)
        heat = np.repeat((255 * tf.sigmoid(logits)).numpy().astype(np.uint8), 3, -1)
        maps = [ours.get(key_of(example)), rival.get(key_of(example)), decode_mask(mask_of(example)).numpy()]
        grid.append([image.numpy(), heat, *(_overlay(image.numpy(), ids) for ids in maps)])
    titles = ["image", "M (L-Net)", "$L_w$ (ours)", "AE", "truth"]
    _draw(grid, titles, [_names(example, categories) for example in examples], path)


def draw_unseen(networks: ExperimentSteps, categories: Categories, folder: Path, path: Path) -> None:
    """Figure 5: L-Net on images of categories that it has never seen; three pairs a row."""
    look, l_net = networks.config.look("l_net").one_view, networks.load(L_NET, categories, networks.l_net(categories))
    panels = []
    for file in evenly_spaced(list_images(folder)[0], 3 * _ROWS):
        image, logits = predict_on_pixels(l_net, encoded(file), look)
        panels += [image.numpy(), _overlay(image.numpy(), (logits.numpy()[..., 0] > 0).astype(np.uint8))]
    while len(panels) % 6:  # of the last row
        panels.append(np.full_like(panels[-1], 255))
    grid = [panels[start : start + 6] for start in range(0, len(panels), 6)]
    _draw(grid, ["image", "L-Net"] * 3, [""] * len(grid), path)


def draw_predictions(networks: ExperimentSteps, categories: Categories, path: Path) -> None:
    """Figure 6: evaluation images of weak categories by AE, L-Net, P-Net and full supervision, and the truth."""
    config = networks.config
    examples = evenly_spaced(list(held_back(config, categories, evaluation=True, weak=True)), _ROWS)
    trained = {"AE": "ae", "L-Net": "l-net", "P-Net": "p-net", "full": "full"}
    nets = {
        title: networks.load(SEGMENTATION, categories, methods.METHODS[name](networks, categories))
        for title, name in trained.items()
    }
    grid, look = [], config.look("segmentation")
    for example in examples:
        image = decode_image(image_of(example)).numpy()
        number = categories.num_classes
        seen = [predict_on_pixels(net, image_of(example), look, number)[1] for net in nets.values()]
        ids = [tf.argmax(logits, -1).numpy() for logits in seen]
        grid.append([image, *(_overlay(image, one) for one in (*ids, decode_mask(mask_of(example)).numpy()))])
    _draw(grid, ["image", *nets, "truth"], [_names(example, categories) for example in examples], path)


def draw_figures(
    networks: ExperimentSteps, splits: dict[str, Categories], folder: Path, unseen: Path | None
) -> list[Path]:
    """All of them, for every split; Figure 5 only with a folder of images. Missing networks are trained first."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for split, categories in splits.items():
        paths += [folder / f"figure3-{split}.png", folder / f"figure6-{split}.png"]
        draw_label_maps(networks, categories, paths[-2])
        draw_predictions(networks, categories, paths[-1])
    if unseen is not None:
        split, categories = next(iter(splits.items()))
        paths.append(folder / f"figure5-{split}.png")
        draw_unseen(networks, categories, unseen, paths[-1])
    return paths


def _masks(pattern: str, keys: set[str]) -> dict[str, np.ndarray]:
    return {
        key_of(example): decode_mask(mask_of(example)).numpy()
        for example in read_examples([pattern])
        if key_of(example) in keys
    }


def _names(example: tf.train.Example, categories: Categories) -> str:
    names = [categories.names[tag] for tag in tags_of(example)]
    return "\n".join(name if name in categories.strong else f"{name} (weak)" for name in names)


def _overlay(image: Panel, ids: np.ndarray | None) -> Panel:
    if ids is None:
        return np.zeros_like(image)
    mixed = (0.35 * image + 0.65 * palette()[ids]).astype(np.uint8)
    return np.where(ids[..., None] > 0, mixed, (0.6 * image).astype(np.uint8))


def _draw(grid: Sequence[Sequence[Panel]], titles: Sequence[str], labels: Sequence[str], path: Path) -> None:
    from matplotlib.figure import Figure  # slow to import

    shape = (max(len(grid), 1), len(titles))
    figure = Figure((2.4 * shape[1], 2.0 * shape[0]), layout="constrained")
    axes = figure.subplots(*shape, squeeze=False)
    for row, panels, label in zip(axes, grid, labels, strict=False):
        for axis, panel in zip(row, panels, strict=True):
            axis.imshow(panel)
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(label, fontsize=7)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=9)
    figure.savefig(path, dpi=110)
