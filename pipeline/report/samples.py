"""The report's rows of pictures: how weak labels came about, and predictions beside the truth."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from components.beam_masks.networks import BATCH_SIZE, Networks
from components.image_example_gen.records import EVAL, WEAK
from components.weak_labels.core.geometry import map_on_stored_pixels
from pipeline.report.evidence import cause_of
from pipeline.report.images import Picture, evenly_spaced, heat, mask, photo
from pipeline.report.scoring import Scored, examples_of, names_in, predict, truth_of
from pipeline.report.templates import percent
from trainer.data.categories import Categories
from trainer.data.features import image_of, key_of, tags_of
from trainer.data.preprocessing import decode_image

_ROWS = 8  # our choice: shown of each kind
_DOUBTFUL = 3  # our choice: least certain predictions shown besides
_READ = 200  # our choice: weak images the shown ones are taken from; bounds the time on large sets


@dataclass(frozen=True)
class Row:
    """Pictures of one image, and one line about it."""

    title: str
    note: str
    pictures: list[Picture]
    cause: str | None = None  # why it came out as badly as can be


def weak_label_rows(
    labelled_uri: str, cam: str, l_net: str, confidences: dict[str, float], categories: Categories
) -> list[Row]:
    """image | M | activation map of each tag | weak label, for images from the least to the most certain label.

    Args:
      labelled_uri: the weak-label step's examples.
      cam, l_net: folders of the SavedModels the labels were made with.
      confidences: key -> confidence of its label, 0..1.
    """
    known = [example for example in examples_of(labelled_uri, WEAK, _READ) if key_of(example) in confidences]
    ordered = sorted(known, key=lambda example: (confidences[key_of(example)], key_of(example)))
    shown = evenly_spaced(ordered, _ROWS)
    if not shown:
        return []
    networks = Networks([cam, l_net], BATCH_SIZE, None)
    outputs = networks.run([image_of(example) for example in shown])
    rows = []
    for example, (activation, objectness) in zip(shown, outputs, strict=True):
        key, tags = key_of(example), tags_of(example)
        names = [categories.names[tag] for tag in tags]
        image = _image(example)
        size = image.shape[:2]
        m = map_on_stored_pixels(objectness, networks.image_sizes[1], size)[..., 0]
        maps = map_on_stored_pixels(activation, networks.image_sizes[0], size)
        pictures = [
            Picture(photo(image), f"Image {key}, tagged {', '.join(names)}", "image"),
            Picture(heat(image, m), f"L-Net's map M of {key}", "M (L-Net)"),
        ]
        for tag, name in zip(tags, names, strict=True):
            uri = heat(image, maps[..., tag - 1])
            pictures.append(Picture(uri, f"Activation map of {name} in {key}", f"CAM: {name}"))
        label = truth_of(example)
        pictures.append(Picture(mask(label), f"Weak label of {key}: {_shown(label, categories)}", "weak label"))
        rows.append(Row(key, f"tags: {', '.join(names)} · confidence {percent(confidences[key])} %", pictures))
    return rows


def prediction_rows(examples_uri: str, model: str, scored: list[Scored], categories: Categories) -> list[Row]:
    """image | truth | prediction: the worst, middle, best and least certain of the scored pictures.

    Args:
      scored: from `scored_pictures`, worst first.
    """
    chosen = dict(_worst_middle_best(len(scored)))
    doubtful = sorted(range(len(scored)), key=lambda i: scored[i].confidence)[:_DOUBTFUL]
    chosen |= {i: "least certain" for i in doubtful if i not in chosen}
    wanted = {scored[i].key: (scored[i], place) for i, place in chosen.items()}
    examples = (example for example in examples_of(examples_uri, EVAL) if key_of(example) in wanted)
    rows = {}
    for example, predicted, _ in predict(model, itertools.islice(examples, len(wanted)), categories):
        truth = truth_of(example)
        result, place = wanted[key_of(example)]
        pictures = [
            Picture(photo(_image(example)), f"Image {result.key}", "image"),
            Picture(mask(truth), f"Truth of {result.key}: {_shown(truth, categories)}", "truth"),
            Picture(mask(predicted), f"Prediction for {result.key}: {_shown(predicted, categories)}", "prediction"),
        ]
        note = f"{place} · IoU of its objects {percent(result.mean)} % · confidence {percent(result.confidence)} %"
        cause = cause_of(result) if result.mean == 0 else None
        rows[result.key] = Row(result.key, note, pictures, cause)
    return [rows[key] for key in wanted if key in rows]


def _worst_middle_best(count: int) -> list[tuple[int, str]]:
    if count <= _ROWS:
        return [(i, f"{i + 1} of {count}, worst first") for i in range(count)]
    ends, middle = 3, _ROWS - 6
    start = (count - middle) // 2
    return (
        [(i, "worst") for i in range(ends)]
        + [(i, "middle") for i in range(start, start + middle)]
        + [(i, "best") for i in range(count - ends, count)]
    )


def _shown(ids: np.ndarray, categories: Categories) -> str:
    return ", ".join(names_in(ids, categories)) or "background only"


def _image(example: tf.train.Example) -> np.ndarray:
    return decode_image(tf.constant(image_of(example))).numpy()
