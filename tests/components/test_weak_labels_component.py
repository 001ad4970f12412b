"""The TFX faces: WeakLabels' and WeakLabelGate's executors on real artifacts."""

import json

import numpy as np
import pytest
import tensorflow as tf
from labelling_samples import CATEGORIES, encode, export_l_net, scene
from tfx.components.util import examples_utils
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_artifacts

from components.beam_masks.faults import TooManyFaults
from components.weak_label_gate.component import LabelBlessing, WeakLabelGate
from components.weak_label_gate.label_statistics import LabelGateConfig
from components.weak_labels.component import WeakLabels
from components.weak_labels.core.label_config import LabelConfig
from components.weak_labels.examples import read_labels
from trainer.data import features
from trainer.data.boxes import TagBox
from trainer.data.categories import VOID, Categories
from trainer.errors import UserError

pytestmark = pytest.mark.slow  # whole Beam jobs

PROPERTIES = {
    "settings": LabelConfig().model_dump_json(),
    "categories": CATEGORIES.to_json(),
    "max_dead_share": 0.2,
}


def artifact(kind, uri):
    uri.mkdir(parents=True, exist_ok=True)
    made = kind()
    made.uri = str(uri)
    return made


def write_split(uri, split, examples):
    folder = uri / f"Split-{split}"
    folder.mkdir(parents=True)
    path = str(folder / "data_tfrecord-00000-of-00001.gz")
    with tf.io.TFRecordWriter(path, tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
        for example in examples:
            writer.write(example.SerializeToString(deterministic=True))


def weak_example(i, tag, mask=None, image=None):
    image = encode(scene(tag, i)[0]) if image is None else image
    mask = None if mask is None else encode(mask)
    return features.make_example(f"w{i}", image, 72, 96, [tag], mask, features.HUMAN if mask else features.NONE)


@pytest.fixture()
def run(models, tmp_path):
    """Runs the executor on the given weak examples; returns (input artifact, output artifact)."""

    def execute(weak, l_net=None):
        image, mask = scene(1)
        source = artifact(standard_artifacts.Examples, tmp_path / "in")
        write_split(tmp_path / "in", "strong", [features.make_example("s", encode(image), 72, 96, [1], encode(mask))])
        write_split(tmp_path / "in", "weak", weak)
        source.split_names = artifact_utils.encode_split_names(["strong", "weak", "eval"])
        source.span, source.version = 0, 0
        examples_utils.set_file_format(source, "tfrecords_gzip")
        examples_utils.set_payload_format(source, example_gen_pb2.FORMAT_TF_EXAMPLE)
        inputs = {"unlabelled_examples": [source]}
        for name, path in (("cam", models["cam"]), ("l_net", l_net or models["l_net"])):
            inputs[name] = [artifact(standard_artifacts.Model, tmp_path / name)]
            (tmp_path / name / "Format-Serving").symlink_to(path)
        output = artifact(standard_artifacts.Examples, tmp_path / "out")
        WeakLabels.EXECUTOR_SPEC.executor_class().Do(inputs, {"examples": [output]}, PROPERTIES)
        return source, output

    return execute


def read_split(uri, split):
    files = tf.io.gfile.glob(f"{uri}/Split-{split}/*.gz")
    dataset = tf.data.TFRecordDataset(files, compression_type="GZIP")
    return [tf.io.parse_single_example(record, features.PARSE_SPEC) for record in dataset]


def test_weak_examples_get_masks_and_strong_ones_pass(run, tmp_path):
    source, output = run([weak_example(i, i % 2 + 2) for i in range(9)])
    assert artifact_utils.decode_split_names(output.split_names) == ["strong", "weak"]
    assert examples_utils.get_file_format(output) == examples_utils.get_file_format(source)
    assert examples_utils.get_payload_format(output) == example_gen_pb2.FORMAT_TF_EXAMPLE
    name = "Split-strong/data_tfrecord-00000-of-00001.gz"
    assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "in" / name).read_bytes()

    before, after = read_split(source.uri, "weak"), read_split(output.uri, "weak")
    assert [example[features.KEY] for example in before] == [example[features.KEY] for example in after]
    records = list(read_labels(output.uri))
    for i, (old, new, record) in enumerate(zip(before, after, records, strict=True)):
        tag, truth = i % 2 + 2, scene(i % 2 + 2, i)[1]
        assert new[features.IMAGE] == old[features.IMAGE] and new[features.SOURCE] == features.GENERATED
        mask = tf.io.decode_png(new[features.MASK]).numpy()[..., 0]
        assert mask.shape == truth.shape and set(np.unique(mask)) <= {0, tag, VOID}
        assert ((mask == tag) & (truth == tag)).sum() > 0.6 * (truth == tag).sum()
        assert (record["key"], record["tags"]) == (f"w{i}", [tag])
        assert record["shares"][str(tag)] == pytest.approx((mask == tag).mean(), abs=1e-5)


def test_boxes_of_examples_bound_their_labels_and_are_counted(run, tmp_path):
    rows, columns = np.nonzero(scene(2, 1)[1])
    box = TagBox(2, *map(float, (columns.min(), rows.min(), columns.max() + 1, (rows.min() + rows.max()) // 2)))
    boxed = features.make_example("boxed", encode(scene(2, 1)[0]), 72, 96, [2], boxes=[box])
    _, output = run([boxed, weak_example(1, 2)])
    with_box, without = (
        tf.io.decode_png(example[features.MASK]).numpy()[..., 0] for example in read_split(output.uri, "weak")
    )
    below = np.s_[int(box.y2) :]
    assert not with_box[below].any() and (with_box == 2).any() and (without[below] == 2).any()
    records = list(read_labels(output.uri))
    [[tag, share]] = records[0]["boxes"]
    assert tag == 2 and 0.5 < share <= 1 and "boxes" not in records[1]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["boxes"], summary["empty_boxes"]) == (1, 0)


def test_generated_ids_fill_the_void_of_human_masks_only(run):
    human = np.full((72, 96), VOID, np.uint8)
    human[:30, :30] = 1
    _, output = run([weak_example(0, 2, mask=human)])
    (example,) = read_split(output.uri, "weak")
    mask = tf.io.decode_png(example[features.MASK]).numpy()[..., 0]
    assert (mask[:30, :30] == 1).all()
    assert set(np.unique(mask[30:])) >= {0, 2}


def test_failed_examples_are_left_out_and_named(run, tmp_path):
    _, output = run([weak_example(i, 2, image=b"broken" if i == 4 else None) for i in range(6)])
    assert [example[features.KEY].numpy().decode() for example in read_split(output.uri, "weak")] == [
        "w0",
        "w1",
        "w2",
        "w3",
        "w5",
    ]
    (letter,) = (json.loads(line) for line in (tmp_path / "out" / "dead_letters.jsonl").read_text().splitlines())
    assert (letter["key"], letter["stage"]) == ("w4", "decode")


def test_too_many_failures_stop_the_run(run):
    with pytest.raises(TooManyFaults, match="2 of 3 images failed"):
        run([weak_example(0, 2, image=b"broken"), weak_example(1, 2), weak_example(2, 9, image=encode(scene(1)[0]))])


def test_a_cam_of_other_categories_is_refused(run, monkeypatch):
    other = Categories(("ant", "bee", "wasp"), ("ant",))
    monkeypatch.setitem(PROPERTIES, "categories", other.to_json())
    with pytest.raises(UserError, match="trained on other categories"):
        run([weak_example(0, 2)])


def gate(source, output, folder, **settings):
    inputs = {"examples": [output], "unlabelled_examples": [source]}
    properties = {
        "settings": LabelGateConfig(**settings).model_dump_json(),
        "categories": CATEGORIES.to_json(),
    }
    blessing = artifact(LabelBlessing, folder / "blessing")
    WeakLabelGate.EXECUTOR_SPEC.executor_class().Do(inputs, {"blessing": [blessing]}, properties)
    return json.loads((folder / "blessing" / "statistics.json").read_text())


def test_the_gate_passes_sound_labels_and_refuses_a_stale_set(run, tmp_path):
    source, output = run([weak_example(i, i % 2 + 2) for i in range(4)])
    statistics = gate(source, output, tmp_path)
    assert statistics["labelled"] == statistics["images"] == 4 and set(statistics["tags"]) == {"bee", "cow"}
    other = artifact(standard_artifacts.Examples, tmp_path / "other")
    write_split(tmp_path / "other", "weak", [weak_example(0, 3), weak_example(7, 2)])
    other.split_names = artifact_utils.encode_split_names(["weak"])
    with pytest.raises(UserError, match="stale: 4 labels"):
        gate(other, output, tmp_path)


def test_the_gate_refuses_labels_of_an_l_net_that_sees_nothing(run, tmp_path):
    blind = export_l_net(tmp_path / "blind", bias=-60.0)
    source, output = run(
        [weak_example(i, 2, image=encode(np.full((72, 96, 3), 90, np.uint8))) for i in range(3)], blind
    )
    with pytest.raises(UserError, match="the weak labels are refused.*\nall background") as refusal:
        gate(source, output, tmp_path)
    assert "'bee' is tagged in 3 labelled images and has not one pixel" in str(refusal.value)


def test_components_declare_what_they_use(tmp_path):
    from tfx.types import channel_utils

    examples = channel_utils.as_channel([artifact(standard_artifacts.Examples, tmp_path)])
    model = channel_utils.as_channel([artifact(standard_artifacts.Model, tmp_path)])
    labels = WeakLabels(unlabelled_examples=examples, cam=model, l_net=model, **PROPERTIES)
    settings, known = LabelGateConfig().model_dump_json(), CATEGORIES.to_json()
    labelled = labels.outputs["examples"]
    checked = WeakLabelGate(examples=labelled, unlabelled_examples=examples, settings=settings, categories=known)
    assert labelled.type is standard_artifacts.Examples
    assert checked.outputs["blessing"].type is LabelBlessing
    assert labels.exec_properties["settings"] == PROPERTIES["settings"]
