"""The report's rows of pictures: how weak labels came about, and predictions beside the truth."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from PIL import Image

from components.batch.networks import BATCH_SIZE, Networks
from components.image_example_gen.records import EVAL, WEAK
from components.weak_labels.examples import key_of, read_examples, split_files, tags_of
from components.weak_labels.geometry import map_on_stored_pixels
from pipeline.report.images import Picture, heat, mask, photo
from serving.saved_model import load_saved_model
from trainer import features
from trainer.categories import VOID, Categories
from trainer.metrics import confusion_matrix, scores
from trainer.preprocessing import decode_image, decode_mask

_ROWS = 8  # open: shown of each kind
_DOUBTFUL = 3  # open: least certain predictions shown besides
_READ = 200  # open: weak images the shown ones are taken from; bounds the time on large sets


@dataclass(frozen=True)
class Row:
    """Pictures of one image, and one line about it."""

    title: str
    note: str
    pictures: list[Picture]


def weak_label_rows(
    labelled_uri: str, cam: str, l_net: str, confidences: dict[str, float], categories: Categories
) -> list[Row]:
    """image | M | activation map of each tag | weak label, for images from the least to the most certain label.

    Args:
      labelled_uri: the weak-label step's examples.
      cam, l_net: folders of the SavedModels the labels were made with.
      confidences: key -> confidence of its label, 0..1.
    """
    known = [example for example in _read(labelled_uri, WEAK, _READ) if key_of(example) in confidences]
    ordered = sorted(known, key=lambda example: (confidences[key_of(example)], key_of(example)))
    shown = [ordered[i] for i in _spread(len(ordered))]
    if not shown:
        return []
    networks = Networks([cam, l_net], BATCH_SIZE, None)
    answers = networks.run([_bytes(example, features.IMAGE) for example in shown])
    rows = []
    for example, (activation, objectness) in zip(shown, answers, strict=True):
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
        label = _truth(example)
        pictures.append(Picture(mask(label), f"Weak label of {key}: {_shown(label, categories)}", "weak label"))
        rows.append(Row(key, f"tags: {', '.join(names)} · confidence {confidences[key]:.2f}", pictures))
    return rows


def prediction_rows(examples_uri: str, model: str, limit: int, categories: Categories) -> list[Row]:
    """image | truth | prediction: the worst, middle, best and least certain of the first `limit` eval images.

    Images are ranked by mean IoU over the foreground categories in their truth or prediction, and by the mean
    probability of the winning class.
    """
    networks = Networks([model], BATCH_SIZE, None)
    ask = load_saved_model(model).signatures["scores"]
    scored = []
    examples = _read(examples_uri, EVAL, limit)
    while batch := list(itertools.islice(examples, BATCH_SIZE)):
        images = [_bytes(example, features.IMAGE) for example in batch]
        certain = ask(image_bytes=tf.constant(images))["confidence"].numpy()
        for example, [answer], confidence in zip(batch, networks.run(images), certain, strict=True):
            predicted = np.array(Image.open(io.BytesIO(answer["mask_bytes"])))
            predicted[predicted >= categories.num_classes] = VOID  # of a model refused for having other classes
            score = _foreground_iou(_truth(example), predicted, categories)
            if score is not None:
                scored.append((score, key_of(example), float(confidence), example, predicted))
    scored.sort(key=lambda item: item[:2])
    rows = []
    chosen = _worst_middle_best(len(scored))
    doubtful = sorted(range(len(scored)), key=lambda i: scored[i][2])[:_DOUBTFUL]
    chosen += [(i, "least certain") for i in doubtful if i not in dict(chosen)]
    for i, place in chosen:
        score, key, confidence, example, predicted = scored[i]
        truth = _truth(example)
        pictures = [
            Picture(photo(_image(example)), f"Image {key}", "image"),
            Picture(mask(truth), f"Truth of {key}: {_shown(truth, categories)}", "truth"),
            Picture(mask(predicted), f"Prediction for {key}: {_shown(predicted, categories)}", "prediction"),
        ]
        note = f"{place} · IoU of its objects {100 * score:.1f} · confidence {confidence:.2f}"
        rows.append(Row(key, note, pictures))
    return rows


def _read(uri: str, split: str, limit: int) -> Iterator[tf.train.Example]:
    files = split_files(f"{uri}/Split-{split}")
    return itertools.islice(itertools.chain.from_iterable(read_examples(file) for file in files), limit)


def _spread(count: int) -> list[int]:
    """At most _ROWS evenly spaced positions, the first and the last among them."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(_ROWS, count))})


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


def _foreground_iou(truth: np.ndarray, predicted: np.ndarray, categories: Categories) -> float | None:
    per_class = scores(confusion_matrix(truth, predicted, categories.num_classes), categories).per_class
    known = [value for name, value in per_class.items() if name != "background" and not np.isnan(value)]
    return float(np.mean(known)) if known else None


def _shown(ids: np.ndarray, categories: Categories) -> str:
    names = [categories.names[i] for i in np.unique(ids) if 0 < i < categories.num_classes]
    return ", ".join(names) or "background only"


def _bytes(example: tf.train.Example, feature: str) -> bytes:
    return example.features.feature[feature].bytes_list.value[0]


def _image(example: tf.train.Example) -> np.ndarray:
    return decode_image(tf.constant(_bytes(example, features.IMAGE))).numpy()


def _truth(example: tf.train.Example) -> np.ndarray:
    return decode_mask(tf.constant(_bytes(example, features.MASK))).numpy()
