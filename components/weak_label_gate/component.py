"""WeakLabelGate: joins the label records and the examples in Beam, lets the run go on or stops it."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from tfx import types
from tfx.dsl.component.experimental.annotations import BeamComponentParameter, InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import artifact_utils
from tfx.types.standard_artifacts import Examples

from components.beam_masks.masks import write_atomic
from components.image_example_gen.records import WEAK
from components.weak_label_gate.label_statistics import LabelGateConfig, LabelSums, failures, label_statistics
from components.weak_labels.examples import label_files, split_files
from trainer.data.categories import Categories
from trainer.data.features import key_of, read_examples, tags_of
from trainer.data.files import read_json, read_lines
from trainer.errors import UserError

STATISTICS = "statistics.json"


class LabelBlessing(types.Artifact):
    """Says that the labels may be trained on; its folder holds statistics.json, see label_statistics."""

    TYPE_NAME = "transferseg.LabelBlessing"  # Kubeflow wants a name in two parts


@component(use_beam=True)
def WeakLabelGate(
    examples: InputArtifact[Examples],
    unlabelled_examples: InputArtifact[Examples],
    blessing: OutputArtifact[LabelBlessing],
    categories: Parameter[str],
    settings: Parameter[str],
    pipeline: BeamComponentParameter[beam.Pipeline] = None,
) -> None:
    """Fails on a collapsed or stale label set.

    Components that must not train on bad labels are put behind the gate by `component.add_upstream_node(gate)`.

    Args:
      examples: WeakLabels', whose label records are read.
      unlabelled_examples: ImageExampleGen's; labels of other images or tags are refused as stale.
      blessing: gets statistics.json (see label_statistics).
      categories: Categories.to_json().
      settings: JSON of LabelGateConfig.

    Raises:
      UserError: the labels are refused; one line for each reason.
    """
    weak, statistics = artifact_utils.get_split_uri([unlabelled_examples], WEAK), f"{blessing.uri}/{STATISTICS}"
    known = Categories.from_json(categories)
    with pipeline:
        records = pipeline | "Labels" >> beam.Create(label_files(examples.uri)) | "SpreadLabels" >> beam.Reshuffle()
        tagged = pipeline | "Examples" >> beam.Create(split_files(weak)) | "SpreadExamples" >> beam.Reshuffle()
        _ = (
            (records | beam.FlatMap(_records), tagged | beam.FlatMap(_tags))
            | beam.CoGroupByKey()
            | beam.MapTuple(_sums)
            | beam.CombineGlobally(LabelSums.merged)
            | beam.Map(_write_statistics, known, statistics)
        )
    found = read_json(statistics, "the labels' statistics")
    if lines := failures(found, LabelGateConfig.model_validate_json(settings)):
        raise UserError("\n".join([f"the weak labels are refused ({examples.uri}):", *lines]))


def _records(file: str) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((record["key"], record) for record in read_lines(file))


def _tags(file: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    return ((key_of(example), tags_of(example)) for example in read_examples(file))


def _sums(key: str, joined: tuple[Iterable[dict[str, Any]], Iterable[tuple[int, ...]]]) -> LabelSums:
    records, tags = joined
    return LabelSums.of_image(key, next(iter(records), None), next(iter(tags), None))


def _write_statistics(sums: LabelSums, categories: Categories, path: str) -> None:
    write_atomic(path, json.dumps(label_statistics(sums, categories), indent=2).encode())
