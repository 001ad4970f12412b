"""How each picture of the evaluation list came out; kept in the work folder for report, advice and people."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import tensorflow as tf
from PIL import Image

from components.beam_masks.job import model_digest
from components.beam_masks.masks import write_atomic
from components.beam_masks.networks import BATCH_SIZE, Networks
from components.image_example_gen.records import EVAL
from components.weak_labels.examples import split_files
from pipeline.report.facts import Facts
from trainer.data.categories import VOID, Categories
from trainer.data.features import image_of, key_of, mask_of, read_examples
from trainer.data.pictures import holds_more
from trainer.data.preprocessing import decode_mask
from trainer.metrics import confusion_matrix, scores

PICTURES = "pictures.json"
_SCORED, _SCORED_SLOW = 60, 16  # our choice: pictures that are scored one by one; VGG-16 takes .3 s each


@dataclass(frozen=True)
class Scored:
    """A picture's result.

    Attributes:
      key: its name.
      confidence: mean probability of the winning class, 0..1.
      iou: 0..1 of each category in its truth or its prediction, background left out; not empty.
      truth, prediction: categories that each shows.
    """

    key: str
    confidence: float
    iou: dict[str, float]
    truth: list[str]
    prediction: list[str]

    @property
    def mean(self) -> float:
        """IoU of its objects, 0..1."""
        return float(np.mean(list(self.iou.values())))


def scored_pictures(facts: Facts) -> list[Scored]:
    """The first pictures of the evaluation list under the last model, worst first; [] without a model.

    They are kept in the work folder's pictures.json until there is another model or other pictures.
    """
    model, examples = facts.model, facts.output("examples")
    if model is None or examples is None:
        return []
    path, source = facts.workdir / PICTURES, {"model": model, "content": model_digest(model), "examples": examples}
    if path.exists():
        known = json.loads(path.read_text())
        if {name: known.get(name) for name in source} == source:
            return [Scored(**entry) for entry in known["pictures"]]
    limit = _SCORED_SLOW if facts.config.network.backbone == "vgg16" else _SCORED
    found = _score(examples, model, limit, facts.categories)
    kept = source | {"pictures": [asdict(scored) for scored in found]}
    write_atomic(str(path), f"{json.dumps(kept)}\n".encode())
    return found


def predict(model: str, examples: Iterator[tf.train.Example], categories: Categories):
    """(example, predicted ids uint8 [H, W] with void for unknown classes, confidence 0..1) of each the model takes."""
    networks = Networks([model], BATCH_SIZE, None)
    examples = (example for example in examples if not holds_more(image_of(example), networks.limit))
    while batch := list(itertools.islice(examples, BATCH_SIZE)):
        answers = networks.run([image_of(example) for example in batch])
        for example, [prediction] in zip(batch, answers, strict=True):
            predicted = np.array(Image.open(io.BytesIO(prediction["mask_bytes"])))
            predicted[predicted >= categories.num_classes] = VOID  # of a model refused for having other classes
            yield example, predicted, float(prediction["confidence"])


def examples_of(uri: str, split: str, limit: int | None = None) -> Iterator[tf.train.Example]:
    files = split_files(f"{uri}/Split-{split}")
    return itertools.islice(itertools.chain.from_iterable(read_examples(file) for file in files), limit)


def truth_of(example: tf.train.Example) -> np.ndarray:
    """uint8 [H, W] of ids and 255."""
    return decode_mask(tf.constant(mask_of(example))).numpy()


def names_in(ids: np.ndarray, categories: Categories) -> list[str]:
    return [categories.names[i] for i in np.unique(ids) if 0 < i < categories.num_classes]


def _score(examples: str, model: str, limit: int, categories: Categories) -> list[Scored]:
    found = []
    for example, predicted, confidence in predict(model, examples_of(examples, EVAL, limit), categories):
        truth = truth_of(example)
        per_class = scores(confusion_matrix(truth, predicted, categories.num_classes), categories).per_class
        known = {n: float(v) for n, v in per_class.items() if n != "background" and not np.isnan(v)}
        if known:
            shown = names_in(truth, categories), names_in(predicted, categories)
            found.append(Scored(key_of(example), confidence, known, *shown))
    return sorted(found, key=lambda scored: (scored.mean, scored.key))
