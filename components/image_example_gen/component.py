"""ImageExampleGen: glue between TFX and the Beam transform."""

import apache_beam as beam
from tfx.components.util import examples_utils
from tfx.dsl.component.experimental.annotations import BeamComponentParameter, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils
from tfx.types.standard_artifacts import Examples

from components.image_example_gen import write_examples
from components.image_example_gen.dataset_config import DatasetConfig, check_dataset
from components.image_example_gen.records import splits_of
from components.image_example_gen.voc import spans
from trainer.data.categories import Categories


@component(use_beam=True)
def ImageExampleGen(
    examples: OutputArtifact[Examples],
    dataset: Parameter[str],
    categories: Parameter[str],
    fingerprint: Parameter[str],
    pipeline: BeamComponentParameter[beam.Pipeline] = None,
) -> None:
    """Reads a VOC-layout folder into examples with the splits `strong`, `weak` (if any category is) and `eval`.

    Args:
      examples: gets Split-strong, Split-weak and Split-eval (GZIP TFRecords of tf.Examples, keys in
        trainer.data.features), summary.json and rejected.jsonl. Its span is the newest one.
      dataset: JSON of DatasetConfig.
      categories: Categories.to_json().
      fingerprint: changes when the files do (dataset_config.fingerprint), so that the cache is right.

    Raises:
      UserError: the dataset cannot be read, or more than `max_bad_share` of its images are bad.
    """
    settings, known = DatasetConfig.model_validate_json(dataset), Categories.from_json(categories)
    check_dataset(settings, known)
    with pipeline:
        _ = pipeline | write_examples.WriteExamples(examples.uri, settings, known)
    summary, rejected = write_examples.read_summary(examples.uri), write_examples.read_rejected(examples.uri)
    total = sum(summary["splits"].values()) + len(rejected)
    where = f"{examples.uri}/{write_examples.REJECTED}"
    write_examples.refuse_if_too_bad(rejected, total, settings.max_bad_share, where)

    examples.split_names = artifact_utils.encode_split_names(list(splits_of(known)))
    examples.span, examples.version = max(spans(settings.root, settings.train)), 0
    examples_utils.set_file_format(examples, "tfrecords_gzip")
    examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)
