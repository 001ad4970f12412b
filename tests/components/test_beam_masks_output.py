"""Batch jobs beside other people's files, other jobs, odd names, full disks and large pictures."""

import errno
import json
import os
import shutil
import time

import numpy as np
import pytest
import tensorflow as tf
from labelling_samples import encode, scene, write_scenes
from PIL import Image

from components.beam_masks import images, masks, networks
from components.beam_masks.coco_export import write_coco
from components.beam_masks.faults import TooManyFaults
from components.beam_masks.images import Sample, Source, unpack
from components.beam_masks.lock import locked
from components.beam_masks.masks import Result, write_atomic
from components.beam_masks.output import claimed
from components.beam_masks.predict_folder import predict_folder
from components.weak_labels.folder_outputs import write_examples
from components.weak_labels.label_folder import label_folder
from trainer.data.categories import from_lists
from trainer.data.pictures import read_header
from trainer.errors import UserError

pytestmark = pytest.mark.slow  # whole Beam jobs


def predict(models, folder, output="out", **options):
    return predict_folder(models["segmentation"], folder / "images", folder / output, **options)


def label(models, folder, **options):
    arguments = (models["l_net"], models["cam"], folder / "images", folder / "tags.csv", folder / "out")
    return label_folder(*arguments, **options)


def letters_of(output):
    return [json.loads(line) for line in (output / "dead_letters.jsonl").read_text().splitlines()]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == ".png"}


def test_masks_of_others_are_not_touched(models, tmp_path):
    write_scenes(tmp_path, 2)
    (tmp_path / "images" / "broken.jpg").write_bytes(b"broken")
    (tmp_path / "out").mkdir()
    drawn = Image.fromarray(scene(1)[1])
    drawn.save(tmp_path / "out" / "broken.png")
    drawn.save(tmp_path / "out" / "unrelated.png")
    (tmp_path / "out" / "s001.png").write_bytes(masks.encode(scene(1)[1], {}))  # as an import writes it
    before = contents(tmp_path / "out")
    with pytest.raises(UserError, match=r"out: holds files .* did not make: broken\.png, s001\.png; give another"):
        predict(models, tmp_path)
    assert contents(tmp_path / "out") == before
    assert {path.name for path in (tmp_path / "out").iterdir()} - set(before) == {".transferseg.lock"}


def test_a_job_leaves_the_masks_of_the_other_kind_alone(models, tmp_path):
    write_scenes(tmp_path, 2)
    label(models, tmp_path)
    before = contents(tmp_path / "out")
    with pytest.raises(UserError, match=r"did not make: s000\.png, s001\.png; give another"):
        predict(models, tmp_path)
    assert contents(tmp_path / "out") == before and (tmp_path / "out/confidence.csv").exists()
    predict(models, tmp_path, "masks")
    before = contents(tmp_path / "masks")
    (tmp_path / "tags.csv").write_text("image,tags\nnowhere.png,unknown\n")  # no picture has a line
    arguments = (models["l_net"], models["cam"], tmp_path / "images", tmp_path / "tags.csv", tmp_path / "masks")
    label_folder(*arguments, max_dead_share=1)
    assert contents(tmp_path / "masks") == before


def test_labels_of_pictures_that_fail_now_go_and_those_of_pictures_that_are_gone_are_told_of(models, tmp_path):
    write_scenes(tmp_path, 4)
    tags = tmp_path / "tags.csv"
    assert label(models, tmp_path)["others"] == 0
    lines = tags.read_text().splitlines()
    tags.write_text("\n".join([lines[0], lines[1].rpartition(",")[0] + ",unicorn", *lines[2:4]]) + "\n")
    summary = label(models, tmp_path, max_dead_share=1)
    assert {letter["key"] for letter in letters_of(tmp_path / "out")} == {"s000", "s003"}  # a wrong tag, and none
    assert sorted(contents(tmp_path / "out")) == ["s001.png", "s002.png"] and summary["others"] == 0
    (tmp_path / "images/s001.png").unlink()
    tags.write_text("\n".join([lines[0], lines[3]]) + "\n")
    assert label(models, tmp_path, max_dead_share=1)["others"] == 1
    assert sorted(contents(tmp_path / "out")) == ["s001.png", "s002.png"]


def test_too_many_faults_carry_what_was_done(models, tmp_path):
    write_scenes(tmp_path, 2)
    (tmp_path / "images/broken.jpg").write_bytes(b"broken")
    with pytest.raises(TooManyFaults) as refused:
        predict(models, tmp_path, max_dead_share=0)
    assert refused.value.summary["labelled"] == 2 and refused.value.summary["dead"] == 1


def test_reports_of_others_are_not_touched(models, tmp_path):
    write_scenes(tmp_path, 1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "annotations.json").write_text('{"images": []}')
    arguments = (models["l_net"], models["cam"], tmp_path / "images", tmp_path / "tags.csv", tmp_path / "out")
    with pytest.raises(UserError, match=r"did not make: annotations\.json"):
        label_folder(*arguments, format="coco")
    assert label_folder(*arguments)["labelled"] == 1  # other formats leave it alone
    assert (tmp_path / "out" / "annotations.json").read_text() == '{"images": []}'


def test_a_second_job_is_told_before_it_works(models, tmp_path):
    write_scenes(tmp_path, 1)
    with claimed(tmp_path / "out", tmp_path / "images", "predict") as output:
        (output / ".unfinished").mkdir()
        with pytest.raises(UserError, match="out: another predict is going on in this folder.*give another --output"):
            predict(models, tmp_path)
        assert (output / ".unfinished").is_dir()  # the first one's
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".transferseg.lock"]
    with locked(tmp_path / "out", "anything else"):  # a work folder's lock is another
        pass


def test_any_path_is_a_plain_path(models, tmp_path):
    root = tmp_path / "photos [1] a*b? {x} 100 %41 \udcff"  # the last a byte that is no UTF-8
    write_scenes(root, 2)
    model = shutil.copytree(models["segmentation"], root / "model" / "7")
    summary = predict_folder(model.parent, root / "images", root / "masks")
    assert (summary["labelled"], summary["dead"]) == (2, 0)
    left = {path.name for path in (root / "masks").iterdir()}
    assert left == {
        "s000.png",
        "s001.png",
        "predictions.prom",
        "dead_letters.jsonl",
        "summary.json",
        ".transferseg.lock",
    }
    sources = [Source(key, str(root / "images" / f"{key}.png"), (1,)) for key in ("s000", "s001")]
    write_coco(root / "masks", sources, from_lists([], ["ant", "bee", "cow"]))
    write_examples(root / "masks", sources, 10**6)
    assert json.loads((root / "masks" / "annotations.json").read_text())["images"][1]["file_name"] == "s001.png"
    assert (root / "masks" / "examples.tfrecord.gz").stat().st_size > 100


def test_whatever_lies_in_a_folder_is_done_or_named(models, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    data = encode(scene(1)[0], "JPEG")
    names = [b"good.JPG", b"bad\xff\xfe.jpg", b"two\nlines.jpeg", "\u5199\u771f".encode() * 41 + b".jpg", b"[red].jpg"]
    for name in names:
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write(data)
    os.mkfifo(folder / "pipe.jpg")
    (folder / "device.png").symlink_to("/dev/zero")
    (folder / "gone.png").symlink_to("nowhere")
    (folder / "circle.png").symlink_to("circle.png")
    (folder / "notes.txt").write_text("no picture")
    (folder / "IMG_1").write_bytes(data)
    (folder / "more").mkdir()
    (folder / ".hidden").write_bytes(data)
    summary = predict_folder(models["segmentation"], folder, folder / "masks", max_dead_share=1)
    reasons = {letter["key"]: letter["reason"] for letter in letters_of(folder / "masks")}
    assert (summary["labelled"], set(reasons)) == (5, {"pipe", "device", "gone", "circle"})
    assert "not a regular file" in reasons["pipe"] and "not a regular file" in reasons["device"]
    assert summary["passed_over"] == ["IMG_1", "more/", "notes.txt"]
    made = {path.name for path in (folder / "masks").glob("*.png")}
    assert made == {"good.png", "bad_xff_xfe.png", "two_nlines.png", "\u5199\u771f" * 41 + ".png", "[red].png"}


def test_a_full_disk_ends_the_job_and_the_same_call_finishes_it(models, tmp_path, monkeypatch):
    write_scenes(tmp_path, 3)
    real, calls = os.replace, []

    def full_after_the_first(source, target):
        calls.append(target)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, target)

    monkeypatch.setattr(masks.os, "replace", full_after_the_first)
    with pytest.raises(UserError, match="out: No space left on device; .* run the same command again"):
        predict(models, tmp_path, max_dead_share=1)
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "out").iterdir() if "unfinished" in path.name] == []
    assert len(contents(tmp_path / "out")) == 1
    summary = predict(models, tmp_path)
    assert (summary["labelled"], summary["kept"], summary["dead"]) == (3, 1, 0)


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "mask.png"
    write_atomic(str(path), b"old")

    def fails(*_):
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(masks.os, "replace", fails)
    with pytest.raises(OSError, match="input/output"):
        write_atomic(str(path), b"new")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("mask.png", b"old")]


def finish(sample, image, outputs, image_sizes):
    return Result(sample.key, np.zeros(image.shape[:2], np.uint8))


def test_a_picture_whose_decoding_hangs_is_a_dead_letter(models, monkeypatch):
    def hangs_on_b(data, max_pixels, limit):
        if data == b"b":
            time.sleep(60)
        return unpack(encode(scene(1)[0]), max_pixels, limit)

    job = networks.RunNetworks([str(models["segmentation"])], finish, max_pixels=10**6, timeout_s=15)
    job.setup()
    list(job.process([Sample("warm", encode(scene(1)[0]))]))
    monkeypatch.setattr(networks, "unpack", hangs_on_b)
    job._timeout_s = 2
    found = list(job.process([Sample(key, key.encode()) for key in "abc"]))
    assert [one.key for one in found if isinstance(one, Result)] == ["a", "c"]
    assert [one.value for one in found if not isinstance(one, Result)] == [
        {"key": "b", "stage": "decode", "reason": "gave up after 2 s"}
    ]


def test_pictures_above_the_model_s_own_limit_go_to_it_smaller(models, tmp_path, monkeypatch):
    write_scenes(tmp_path, 3)
    predict(models, tmp_path, "whole")
    look, _ = networks.look_and_limit(models["segmentation"])
    monkeypatch.setattr(networks, "look_and_limit", lambda directory: (look, 5000))
    monkeypatch.setattr(images, "_SMALL", 2000)
    monkeypatch.setattr(networks, "_PIXELS_AT_ONCE", 1)
    predict(models, tmp_path, "smaller")
    for name in ("s000.png", "s001.png", "s002.png"):
        whole, smaller = (np.asarray(Image.open(tmp_path / folder / name)) for folder in ("whole", "smaller"))
        assert smaller.shape == (72, 96)
        assert (whole == smaller).mean() > 0.8
        assert set(np.unique(smaller)) == set(np.unique(whole))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_a_picture_made_smaller_keeps_its_note_of_how_to_turn_it(monkeypatch, kind):
    monkeypatch.setattr(images, "_SMALL", 2000)
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels, encoded = unpack(encode(scene(1)[0], kind, exif=exif), 10_000, 5000)
    header = read_header(encoded)
    assert pixels.shape == (72, 96, 3)
    assert (header.size, header.orientation) == ((36, 48), 6)


def test_examples_hold_pictures_that_training_reads(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 8
    (tmp_path / "p.webp").write_bytes(encode(scene(1)[0], "WEBP", exif=exif))
    (tmp_path / "p.png").write_bytes(masks.encode(scene(1)[1], {"stamp": ""}))
    write_examples(tmp_path, [Source("p", str(tmp_path / "p.webp"), (1,))], 10**6)
    records = tf.data.TFRecordDataset(str(tmp_path / "examples.tfrecord.gz"), compression_type="GZIP")
    [record] = records.as_numpy_iterator()
    image = tf.train.Example.FromString(record).features.feature["image/encoded"].bytes_list.value[0]
    assert (read_header(image).format, read_header(image).size, read_header(image).orientation) == ("PNG", (72, 96), 8)
