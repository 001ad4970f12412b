"""New images among old ones: the label step makes masks for the new ones alone."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import tensorflow as tf
from labelling_samples import CATEGORIES, encode, scene
from tfx.components.util import examples_utils
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_artifacts

from components.weak_labels.component import WeakLabels
from components.weak_labels.core.label_config import LabelConfig
from components.weak_labels.examples import read_labels, split_files
from components.weak_labels.label_store import LabelStore, labels_in
from components.weak_labels.shards import LabelShard
from trainer.data import features
from trainer.data.features import SHARD_SIZE

pytestmark = pytest.mark.slow  # whole Beam jobs

GZIP = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=1)


def weak(i: int, tag: int = 2) -> bytes:
    image = encode(scene(tag, i, 36, 48)[0])
    example = features.make_example(f"w{i:05}", image, 36, 48, [tag], None, features.NONE)
    return example.SerializeToString(deterministic=True)


@pytest.fixture()
def label(models, tmp_path):
    """label(name, records) -> (summary.json, key -> mask bytes) of a run of the executor on those weak examples."""

    def run(name: str, records: list[bytes], store: str | None = "store", **settings) -> tuple[dict, dict[str, bytes]]:
        source, output = standard_artifacts.Examples(), standard_artifacts.Examples()
        source.uri, output.uri = str(tmp_path / name / "in"), str(tmp_path / name / "out")
        for split in ("strong", "weak"):
            (tmp_path / name / "in" / f"Split-{split}").mkdir(parents=True)
        for shard in range(0, len(records), SHARD_SIZE):
            path = tmp_path / name / "in" / "Split-weak" / f"data_tfrecord-{shard // SHARD_SIZE:05}-of-00999.gz"
            with tf.io.TFRecordWriter(str(path), GZIP) as writer:
                for record in records[shard : shard + SHARD_SIZE]:
                    writer.write(record)
        source.split_names = artifact_utils.encode_split_names(["strong", "weak"])
        source.span, source.version = 0, 0
        examples_utils.set_file_format(source, "tfrecords_gzip")
        examples_utils.set_payload_format(source, example_gen_pb2.FORMAT_TF_EXAMPLE)
        inputs = {"unlabelled_examples": [source]}
        for kind in ("cam", "l_net"):
            model = standard_artifacts.Model()
            model.uri = str(tmp_path / kind)
            if not (tmp_path / kind).exists():
                (tmp_path / kind).mkdir()
                (tmp_path / kind / "Format-Serving").symlink_to(models[kind])
            inputs[kind] = [model]
        properties = {
            "settings": LabelConfig(**settings).model_dump_json(),
            "categories": CATEGORIES.to_json(),
            "max_dead_share": 0.5,
            "store": str(tmp_path / store) if store else None,
        }
        WeakLabels.EXECUTOR_SPEC.executor_class().Do(inputs, {"examples": [output]}, properties)
        summary = json.loads((tmp_path / name / "out" / "summary.json").read_text())
        examples = features.read_examples(split_files(f"{output.uri}/Split-weak"))
        masks = {features.key_of(one): one.features.feature[features.MASK].bytes_list.value[0] for one in examples}
        assert [record["key"] for record in read_labels(output.uri)] == list(masks)
        return summary, masks

    return run


def test_what_was_labelled_the_same_way_before_is_copied(label):
    first, masks = label("first", [weak(i) for i in range(5)])
    assert first == {"labelled": 5, "kept": 0, "dead": 0}
    again, copies = label("again", [weak(i) for i in range(7)])
    assert again == {"labelled": 7, "kept": 5, "dead": 0}
    assert {key: copies[key] for key in masks} == masks
    afresh, made = label("afresh", [weak(i) for i in range(7)], store=None)
    assert afresh["kept"] == 0 and made.keys() == copies.keys()


def test_other_tags_pixels_or_settings_are_labelled_again(label):
    label("first", [weak(i) for i in range(3)])
    changed, _ = label("changed", [weak(0), weak(1, tag=3), weak(7)])
    assert changed == {"labelled": 3, "kept": 1, "dead": 0}
    other, _ = label("other", [weak(i) for i in range(3)], objectness_weight=0.4)
    assert other["kept"] == 0
    broken = features.make_example("w00000", b"broken", 36, 48, [2], None, features.NONE).SerializeToString()
    dead, masks = label("dead", [broken, weak(1)])
    assert dead == {"labelled": 1, "kept": 1, "dead": 1} and masks.keys() == {"w00001"}


def test_a_store_that_cannot_be_written_costs_no_image(label, tmp_path):
    (tmp_path / "store").write_text("a file, not a folder")
    summary, masks = label("first", [weak(i) for i in range(3)])
    assert summary == {"labelled": 3, "kept": 0, "dead": 0} and len(masks) == 3


def test_writers_of_the_same_labels_do_not_disturb_each_other(tmp_path):
    store = LabelStore(str(tmp_path), "recipe")
    labels = [[{"stamp": f"{i:032x}", "mask": 200_000 * str(i)}] for i in range(4)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            list(pool.map(store.put, 2 * labels))
    assert sorted((labels_in(path) for path in store.files()), key=str) == labels
    assert len(list((tmp_path / "recipe").iterdir())) == 4


def test_a_run_that_ended_early_goes_on_where_it_was(label, monkeypatch):
    records = [weak(i) for i in range(2 * SHARD_SIZE + 3)]
    real, written = LabelShard._write, []

    def ends_at_the_second(shard, file, labels):
        written.append(file)
        if len(written) > 1:
            raise RuntimeError("the worker is gone")
        return real(shard, file, labels)

    monkeypatch.setattr(LabelShard, "_write", ends_at_the_second)
    with pytest.raises(RuntimeError, match="the worker is gone"):
        label("ended", records)
    monkeypatch.undo()
    summary, masks = label("second", [weak(9999), *records])
    assert summary["labelled"] == len(masks) == len(records) + 1
    assert summary["kept"] >= SHARD_SIZE + 3


def test_images_that_an_insertion_shifts_are_found(label):
    records = [weak(i) for i in range(2 * SHARD_SIZE)]
    label("first", records)
    summary, _ = label("second", [weak(9999), *records[:10], weak(9998), *records[11:]])
    assert summary == {"labelled": 2 * SHARD_SIZE + 1, "kept": 2 * SHARD_SIZE - 1, "dead": 0}


@pytest.mark.parametrize(
    ("old", "new"),
    [(300, 10), pytest.param(9_900, 100, marks=pytest.mark.soak)],
)
def test_of_many_images_only_the_new_ones_are_labelled(label, old, new):
    records = [weak(i) for i in range(old + new)]
    assert label("first", records[:old])[0] == {"labelled": old, "kept": 0, "dead": 0}
    second, masks = label("second", records)
    assert second == {"labelled": old + new, "kept": old, "dead": 0} and len(masks) == old + new
