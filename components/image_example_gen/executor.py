"""ImageExampleGen's executor: glue between TFX and the Beam transform."""

from __future__ import annotations

import json
from typing import Any

from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils

from components.image_example_gen.dataset_config import DatasetConfig, check_dataset
from components.image_example_gen.records import SPLITS
from components.image_example_gen.voc import spans
from components.image_example_gen.write_examples import (
    REJECTED,
    WriteExamples,
    read_rejected,
    read_summary,
    refuse_if_too_bad,
)
from trainer.data.categories import Categories


class Executor(base_beam_executor.BaseBeamExecutor):
    """Writes the examples and refuses a dataset with too many bad images."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Reads the dataset into TFRecords.

        Args:
          input_dict: empty.
          output_dict:
            - examples: one Examples artifact; gets Split-strong, Split-weak and Split-eval (GZIP TFRecords of
              tf.Examples, keys in trainer.data.features), summary.json and rejected.jsonl. Its span is the newest one.
          exec_properties:
            - dataset: JSON of DatasetConfig.
            - categories: JSON of Categories.to_dict().
            - fingerprint: of the files; for the cache only.

        Raises:
          UserError: the dataset cannot be read, or more than `max_bad_share` of its images are bad.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        settings = DatasetConfig.model_validate_json(exec_properties["dataset"])
        categories = Categories.from_dict(json.loads(exec_properties["categories"]))
        check_dataset(settings, categories)

        examples = artifact_utils.get_single_instance(output_dict["examples"])
        with self._make_beam_pipeline() as pipeline:
            _ = pipeline | WriteExamples(examples.uri, settings, categories)
        summary, rejected = read_summary(examples.uri), read_rejected(examples.uri)
        total = sum(summary["splits"].values()) + len(rejected)
        refuse_if_too_bad(rejected, total, settings.max_bad_share, f"{examples.uri}/{REJECTED}")

        examples.split_names = artifact_utils.encode_split_names(list(SPLITS))
        examples.span, examples.version = max(spans(settings.root, settings.train)), 0
        examples_utils.set_file_format(examples, "tfrecords_gzip")
        examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)
