"""One shard of weak examples to one labelled shard: the same bytes, however often, by whomever, and after what."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from commands import ROOT
from labelling_samples import encode, scene

from components.beam_masks.images import DEAD
from components.beam_masks.masks import Result
from components.beam_masks.networks import Networks
from components.weak_labels.core.label_config import LabelConfig
from components.weak_labels.core.label_image import label_image
from components.weak_labels.label_store import LabelStore, labels_in
from components.weak_labels.shards import LabelShard
from components.weak_labels.transform import ROWS, label_networks, maps_of
from trainer.data import features
from trainer.data.boxes import TagBox
from trainer.data.categories import VOID
from trainer.data.features import GZIP, boxes_of, image_of, read_examples, tags_of, with_human_mask
from trainer.data.files import read_lines
from trainer.data.masks import encode_grey
from trainer.data.pictures import decode

pytestmark = pytest.mark.slow  # whole Beam jobs

PROGRAM = Path(__file__).parent / "programs" / "label_shard.py"


def weak(i: int, tag: int = 2, **options) -> tf.train.Example:
    image = encode(scene(tag, i, 48 + i % 3, 64)[0])
    return features.make_example(f"w{i:03}", image, 48 + i % 3, 64, [tag], **options)


def write(path: Path, examples: list[tf.train.Example]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path), GZIP) as writer:
        for example in examples:
            writer.write(example.SerializeToString(deterministic=True))
    return str(path)


@pytest.fixture
def shard(tmp_path):
    """A shard of everything that is labelled: plain images, one with a box, one that a person drew in."""
    human = np.full((48, 64), VOID, np.uint8)
    human[:20, :20] = 1
    drawn = weak(3, mask=encode_grey(human), source=features.HUMAN)
    boxed = weak(4, boxes=[TagBox(2, 5.0, 5.0, 50.0, 30.0)])
    return write(tmp_path / "in" / "shard.gz", [weak(0), weak(1), weak(2, 3), drawn, boxed, *map(weak, range(5, 20))])


def place(folder: Path) -> Path:
    for name in ("Split-weak", "labels"):
        (folder / name).mkdir(parents=True)
    return folder


def written(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def networks(models):
    networks = label_networks(str(models["cam"]), str(models["l_net"]), LabelConfig(), max_pixels=10**6)
    networks.setup()
    return networks


@pytest.fixture
def label(networks, tmp_path):
    """label(file, name, store) -> (counts, dead letters, what was written)."""

    def run(file: str, name: str, store: LabelStore | None = None):
        folder = place(tmp_path / name)
        work = LabelShard(networks, str(folder), store)
        *dead, counts = work.process((file, store.files() if store else []))
        assert all(letter.tag == DEAD for letter in dead)
        return counts, [letter.value for letter in dead], written(folder)

    return run


def sequentially(models, file: str, output: Path) -> bytes:
    """The labelled shard as a plain loop over single images makes it."""
    networks = Networks([str(models["cam"]), str(models["l_net"])], ROWS, None)
    with tf.io.TFRecordWriter(str(output), GZIP) as writer:
        for example in read_examples(file):
            [outputs] = networks.run([image_of(example)])
            image, tags = decode(image_of(example)), tags_of(example)
            maps = maps_of(image, tags, outputs, networks.image_sizes)
            mask = label_image(image, *maps, tags, LabelConfig(), boxes_of(example)).mask
            mask = encode_grey(with_human_mask(mask, example))
            example.features.feature[features.MASK].bytes_list.value[:] = [mask]
            example.features.feature[features.SOURCE].bytes_list.value[:] = [features.GENERATED]
            writer.write(example.SerializeToString(deterministic=True))
    return output.read_bytes()


def test_a_shard_has_the_bytes_of_a_plain_loop(label, models, shard, tmp_path):
    counts, dead, files = label(shard, "once")
    assert counts == {"labelled": 20, "kept": 0, "dead": 0, "boxes": 1, "empty_boxes": 0} and not dead
    assert set(files) == {"shard.gz", "shard.gz.jsonl"}
    assert files["shard.gz"] == sequentially(models, shard, tmp_path / "plain.gz")
    assert label(shard, "again")[2] == files


def test_kept_labels_give_the_same_bytes_as_made_ones(label, shard, tmp_path):
    store = LabelStore(str(tmp_path / "store"), "recipe")
    first, _, made = label(shard, "first", store)
    second, _, kept = label(shard, "second", store)
    assert (first["kept"], second["kept"]) == (0, 20) and made == kept
    assert len(store.files()) == 1


def test_an_insertion_shifts_images_and_costs_its_own_label_alone(label, tmp_path):
    store = LabelStore(str(tmp_path / "store"), "recipe")
    images = [weak(i) for i in range(12)]
    for name, part in (("a", images[:6]), ("b", images[6:])):
        assert label(write(tmp_path / f"in/{name}.gz", part), name, store)[0]["kept"] == 0
    images[2:2] = [weak(20), weak(21)]
    kept = [label(write(tmp_path / f"in/{n}.gz", images[n : n + 5]), str(n), store)[0]["kept"] for n in (0, 5, 10)]
    assert kept == [3, 5, 4]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "gone"])
def test_damaged_labels_are_made_anew_once(label, shard, tmp_path, damage):
    store = LabelStore(str(tmp_path / "store"), "recipe")
    made = label(shard, "first", store)[2]
    path = Path(store.files()[0])
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"cut": data[:-300], "flipped": bytes(data), "empty": b""}[damage])
    assert labels_in(str(path)) == []
    counts, _, files = label(shard, "second", store)
    assert files == made and counts["kept"] == 0
    counts, _, files = label(shard, "third", store)
    assert files == made and counts["kept"] == 20


def test_bad_images_cost_themselves(label, tmp_path):
    bad = features.make_example("bad", b"broken", 48, 64, [2])
    good = [weak(i) for i in range(10)]
    counts, dead, files = label(write(tmp_path / "in/shard.gz", [*good[:4], bad, *good[4:]]), "with")
    assert (counts["labelled"], counts["dead"]) == (10, 1)
    assert [(letter["key"], letter["stage"]) for letter in dead] == [("bad", "decode")]
    assert files == label(write(tmp_path / "in/shard.gz", good), "without")[2]


@pytest.mark.parametrize("images", [[], [b"broken", b""]], ids=["empty", "dead"])
def test_a_shard_without_a_label_is_written_all_the_same(label, tmp_path, images):
    store = LabelStore(str(tmp_path / "store"), "recipe")
    examples = [features.make_example(f"d{i}", image, 9, 9, [2]) for i, image in enumerate(images)]
    counts, dead, files = label(write(tmp_path / "in/shard.gz", examples), "out", store)
    assert counts == {"labelled": 0, "kept": 0, "dead": len(images)} and len(dead) == len(images)
    assert list(read_examples(str(tmp_path / "out/Split-weak/shard.gz"))) == [] and files["shard.gz.jsonl"] == b""
    assert store.files() == []


def test_results_keep_their_order_while_pictures_are_finished_at_once(label, networks, shard, tmp_path, monkeypatch):
    def slowly(sample, image, *_):
        time.sleep(0.05 * (int(sample.key[1:]) % 3))
        return Result(sample.key, np.full(image.shape[:2], 2, np.uint8), {"stamp": sample.stamp, "shares": {}})

    monkeypatch.setattr(networks, "_finish", slowly)
    label(shard, "slow")
    keys = [record["key"] for record in read_lines(str(tmp_path / "slow/labels/shard.gz.jsonl"))]
    assert keys == [f"w{i:03}" for i in range(20)]


def test_a_kill_in_the_middle_and_two_workers_at_once(label, models, shard, tmp_path):
    wanted = label(shard, "wanted")[2]
    folder, store = place(tmp_path / "killed"), tmp_path / "store"
    folders = [str(path) for path in (models["cam"], models["l_net"], shard, folder, store)]

    def start(*more: str) -> subprocess.Popen:
        command = [sys.executable, str(PROGRAM), *folders, *more]
        return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    killed, *both = [start("w013"), start(), start()]
    for process in (killed, *both):
        assert process.stdout.readline() == "ready\n"
    killed.stdin.write("\n")
    killed.stdin.flush()
    assert killed.stdout.readline() == "hanging\n"
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL and written(folder) == {}
    for process in both:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in both:
        process.communicate()
        assert process.returncode == 0
    assert written(folder).keys() == wanted.keys() and written(folder)["shard.gz"] == wanted["shard.gz"]
    counts, _, files = label(shard, "after", LabelStore(str(store), "recipe"))
    assert counts["kept"] == 20 and files == written(folder)
