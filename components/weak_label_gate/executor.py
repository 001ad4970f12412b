"""WeakLabelGate's executor: joins the label records and the examples in Beam, lets the run go on or stops it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from tfx import types
from tfx.dsl.components.base import base_beam_executor
from tfx.types import artifact_utils

from components.beam_masks.masks import write_atomic
from components.image_example_gen.records import WEAK
from components.weak_label_gate.label_statistics import LabelGateConfig, LabelSums, failures, label_statistics
from components.weak_labels.examples import label_files, split_files
from trainer.data.categories import Categories
from trainer.data.features import key_of, read_examples, tags_of
from trainer.data.files import read_json, read_lines
from trainer.errors import UserError

STATISTICS = "statistics.json"


class Executor(base_beam_executor.BaseBeamExecutor):
    """Stops the run on bad labels."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Checks the labels.

        Args:
          input_dict:
            - examples: WeakLabels' artifact, whose label records are read.
            - unlabelled_examples: ImageExampleGen's artifact, whose keys and tags the labels must fit.
          output_dict:
            - blessing: gets statistics.json (see label_statistics).
          exec_properties:
            - settings: JSON of LabelGateConfig.
            - categories: JSON of Categories.to_dict().

        Raises:
          UserError: the labels are refused; one line for each reason.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        labelled = artifact_utils.get_single_instance(input_dict["examples"])
        weak = artifact_utils.get_split_uri(input_dict["unlabelled_examples"], WEAK)
        statistics = f"{artifact_utils.get_single_instance(output_dict['blessing']).uri}/{STATISTICS}"
        categories = Categories.from_dict(json.loads(exec_properties["categories"]))
        with self._make_beam_pipeline() as pipeline:
            records = pipeline | "Labels" >> beam.Create(label_files(labelled.uri)) | "SpreadLabels" >> beam.Reshuffle()
            examples = pipeline | "Examples" >> beam.Create(split_files(weak)) | "SpreadExamples" >> beam.Reshuffle()
            _ = (
                (records | beam.FlatMap(_records), examples | beam.FlatMap(_tags))
                | beam.CoGroupByKey()
                | beam.MapTuple(_sums)
                | beam.CombineGlobally(LabelSums.merged)
                | beam.Map(_write_statistics, categories, statistics)
            )
        settings = LabelGateConfig.model_validate_json(exec_properties["settings"])
        lines = failures(read_json(statistics, "the labels' statistics"), settings)
        if lines:
            raise UserError("\n".join([f"the weak labels are refused ({labelled.uri}):", *lines]))


def _records(file: str) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((record["key"], record) for record in read_lines(file))


def _tags(file: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    return ((key_of(example), tags_of(example)) for example in read_examples(file))


def _sums(key: str, joined: tuple[Iterable[dict[str, Any]], Iterable[tuple[int, ...]]]) -> LabelSums:
    records, tags = joined
    return LabelSums.of_image(key, next(iter(records), None), next(iter(tags), None))


def _write_statistics(sums: LabelSums, categories: Categories, path: str) -> None:
    write_atomic(path, json.dumps(label_statistics(sums, categories), indent=2).encode())
