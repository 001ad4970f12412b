import io

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from trainer.data import features, record_order
from trainer.data.input_pipeline import PrepareExample, count_examples, record_files, training_batches
from trainer.errors import UserError


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Nine images, 40 x 60: colour = 10 * index, mask = id 1 on the left half; the last has no mask."""
    path = str(tmp_path_factory.mktemp("records") / "data-0.gz")
    with tf.io.TFRecordWriter(path, "GZIP") as writer:
        for index in range(9):
            image = np.full((40, 60, 3), 10 * index, np.uint8)
            mask = np.zeros((40, 60), np.uint8)
            mask[:, :30] = 1
            png = cv2.imencode(".png", mask)[1].tobytes() if index < 8 else None
            example = features.make_example(
                f"k{index}", cv2.imencode(".png", image)[1].tobytes(), 40, 60, [1] if index % 2 else [], png
            )
            writer.write(example.SerializeToString())
    return [path]


def take(records, count, **options):
    defaults = {"num_categories": 3, "image_size": 33, "batch_size": 2, "seed": 5, "scale": (0.8, 1.5)}
    return list(training_batches(records, **(defaults | options)).take(count).as_numpy_iterator())


def test_shapes_types_and_ranges(records):
    [batch] = take(records, 1, colour_jitter=0.4)
    assert batch["image"].shape == (2, 33, 33, 3) and batch["image"].dtype == np.float32
    assert batch["labels"].shape == (2, 33, 33) and batch["labels"].dtype == np.uint8
    assert batch["tags"].shape == (2, 3) and set(np.unique(batch["tags"])) <= {0.0, 1.0}
    assert batch["image"].min() >= 0 and batch["image"].max() <= 255
    assert set(np.unique(batch["labels"])) <= {0, 1, 255}


@pytest.mark.slow
def test_same_seed_same_batches_other_seed_others(records):
    first, second, other = take(records, 12), take(records, 12), take(records, 12, seed=6)
    for a, b in zip(first, second, strict=True):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])
    assert any((a["key"] != b["key"]).any() for a, b in zip(first, other, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("start", [1, 4, 7])
def test_a_later_start_continues_the_same_sequence_over_epochs(records, start):
    whole, rest = take(records, 12), take(records, 12 - start, start_step=start)
    for a, b in zip(whole[start:], rest, strict=True):
        np.testing.assert_array_equal(a["key"], b["key"])
        np.testing.assert_array_equal(a["image"], b["image"])


def test_every_image_comes_once_an_epoch(records):
    keys = [key for batch in take(records, 9) for key in batch["key"]]
    assert sorted(keys[:9]) == sorted(keys[9:18]) == sorted(f"k{i}".encode() for i in range(9))
    assert keys[:9] != keys[9:18]


def test_an_image_without_mask_is_all_void(records):
    for batch in take(records, 9):
        for key, labels in zip(batch["key"], batch["labels"], strict=True):
            assert (labels == 255).all() == (key == b"k8")


def test_labels_follow_the_image_through_every_augmentation(records, tmp_path):
    path = str(tmp_path / "one.gz")
    mask = np.zeros((50, 70), np.uint8)
    mask[10:40, 20:50] = 2
    image = np.where(mask[..., None] == 2, 255, 0).astype(np.uint8).repeat(3, 2)
    example = features.make_example(
        "one", cv2.imencode(".png", image)[1].tobytes(), 50, 70, [2], cv2.imencode(".png", mask)[1].tobytes()
    )
    with tf.io.TFRecordWriter(path, "GZIP") as writer:
        writer.write(example.SerializeToString())
    for batch in take([path], 20, image_size=65, batch_size=1, scale=(0.5, 2.0)):
        bright, labels = batch["image"][0, ..., 0] > 128, batch["labels"][0]
        inside = labels != 255
        assert (bright == (labels == 2))[inside].mean() > 0.97  # edges of the resized square differ by a pixel


def test_turned_pictures_are_learned_upright_with_their_masks(tmp_path):
    """Stored sideways (EXIF 6): the left half of the stored pixels is the upper half of the picture."""
    stored = np.zeros((50, 70, 3), np.uint8)
    stored[:, :35] = 255
    mask = (stored[..., 0] > 0).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.fromarray(stored).save(buffer, "JPEG", exif=exif)
    example = features.make_example("t", buffer.getvalue(), 50, 70, [1], cv2.imencode(".png", mask)[1].tobytes())
    with tf.io.TFRecordWriter(str(tmp_path / "t.gz"), "GZIP") as writer:
        writer.write(example.SerializeToString())
    [batch] = take([str(tmp_path / "t.gz")], 1, batch_size=1, image_size=65, scale=(1.0, 1.0))
    labels = batch["labels"][0]
    assert (labels[:30, :44] == 1).all() and (labels[34:, :44] == 0).all() and (labels[:, 48:] == 255).all()
    assert batch["image"][0, :30, :44].min() > 240 and batch["image"][0, 36:, :44].max() < 15


@pytest.mark.parametrize(("height", "width"), [(40, 60), (20, 90), (25, 30)])
def test_native_crops_show_the_image_pixel_by_pixel(tmp_path, height, width):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    mask = rng.integers(0, 3, (height, width)).astype(np.uint8)
    png, grey = (cv2.imencode(".png", pixels)[1].tobytes() for pixels in (image[..., ::-1], mask))
    with tf.io.TFRecordWriter(str(tmp_path / "t.gz"), "GZIP") as writer:
        writer.write(features.make_example("t", png, height, width, [1], grey).SerializeToString())
    batches = take([str(tmp_path / "t.gz")], 8, batch_size=1, scale="native", mirror=False)
    places = set()
    for batch in batches:
        seen, labels = batch["image"][0], batch["labels"][0]
        rows, columns = min(height, 33), min(width, 33)
        inside = seen[:rows, :columns].astype(np.uint8)
        [place] = [
            (top, left)
            for top in range(height - rows + 1)
            for left in range(width - columns + 1)
            if (image[top : top + rows, left : left + columns] == inside).all()
        ]
        places.add(place)
        crop = np.s_[place[0] : place[0] + rows, place[1] : place[1] + columns]
        np.testing.assert_array_equal(labels[:rows, :columns], mask[crop])
        assert (labels[rows:] == 255).all() and (labels[:, columns:] == 255).all()
        np.testing.assert_allclose(seen[rows:, :, 0], 123.68, rtol=1e-5)
    assert len(places) > 2 or (height <= 33 and width <= 33)


def test_reading_and_counting(records):
    assert count_examples(record_files([records[0].replace("data-0", "data-*")])) == 9
    with pytest.raises(UserError, match="no training records"):
        record_files(["/nowhere/*.gz"])


def test_images_with_an_unwanted_tag_are_left_out(records):
    keys = {key for batch in take(records, 8, without=[1]) for key in batch["key"]}
    assert keys == {b"k0", b"k2", b"k4", b"k6", b"k8"}  # odd ones are tagged 1
    assert count_examples(record_files(records), without=[1]) == 5
    assert count_examples(record_files(records), without=[2]) == 9


@pytest.fixture(scope="module")
def many_files(tmp_path_factory):
    """Five files of 1 to 5 small pictures."""
    folder = tmp_path_factory.mktemp("many")
    rng = np.random.default_rng(3)
    for number in range(5):
        with tf.io.TFRecordWriter(str(folder / f"data-{number}.gz"), "GZIP") as writer:
            for index in range(number + 1):
                picture = cv2.imencode(".jpg", rng.integers(0, 255, (20, 30, 3), np.uint8))[1].tobytes()
                mask = cv2.imencode(".png", rng.integers(0, 4, (20, 30), np.uint8))[1].tobytes()
                example = features.make_example(f"k{number}{index}", picture, 20, 30, [index % 3 + 1], mask)
                writer.write(example.SerializeToString())
    return sorted(map(str, folder.iterdir()))


def plainly(files, count, seed, without=(), group=record_order.GROUP):
    """(number, record) as `record_order` documents it, from a plain reading of all files, with no dataset of it."""
    records = {file: list(tf.data.TFRecordDataset(file, "GZIP").as_numpy_iterator()) for file in files}
    for file in files:
        tags = lambda record: tf.train.Example.FromString(record).features.feature[features.TAGS].int64_list.value  # noqa: E731
        records[file] = [record for record in records[file] if set(tags(record)).isdisjoint(without)]
    kept = [file for file in files if records[file]]
    a_group = min(len(kept), max(1, group // max(len(records[file]) for file in kept)))
    number, group_number, epoch = 0, 0, 0
    shuffle = tf.random.experimental.stateless_shuffle
    while number < count:
        order = shuffle(tf.range(len(kept)), tf.constant([seed, epoch], tf.int64)).numpy()
        for begin in range(0, len(kept), a_group):
            some = [record for i in order[begin : begin + a_group] for record in records[kept[i]]]
            for record in shuffle(tf.constant(some), tf.constant([seed, -1 - group_number], tf.int64)).numpy():
                yield number, record
                number += 1
            group_number += 1
        epoch += 1


@pytest.mark.parametrize("group", [1, 7, 1024])
@pytest.mark.parametrize("without", [(), (2,)])
def test_the_order_is_that_of_a_plain_reading_from_any_start(many_files, monkeypatch, group, without):
    monkeypatch.setattr(record_order, "GROUP", group)
    expected = [record for _, record in zip(range(50), (r for _, r in plainly(many_files, 60, 5, without, group)))]  # noqa: B905
    index = record_order.index_records(many_files, without)
    for start in (0, 1, 9, index.count, 31):
        found = record_order.in_random_order(index, 5, start).take(50 - start)
        numbers, records = zip(*found.as_numpy_iterator(), strict=True)
        assert numbers == tuple(range(start, 50)) and list(records) == expected[start:]


def test_parallel_batches_equal_examples_prepared_one_by_one(many_files):
    """Bit for bit, whatever ran at once."""
    options = {"image_size": 33, "seed": 5, "scale": (0.8, 1.5), "colour_jitter": 0.3, "num_categories": 3}
    prepare = PrepareExample(mirror=True, **options)
    one_by_one = [
        prepare(tf.constant(number, tf.int64), tf.constant(record)) for number, record in plainly(many_files, 40, 5)
    ]
    for step, batch in enumerate(take(many_files, 6, batch_size=4, start_step=3, **options), start=3):
        for row in range(4):
            for name, value in one_by_one[4 * step + row].items():
                np.testing.assert_array_equal(batch[name][row], value.numpy())


def test_no_record_left_is_an_error_a_person_understands(many_files):
    with pytest.raises(UserError, match="no training image is left"):
        take(many_files, 1, without=[1, 2, 3])


def test_the_end_of_a_training_waits_for_no_thread(records):
    """tf.data's autotuning sleeps for as long as the training has taken, up to a minute, and is waited for."""
    batches = training_batches(records, num_categories=3, image_size=33, batch_size=2, seed=0)
    assert batches.options().autotune.enabled is False
