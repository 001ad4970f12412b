"""A dataset on disk through checks, Beam and TFX's executor: what comes out, and what a person is told if it cannot."""

import os
import shutil

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import standard_artifacts

from components.image_example_gen import voc
from components.image_example_gen import write_examples as transform
from components.image_example_gen.component import ImageExampleGen
from components.image_example_gen.dataset_config import DatasetConfig, check_dataset, fingerprint
from components.image_example_gen.tables import read_tags
from components.image_example_gen.write_examples import WriteExamples, read_rejected, read_summary
from pipeline.demo.demo_data import DEMO_STRONG, DEMO_WEAK, draw_demo_dataset
from trainer.data import features
from trainer.data.categories import VOID, from_lists, named_split
from trainer.data.preprocessing import decode_mask
from trainer.errors import UserError

CATEGORIES = from_lists(DEMO_STRONG, DEMO_WEAK)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return draw_demo_dataset(tmp_path_factory.mktemp("demo") / "set", train=24, val=6, progress=False)


@pytest.fixture
def demo(drawn, tmp_path):
    return shutil.copytree(drawn, tmp_path / "set")


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(transform, "SHARD_SIZE", 5)


def write(settings, uri, *options, categories=CATEGORIES):
    with beam.Pipeline(argv=list(options)) as pipeline:
        _ = pipeline | WriteExamples(str(uri), settings, categories)
    return uri


def examples_of(uri, split):
    files = sorted(tf.io.gfile.glob(f"{uri}/Split-{split}/data_tfrecord-*.gz"))
    records = tf.data.TFRecordDataset(files, compression_type="GZIP")
    return [tf.io.parse_single_example(record, features.PARSE_SPEC) for record in records]


def keys_of(examples):
    return [example[features.KEY].numpy().decode() for example in examples]


def true_mask(root, key):
    return np.array(Image.open(voc.mask_path(root, key)))


def contents(uri):
    return {str(path.relative_to(uri)): path.read_bytes() for path in sorted(uri.rglob("*")) if path.is_file()}


def test_every_listed_image_is_in_the_right_split_in_order(demo, tmp_path, small_shards):
    uri = write(DatasetConfig(root=str(demo)), tmp_path / "out")
    split = {name: keys_of(examples_of(uri, name)) for name in ("strong", "weak", "eval")}
    trained = voc.list_keys(demo, "train")
    weak = [key for key in trained if np.isin(true_mask(demo, key), CATEGORIES.weak_ids).any()]
    assert split == {"strong": [k for k in trained if k not in weak], "weak": weak, "eval": voc.list_keys(demo, "val")}
    summary = read_summary(str(uri))
    assert summary["splits"] == {name: len(keys) for name, keys in split.items()}
    assert summary["rejected"] == 0 and read_rejected(str(uri)) == []
    for name, examples in ((name, examples_of(uri, name)) for name in split):
        ids = np.concatenate([tf.sparse.to_dense(example[features.TAGS]).numpy() for example in examples])
        counts = {CATEGORIES.names[i]: int((ids == i).sum()) for i in range(1, 9) if (ids == i).any()}
        assert summary["images_per_category"][name] == counts


@pytest.mark.parametrize("mixed_images", ["ignore_strong_masks", "use_strong_masks"])
def test_no_weak_pixel_is_in_the_written_training_records(demo, tmp_path, mixed_images):
    uri = write(DatasetConfig(root=str(demo), mixed_images=mixed_images), tmp_path / "out")
    training = examples_of(uri, "strong") + examples_of(uri, "weak")
    assert len(training) == 24
    with_mask = 0
    for example in training:
        encoded = example[features.MASK].numpy()
        assert (encoded == b"") == (example[features.SOURCE] == b"none")
        if encoded:
            with_mask += 1
            mask, truth = decode_mask(encoded).numpy(), true_mask(demo, example[features.KEY].numpy().decode())
            assert set(np.unique(mask)) <= {0, VOID, *CATEGORIES.strong_ids}
            assert (mask[np.isin(truth, CATEGORIES.weak_ids)] == VOID).all()
    assert with_mask == (12 if mixed_images == "ignore_strong_masks" else 18)
    for name, expected in (("weak", b"none"), ("strong", b"human"), ("eval", b"human")):
        if mixed_images == "ignore_strong_masks":
            assert {example[features.SOURCE].numpy() for example in examples_of(uri, name)} == {expected}


def test_the_files_do_not_depend_on_the_workers(demo, tmp_path, small_shards):
    settings = DatasetConfig(root=str(demo))
    one = write(settings, tmp_path / "one")
    many = write(settings, tmp_path / "many", "--direct_running_mode=multi_threading", "--direct_num_workers=4")
    assert contents(one) == contents(many)
    assert "Split-strong/data_tfrecord-00004-of-00005.gz" in contents(one)


def test_a_tags_file_decides_and_weak_images_need_no_masks(demo, tmp_path):
    keys = [key for key in voc.list_keys(demo, "train") if np.isin(true_mask(demo, key), CATEGORIES.weak_ids).any()]
    (demo / "tags.csv").write_text("image,tags\n" + "".join(f"{key}.jpg,gear|ring\n" for key in keys))
    for key in keys:
        voc.mask_path(demo, key).unlink()
    uri = write(DatasetConfig(root=str(demo), tags="tags.csv"), tmp_path / "out")
    weak = examples_of(uri, "weak")
    assert keys_of(weak) == keys
    assert {tuple(tf.sparse.to_dense(example[features.TAGS]).numpy()) for example in weak} == {(1, 5)}


def test_bad_images_become_dead_letters_and_the_counts_add_up(demo, tmp_path, small_shards):
    keys = voc.list_keys(demo, "train")
    voc.image_path(demo, keys[0]).unlink()
    voc.image_path(demo, keys[1]).write_bytes(voc.image_path(demo, keys[1]).read_bytes()[:200])
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(voc.mask_path(demo, keys[2]))
    Image.fromarray(np.full(true_mask(demo, keys[4]).shape, 77, np.uint8)).save(voc.mask_path(demo, keys[4]))
    evaluated = voc.list_keys(demo, "val")[0]
    with voc.list_path(demo, "train").open("a") as file:
        file.write(f"\n{keys[5]}\n{evaluated}\n")
    settings = DatasetConfig(root=str(demo))
    uri = write(settings, tmp_path / "out")
    dead = {entry["key"]: (entry["stage"], entry["reason"]) for entry in read_rejected(str(uri))}
    assert {key: stage for key, (stage, _) in dead.items()} == {
        keys[0]: "image",
        keys[1]: "image",
        keys[2]: "mask",
        keys[4]: "mask",
        keys[5]: "list",
        evaluated: "list",
    }
    assert "listed twice" in dead[keys[5]][1] and "evaluation list" in dead[evaluated][1]
    summary = read_summary(str(uri))
    assert summary["rejected"] == 6 and sum(summary["splits"].values()) == 26 + 6 - 6
    assert keys[5] in keys_of(examples_of(uri, "strong") + examples_of(uri, "weak"))


def run_executor(settings, uri):
    artifact = standard_artifacts.Examples()
    artifact.uri = str(uri)
    properties = {
        "dataset": settings.model_dump_json(),
        "categories": CATEGORIES.to_json(),
        "fingerprint": "-",
    }
    context = base_beam_executor.BaseBeamExecutor.Context(tmp_dir=str(uri), unique_id="1")
    ImageExampleGen.EXECUTOR_SPEC.executor_class(context).Do({}, {"examples": [artifact]}, properties)
    return artifact


def test_the_artifact_is_described_as_tfx_describes_its_own(demo, tmp_path):
    artifact = run_executor(DatasetConfig(root=str(demo)), tmp_path / "out")
    assert artifact.splits == ["strong", "weak", "eval"] and (artifact.span, artifact.version) == (0, 0)
    assert examples_utils.get_file_format(artifact) == "tfrecords_gzip"
    assert examples_utils.get_payload_format(artifact) == example_gen_pb2.FORMAT_TF_EXAMPLE


def test_too_many_bad_images_stop_the_run_and_the_first_are_named(demo, tmp_path):
    keys = voc.list_keys(demo, "train")
    for key in keys[:4]:
        voc.image_path(demo, key).write_bytes(b"")
    with pytest.raises(UserError) as caught:
        run_executor(DatasetConfig(root=str(demo), max_bad_share=0.1), tmp_path / "out")
    message = str(caught.value)
    assert message.startswith("4 of 30 images are bad, more than dataset.max_bad_share 0.1 allows: ")
    assert f"{keys[0]} (image): the file is empty" in message and "rejected.jsonl" in message and "\n" not in message
    run_executor(DatasetConfig(root=str(demo), max_bad_share=4 / 30), tmp_path / "at the limit")


def test_limits_take_the_first_images(demo, tmp_path):
    uri = write(DatasetConfig(root=str(demo), train_limit=4, eval_limit=2), tmp_path / "out")
    assert read_summary(str(uri))["splits"] == {"strong": 2, "weak": 2, "eval": 2}


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        ("", "dataset.root: no folder"),
        ("JPEGImages", "JPEGImages"),
        ("SegmentationClass", "SegmentationClass"),
        ("ImageSets/Segmentation/val.txt", "val.txt"),
    ],
)
def test_a_missing_path_is_named_before_any_work(demo, missing, named):
    path = demo / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(UserError, match=named) as caught:
        check_dataset(DatasetConfig(root=str(demo)), CATEGORIES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (None, "no such file: .*tags.csv; give a CSV"),
        ("key,labels\na,gear\n", "line 1 must be the header"),
        ("image,tags\nKEY,gear\nKEY2,gear|zebra\n", "line 3: unknown category 'zebra'"),
        ("image,tags\nKEY,gear\n\nKEY.JPG,ring\n", "line 4: 'KEY.JPG' is listed twice: line 2"),
        ("image,tags\nKEY,gear,ring\n", "line 2: expected image,tags"),
        ("image,tags\nnobody,gear\n", "line 2: no picture 'nobody'"),
        ("image,tags\nKEY,Gear\n", "line 2: unknown category 'Gear'; write gear"),
        ("image,tags\nKEY,ge\0ar\n", "line 2 holds a NUL byte"),
        ("image,tags\nKEY,zebra\nnobody,gear\nKEY,ring,x\n", "line 2: .*line 3: .*line 4: "),
    ],
)
def test_a_fault_in_the_tags_file_is_named_with_its_line(demo, text, named):
    first, second = voc.list_keys(demo, "train", 2)
    if text is not None:
        (demo / "tags.csv").write_text(text.replace("KEY2", second).replace("KEY", first))
    with pytest.raises(UserError, match=named.replace("KEY", first)):
        check_dataset(DatasetConfig(root=str(demo), tags="tags.csv"), CATEGORIES)


def test_an_empty_list_and_a_binary_list_are_named(demo):
    voc.list_path(demo, "val").write_text("\n \n")
    with pytest.raises(UserError, match="lists no image"):
        check_dataset(DatasetConfig(root=str(demo)), CATEGORIES)
    voc.list_path(demo, "val").write_bytes("schön\n".encode("latin-1"))
    with pytest.raises(UserError, match="val.txt: line 1 is not a text in UTF-8"):
        check_dataset(DatasetConfig(root=str(demo)), CATEGORIES)


@pytest.mark.parametrize("name", ["city/img1", "../secret"])
def test_an_image_in_a_folder_below_is_refused(demo, name):
    with voc.list_path(demo, "train").open("a") as file:
        file.write(f"\n{name}\n")
    with pytest.raises(UserError, match=f"image name '{name}' has a /"):
        check_dataset(DatasetConfig(root=str(demo)), CATEGORIES)


def test_a_missing_list_of_corrected_images_is_named_before_any_work(demo):
    with pytest.raises(UserError, match="corrected.txt: no such list"):
        check_dataset(DatasetConfig(root=str(demo), corrected="corrected"), CATEGORIES)


def test_two_lists_of_one_span_are_refused(demo):
    for number in ("1", "01"):
        shutil.copy(voc.list_path(demo, "train"), voc.list_path(demo, f"train-{number}"))
    with pytest.raises(UserError, match=r"train-1.txt: span 1 is train-01.txt already"):
        check_dataset(DatasetConfig(root=str(demo), train="train-{SPAN}"), CATEGORIES)


def test_tags_as_spreadsheets_write_them(tmp_path):
    (tmp_path / voc.IMAGES).mkdir()
    for name in ("a.b.jpg", "c,d.PNG", "e.jpg"):
        (tmp_path / voc.IMAGES / name).write_bytes(b"")
    text = '\ufeffimage,tags\r\na.b.JPG, ring | gear \r\n"c,d",\r\nJPEGImages\\E.JPEG,star\r\n'
    (tmp_path / "tags.csv").write_bytes(text.encode())
    assert read_tags(tmp_path / "tags.csv", CATEGORIES, tmp_path) == {
        "a.b": (1, 5),
        "c,d": (),
        "e": (CATEGORIES.id_of("star"),),
    }


def test_the_fingerprint_follows_the_files_that_are_used(demo):
    settings = DatasetConfig(root=str(demo), train_limit=4)
    first = fingerprint(settings)
    keys = voc.list_keys(demo, "train")
    os.utime(voc.image_path(demo, keys[10]), (1, 1))
    assert fingerprint(settings) == first
    for path in (voc.image_path(demo, keys[3]), voc.mask_path(demo, keys[3]), voc.list_path(demo, "val")):
        before = fingerprint(settings)
        os.utime(path, (1, 1))
        assert fingerprint(settings) != before


def test_the_fingerprint_follows_every_span_of_corrected_masks(demo):
    settings = DatasetConfig(root=str(demo), corrected="corrected-{SPAN}")
    keys = voc.list_keys(demo, "train")
    before = []
    for number, key in enumerate(keys[:2], start=1):
        voc.list_path(demo, f"corrected-{number}").write_text(f"{key}\n")
        before.append(fingerprint(settings))
    assert before[0] != before[1]


def test_real_voc_images_are_split_by_the_papers_rule(tmp_path):
    data = os.environ.get("TRANSFERSEG_DATA")
    if not data:
        pytest.skip("set TRANSFERSEG_DATA to the folder that holds voc12_ps20")
    settings = DatasetConfig(root=f"{data}/voc12_ps20", train_limit=60, eval_limit=20)
    categories = named_split("voc-split-1")
    uri = str(write(settings, tmp_path / "out", categories=categories))
    summary = read_summary(uri)
    masks = [true_mask(settings.root, key) for key in voc.list_keys(settings.root, "train", 60)]
    weak = sum(np.isin(mask, categories.weak_ids).any() for mask in masks)
    assert read_rejected(uri) == [] and 0 < weak < 60
    assert summary["splits"] == {"strong": 60 - weak, "weak": weak, "eval": 20}
    assert not set(summary["images_per_category"]["strong"]) & set(categories.weak)
