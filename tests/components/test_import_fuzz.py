"""Mutated files of every format, masks and pictures: refused in words of ours, never a crash, and in bounds."""

import json
import random
import shutil

import apache_beam as beam
import mutations
import numpy as np
import pytest
from apache_beam.coders import FastPrimitivesCoder
from fuzzing import check_each, check_words
from random_datasets import NAMES, Picture, Thing
from random_formats import KINDS

from components.beam_masks.faults import dead_letter
from components.dataset_import.items import ImportedPicture
from components.dataset_import.tfrecords import _ReadFile
from components.dataset_import.writer import _WriteSample, import_dataset
from trainer.data.categories import VOC
from trainer.errors import ImageFault, UserError, shown

pytestmark = pytest.mark.slow  # hundreds of mutated datasets

WHOLE = 20  # every so many cases are a whole import
SEED = [
    Picture(
        "a.jpg",
        "JPEG",
        6,
        (24, 16),
        1,
        (Thing(0, ((2, 2), (12, 2), (12, 9), (2, 9))), Thing(1, ((9, 5), (20, 5), (20, 15)), "runs")),
    ),
    Picture("sub/b c.png", "PNG", 1, (20, 20), 2, (Thing(2, ((0, 0), (9, 0), (9, 20), (0, 20)), "box"),)),
    Picture(
        "d.tif",
        "TIFF",
        8,
        (15, 11),
        3,
        (Thing(3, ((1, 1), (14, 1), (14, 9)), "tag"), Thing(0, ((3, 3), (9, 3), (9, 9), (3, 9)), "runs")),
    ),
]


def letters_of(contents, folder):
    """Dead letters of an import without Beam. Anything but an ImageFault ends the test with its traceback."""
    letters, samples = list(contents.faults), contents.samples
    if isinstance(samples, beam.PTransform):
        found = [one for path in samples._paths for one in _ReadFile(contents.names).process(path)]
        letters += [one.value for one in found if not isinstance(one, ImportedPicture)]
        samples = [one for one in found if isinstance(one, ImportedPicture)]
    ids = np.array([0, *range(1, len(contents.names) + 1), *[255] * (255 - len(contents.names))], np.uint8)
    write = _WriteSample(str(folder), contents.names, ids, {name: name for name in contents.names})
    for sample in samples:
        try:
            note = write._write(sample)
            FastPrimitivesCoder().encode(note)  # as Beam does
            dropped = (ImageFault("object", f"{label}: {reason}") for label, reason in note.get("dropped", ()))
            letters += [dead_letter(sample.name, fault) for fault in dropped]
        except ImageFault as fault:
            letters.append(dead_letter(sample.name, fault))
    return letters


def check_case(name, seed, original, read, place, whole):
    """One mutation of one file of a dataset -> what was refused, and its import."""
    rng = random.Random(f"{name} {seed}")
    kind = KINDS[name]
    folder = place / "case"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(original, folder)
    paths = sorted(path for pattern in kind.files for path in folder.rglob(pattern) if path.is_file())
    path = rng.choice(paths)
    data = path.read_bytes()
    if path.suffix == ".json" and rng.random() < 0.75:
        path.write_bytes(mutations.of_json(json.loads(data), rng))
    elif path.suffix in (".json", ".txt", ".xml", ".csv", ".yaml") and rng.random() < 0.7:
        path.write_bytes(mutations.of_text(data, rng))
    elif ".tfrecord" in path.name and rng.random() < 0.7:
        mutate_records(path, rng)
    else:
        path.write_bytes(mutations.of_bytes(data, rng))
    (place / "written").mkdir()
    try:
        contents = read(folder)
        if whole:
            import_dataset(contents, place / "out", "train")
            text = (place / "out" / "import_faults.jsonl").read_text()
            letters = [json.loads(line) for line in text.splitlines()]
        else:
            letters = letters_of(contents, place / "written")
    except UserError as error:
        check_words(shown(str(error)))
        return
    for letter in letters:
        assert letter["stage"] != "write", letter
        check_words(letter["reason"])
        check_words(letter["key"][:1000])


def mutate_records(path, rng):
    """Records that are framed as they should, of mutated Examples."""
    import tensorflow as tf

    kind = "GZIP" if path.suffix == ".gz" else ""
    records = list(tf.data.TFRecordDataset(str(path), kind).as_numpy_iterator())
    with tf.io.TFRecordWriter(str(path), kind) as writer:
        for record in records:
            example = tf.train.Example.FromString(record)
            feature = example.features.feature
            key = rng.choice(sorted(feature))
            how = rng.randrange(5)
            if how == 0:
                del feature[key]
            elif how == 1:
                feature[key].int64_list.value[:] = [rng.choice([0, -1, 3, 2**62])] * rng.randrange(3)
            elif how == 2:
                feature[key].float_list.value[:] = [float("nan")]
            elif how == 3:
                values = [mutations.of_bytes(value, rng) for value in feature[key].bytes_list.value]
                feature[key].bytes_list.value[:] = values * rng.choice([0, 1, 2])
            record = example.SerializeToString()
            writer.write(record if how < 4 else mutations.of_bytes(record, rng))


def check_format(name, cases, tmp_path, start=0):
    original = tmp_path / "original"
    original.mkdir()
    kind = KINDS[name]
    read = kind.write(kind.takes(SEED), VOC if name == "sbd" else NAMES, original)

    def check(seed):
        check_case(name, seed, original, read, tmp_path / "place", whole=seed % WHOLE == 0)

    check_each(range(start, start + cases), check)


@pytest.mark.parametrize("name", KINDS)
def test_a_mutated_dataset_is_refused_in_words(name, tmp_path):
    check_format(name, 60, tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("name", KINDS)
def test_many_mutated_datasets_are_refused_in_words(name, tmp_path):
    check_format(name, 2000, tmp_path, start=60)
