"""Statistics, schema, validation and the gate in a real TFX pipeline: good data pass, planted faults stop the run."""

import json

import apache_beam as beam
import pytest
import tensorflow as tf
import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.components import ExampleValidator, SchemaGen, StatisticsGen
from tfx.dsl.components.common.importer import Importer
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.metadata import sqlite_metadata_connection_config
from tfx.orchestration.pipeline import Pipeline
from tfx.types import standard_artifacts

from components.data_gate.component import DataBlessing, DataGate
from components.data_gate.findings import anomaly_lines, empty_split_lines
from components.image_example_gen.component import ImageExampleGen
from components.image_example_gen.dataset_config import DatasetConfig, fingerprint
from components.image_example_gen.write_examples import WriteExamples
from pipeline.demo.demo_data import DEMO_STRONG, DEMO_WEAK, draw_demo_dataset
from trainer.data import features
from trainer.data.categories import from_lists
from trainer.errors import UserError

CATEGORIES = from_lists(DEMO_STRONG, DEMO_WEAK)
ANOMALY = """
  anomaly_info { key: "image/tags" value { description: "The feature was present in fewer examples than expected." } }
  anomaly_info { key: "image/height" value { short_description: "Expected INT" } }
"""


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return draw_demo_dataset(tmp_path_factory.mktemp("demo") / "set", train=24, val=6, progress=False)


def test_every_anomaly_and_every_empty_split_has_its_line():
    anomalies = text_format.Parse(ANOMALY, anomalies_pb2.Anomalies())
    assert anomaly_lines("weak", anomalies) == [
        "split weak, feature image/height: Expected INT",
        "split weak, feature image/tags: The feature was present in fewer examples than expected.",
    ]
    assert anomaly_lines("weak", anomalies_pb2.Anomalies()) == []
    (line,) = empty_split_lines({"strong": 3, "weak": 0}, ["strong", "weak"])
    assert line.startswith("split weak is empty: ") and "tags" in line


def gate(tmp_path, counts, anomalies=""):
    """Runs the gate's executor on an artifact with these counts; returns the blessing's folder."""
    uris = {name: tmp_path / name for name in ("examples", "anomalies", "blessing")}
    for folder in (*uris.values(), uris["anomalies"] / "Split-strong", uris["anomalies"] / "Split-weak"):
        folder.mkdir(exist_ok=True)
    (uris["examples"] / "summary.json").write_text(json.dumps({"splits": counts}))
    for split, text in (("strong", ""), ("weak", anomalies)):
        message = text_format.Parse(text, anomalies_pb2.Anomalies())
        (uris["anomalies"] / f"Split-{split}" / "SchemaDiff.pb").write_bytes(message.SerializeToString())
    artifacts = {
        "examples": standard_artifacts.Examples(),
        "anomalies": standard_artifacts.ExampleAnomalies(),
        "blessing": DataBlessing(),
    }
    for name, artifact in artifacts.items():
        artifact.uri = str(uris[name])
    artifacts["examples"].split_names = '["strong", "weak", "eval"]'
    artifacts["anomalies"].split_names = '["strong", "weak"]'
    inputs = {name: [artifacts[name]] for name in ("examples", "anomalies")}
    DataGate.EXECUTOR_SPEC.executor_class().Do(inputs, {"blessing": [artifacts["blessing"]]}, {})
    return uris["blessing"]


def test_the_gate_blesses_clean_examples(tmp_path):
    counts = {"strong": 2, "weak": 3, "eval": 1}
    assert json.loads((gate(tmp_path, counts) / "blessed.json").read_text()) == counts


def test_the_gate_tells_everything_at_once(tmp_path):
    with pytest.raises(UserError) as caught:
        gate(tmp_path, {"strong": 2, "weak": 3, "eval": 0}, ANOMALY)
    lines = str(caught.value).splitlines()
    assert len(lines) == 4 and lines[1].startswith("split eval is empty") and "image/tags" in lines[3]
    assert not (tmp_path / "blessing" / "blessed.json").exists()


def run_pipeline(tmp_path, source):
    """source -> StatisticsGen -> SchemaGen -> ExampleValidator -> DataGate, as the real pipeline has them."""
    examples = source.outputs["examples" if "examples" in source.outputs else "result"]
    options = tfdv.StatsOptions(feature_allowlist=[features.HEIGHT, features.WIDTH, features.TAGS])
    statistics = StatisticsGen(examples=examples, stats_options=options)
    schema = SchemaGen(statistics=statistics.outputs["statistics"], infer_feature_shape=False, exclude_splits=["weak"])
    validator = ExampleValidator(statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"])
    data_gate = DataGate(examples=examples, anomalies=validator.outputs["anomalies"])
    LocalDagRunner().run(
        Pipeline(
            pipeline_name="gate",
            pipeline_root=str(tmp_path / "root"),
            components=[source, statistics, schema, validator, data_gate],
            enable_cache=True,
            metadata_connection_config=sqlite_metadata_connection_config(str(tmp_path / "metadata.db")),
        )
    )
    return list((tmp_path / "root" / "DataGate" / "blessing").glob("*/blessed.json"))


def run_on(tmp_path, settings):
    known, dataset = CATEGORIES.to_json(), settings.model_dump_json()
    examples = ImageExampleGen(dataset=dataset, categories=known, fingerprint=fingerprint(settings))
    return run_pipeline(tmp_path, examples)


@pytest.mark.e2e
def test_demo_data_pass_and_a_second_run_is_cached(demo, tmp_path):
    settings = DatasetConfig(root=str(demo))
    assert len(run_on(tmp_path, settings)) == 1
    assert len(run_on(tmp_path, settings)) == 1
    assert len(list((tmp_path / "root" / "ImageExampleGen" / "examples").iterdir())) == 1


@pytest.mark.e2e
def test_an_empty_split_reaches_the_gate_and_stops_there(demo, tmp_path):
    settings = DatasetConfig(root=str(demo), train_limit=1)  # the first demo image is strong
    with pytest.raises(UserError, match="split weak is empty"):
        run_on(tmp_path, settings)


def without_tags(example):
    del example.features.feature[features.TAGS]


def with_text_tags(example):
    example.features.feature[features.TAGS].bytes_list.value[:] = [b"gear"]


@pytest.mark.e2e
@pytest.mark.parametrize("plant", [without_tags, with_text_tags])
def test_a_planted_anomaly_stops_the_run(demo, tmp_path, plant):
    uri = tmp_path / "examples"
    with beam.Pipeline() as pipeline:
        _ = pipeline | WriteExamples(str(uri), DatasetConfig(root=str(demo)), CATEGORIES)
    (path,) = uri.glob("Split-weak/*.gz")
    records = list(tf.data.TFRecordDataset(str(path), compression_type="GZIP").as_numpy_iterator())
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for record in records:
            example = tf.train.Example.FromString(record)
            plant(example)
            writer.write(example.SerializeToString())
    importer = Importer(
        source_uri=str(uri),
        artifact_type=standard_artifacts.Examples,
        properties={"split_names": '["strong", "weak", "eval"]'},
    )
    with pytest.raises(UserError, match="split weak, feature image/tags: "):
        run_pipeline(tmp_path, importer)
