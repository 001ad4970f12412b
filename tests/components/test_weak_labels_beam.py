"""`label_folder` as people use it: good and hostile images, tags of every quality, all formats, resuming."""

import csv
import json
import os
import signal
import subprocess
import time

import numpy as np
import pytest
import tensorflow as tf
from commands import COMMAND, ROOT, transferseg
from labelling_samples import BAD_IMAGES, CATEGORIES, ODD_IMAGES, encode, write_scenes
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from components.beam_masks.faults import TooManyFaults
from components.weak_labels.core.label_config import LabelConfig
from components.weak_labels.label_folder import label_folder
from trainer.data import features
from trainer.data.categories import VOID, palette
from trainer.errors import UserError

pytestmark = pytest.mark.slow  # whole Beam jobs


def label(models, folder, output="out", **options):
    arguments = {"l_net": models["l_net"], "cam": models["cam"], **options}
    return label_folder(images=folder / "images", tags=folder / "tags.csv", output=folder / output, **arguments)


def read_mask(path):
    image = Image.open(path)
    assert image.mode == "P"
    assert image.getpalette() == palette().ravel().tolist()
    return np.asarray(image)


def letters_of(output):
    return [json.loads(line) for line in (output / "dead_letters.jsonl").read_text().splitlines()]


def contents(output):
    """Every file that must not depend on when or how often the job ran."""
    return {path.name: path.read_bytes() for path in output.iterdir() if path.name != "summary.json"}


def test_labels_fit_the_objects_and_the_books_balance(models, tmp_path):
    truths = write_scenes(tmp_path, 11)
    summary = label(models, tmp_path)
    assert (summary["inputs"], summary["labelled"], summary["dead"]) == (11, 11, 0)
    for key, (tag, truth) in truths.items():
        mask = read_mask(tmp_path / "out" / f"{key}.png")
        assert mask.shape == truth.shape and set(np.unique(mask)) <= {0, tag, VOID}
        certain = mask != VOID
        assert certain.mean() > 0.7
        overlap = ((mask == tag) & (truth == tag))[certain].sum() / ((mask == tag) | (truth == tag))[certain].sum()
        assert overlap > 0.7, key
    rows = list(csv.DictReader((tmp_path / "out" / "confidence.csv").open()))
    assert [float(row["confidence"]) for row in rows] == sorted(float(row["confidence"]) for row in rows)
    assert {row["image"]: row["tags"] for row in rows} == {k: CATEGORIES.names[t] for k, (t, _) in truths.items()}
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary


def test_hostile_images_are_labelled_or_named(models, tmp_path):
    write_scenes(tmp_path, 4)
    for name, (data, *_) in {**ODD_IMAGES, **BAD_IMAGES}.items():
        (tmp_path / "images" / name.replace("cut.png", "cut2.png")).write_bytes(data)
    names = [name.replace("cut.png", "cut2.png") for name in (*ODD_IMAGES, *BAD_IMAGES)]
    with (tmp_path / "tags.csv").open("a") as file:
        file.writelines(f"{name},ant\n" for name in names)
    summary = label(models, tmp_path, max_dead_share=1.0)
    letters = {letter["key"]: letter for letter in letters_of(tmp_path / "out")}
    assert summary["inputs"] == 4 + len(names) == summary["labelled"] + summary["dead"]
    assert summary["dead"] == len(BAD_IMAGES) == len(letters)
    for name, (_, stage, reason) in BAD_IMAGES.items():
        letter = letters[name.replace("cut.png", "cut2.png").rpartition(".")[0]]
        assert letter["stage"] == stage and reason in letter["reason"], letter
        assert "\n" not in letter["reason"]
        assert not (tmp_path / "out" / f"{letter['key']}.png").exists()
    for name, (_, size) in ODD_IMAGES.items():
        assert read_mask(tmp_path / "out" / f"{name.rpartition('.')[0]}.png").shape == size, name


def test_an_image_is_labelled_alike_in_any_company(models, tmp_path):
    write_scenes(tmp_path, 9)
    label(models, tmp_path, "all")
    for path in sorted((tmp_path / "images").iterdir())[2:]:
        path.unlink()
    label(models, tmp_path, "some", max_dead_share=1.0)
    for key in ("s000", "s001"):
        assert (tmp_path / "all" / f"{key}.png").read_bytes() == (tmp_path / "some" / f"{key}.png").read_bytes()


def test_faults_of_tags_cost_one_image_each(models, tmp_path):
    write_scenes(tmp_path, 6)
    (tmp_path / "images" / "s005.gif").write_bytes(ODD_IMAGES["moving.gif"][0])
    (tmp_path / "tags.csv").write_text(
        "image,tags\ns000.png,ant|bee\ns001,unicorn\ns002,cow\ns002.png,ant\ngone.png,ant\ns003,a,b\ns005.gif,ant\n"
        "../images/s000.png,ant\ns005.png,cow\n"
    )
    summary = label(models, tmp_path, max_dead_share=1.0)
    found = {(letter["key"], letter["stage"]): letter["reason"] for letter in letters_of(tmp_path / "out")}
    expected = {
        ("s001", "tags"): "unknown category 'unicorn'",
        ("s002.png", "tags"): "is listed twice: line 4 names that picture",
        ("gone.png", "read"): "no picture 'gone.png'",
        ("line 7", "tags"): "line 7: expected image,tags",
        ("s003", "tags"): "no line in the tags file",
        ("s004", "tags"): "no line in the tags file",
        ("s005", "write"): "overwrite that of s005.gif",
        ("../images/s000.png", "read"): "leads out of the folder",
    }
    assert set(found) == set(expected)
    for key, reason in expected.items():
        assert reason in found[key], found[key]
    assert summary["labelled"] == 3 and summary["inputs"] == 11
    assert {path.stem for path in (tmp_path / "out").glob("*.png")} == {"s000", "s002", "s005"}


def test_above_the_share_the_run_fails_after_finishing_everything(models, tmp_path):
    truths = write_scenes(tmp_path, 6)
    for key in list(truths)[:3]:
        (tmp_path / "images" / f"{key}.png").write_bytes(b"broken")
    with pytest.raises(TooManyFaults, match="3 of 6 images failed .3 decode.*allowed share 0.1"):
        label(models, tmp_path)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["labelled"], summary["dead"]) == (3, 3)
    assert label(models, tmp_path, max_dead_share=0.5)["kept"] == 3


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ("picture,labels\na,ant\n", "header image,tags"),
        ("", "header image,tags"),
        ("image,tags\n", "lists no image"),
        (None, "no such file.*tags.csv; give a CSV"),
    ],
)
def test_a_bad_tags_file_is_refused_before_any_work(models, tmp_path, tags, message):
    write_scenes(tmp_path, 1)
    (tmp_path / "tags.csv").unlink()
    if tags is not None:
        (tmp_path / "tags.csv").write_text(tags)
    with pytest.raises(UserError, match=message):
        label(models, tmp_path)
    assert not (tmp_path / "out").exists()


def test_bad_arguments_are_refused(models, tmp_path):
    write_scenes(tmp_path, 1)
    mistakes = {
        "not a SavedModel": {"cam": tmp_path},
        "this is an L-Net; give the folder of a CAM classifier": {"cam": models["l_net"]},
        "folder of images": {"output": "images"},
        "class-agnostic": {"cam": None},
        "this is a CAM classifier; give the folder of an L-Net": {"l_net": models["cam"]},
    }
    for message, options in mistakes.items():
        with pytest.raises(UserError, match=message):
            label(models, tmp_path, **options)


def test_a_rerun_makes_only_what_is_missing_or_stale(models, tmp_path):
    write_scenes(tmp_path, 5)
    label(models, tmp_path)
    before = contents(tmp_path / "out")
    (tmp_path / "out" / "s001.png").unlink()
    (tmp_path / "out" / ".s002.png.unfinished").write_bytes(b"half a mask")
    assert label(models, tmp_path)["kept"] == 4
    assert contents(tmp_path / "out") == before
    other = LabelConfig(background_cut=0.6)
    assert label(models, tmp_path, settings=other)["kept"] == 0
    lines = (tmp_path / "tags.csv").read_text().replace("s003.png,ant", "s003.png,ant|bee")
    (tmp_path / "tags.csv").write_text(lines)
    assert label(models, tmp_path, settings=other)["kept"] == 4


def test_labels_without_a_category_are_counted(models, tmp_path):
    write_scenes(tmp_path, 2)
    grey = np.random.default_rng(0).integers(30, 50, (72, 96), np.uint8)
    (tmp_path / "images" / "grey.png").write_bytes(encode(grey))
    with (tmp_path / "tags.csv").open("a") as file:
        file.write("grey,ant\n")
    summary = label(models, tmp_path)
    empty = [path.stem for path in (tmp_path / "out").glob("*.png") if set(np.unique(read_mask(path))) <= {0, VOID}]
    assert empty == ["grey"]
    assert (summary["labelled"], summary["empty"]) == (3, 1)


def test_a_mask_goes_when_its_image_breaks(models, tmp_path):
    write_scenes(tmp_path, 3)
    label(models, tmp_path)
    (tmp_path / "images" / "s001.png").write_bytes(b"")
    summary = label(models, tmp_path, max_dead_share=1.0)
    assert (summary["labelled"], summary["dead"], summary["kept"]) == (2, 1, 2)
    assert not (tmp_path / "out" / "s001.png").exists()


def test_unwritable_masks_are_dead_letters(models, tmp_path):
    write_scenes(tmp_path, 3)
    (tmp_path / "out" / "s001.png").mkdir(parents=True)
    with pytest.raises(TooManyFaults, match=r"s001 \(write\)"):
        label(models, tmp_path)
    assert {path.name for path in (tmp_path / "out").glob("*.png")} >= {"s000.png", "s002.png"}


def test_coco_holds_the_masks(models, tmp_path):
    truths = write_scenes(tmp_path, 4)
    label(models, tmp_path, format="coco")
    coco = COCO(str(tmp_path / "out" / "annotations.json"))
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == list(CATEGORIES.foreground)
    for image in coco.loadImgs(coco.getImgIds()):
        key = image["file_name"].removesuffix(".png")
        mask = read_mask(tmp_path / "out" / f"{key}.png")
        (annotation,) = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
        assert annotation["category_id"] == truths[key][0]
        np.testing.assert_array_equal(coco_mask.decode(annotation["segmentation"]), mask == truths[key][0])


def test_examples_can_be_trained_on(models, tmp_path):
    truths = write_scenes(tmp_path, 4)
    label(models, tmp_path, format="tfrecord")
    dataset = tf.data.TFRecordDataset(str(tmp_path / "out" / "examples.tfrecord.gz"), compression_type="GZIP")
    parsed = [tf.io.parse_single_example(record, features.PARSE_SPEC) for record in dataset]
    assert [p[features.KEY].numpy().decode() for p in parsed] == list(truths)
    for p, (key, (tag, _)) in zip(parsed, truths.items(), strict=True):
        assert p[features.SOURCE] == features.GENERATED
        assert tf.sparse.to_dense(p[features.TAGS]).numpy().tolist() == [tag]
        mask = tf.io.decode_png(p[features.MASK]).numpy()[..., 0]
        np.testing.assert_array_equal(mask, read_mask(tmp_path / "out" / f"{key}.png"))


def test_categories_no_network_knows(models, tmp_path):
    truths = write_scenes(tmp_path, 3)
    (tmp_path / "tags.csv").write_text("image,tags\ns000,zebra\ns001,yak\ns002,zebra|yak\n")
    summary = label(models, tmp_path, cam=None, mode="class-agnostic", max_dead_share=0.5)
    assert summary["categories"] == ["background", "zebra", "yak"]
    (letter,) = letters_of(tmp_path / "out")
    assert letter["stage"] == "tags" and "2 tags" in letter["reason"]
    for key, tag in (("s000", 1), ("s001", 2)):
        mask, truth = read_mask(tmp_path / "out" / f"{key}.png"), truths[key][1] > 0
        certain = mask != VOID
        assert ((mask == tag) & truth)[certain].sum() / ((mask == tag) | truth)[certain].sum() > 0.7


def test_two_processes_give_the_same_files(models, tmp_path):
    write_scenes(tmp_path, 20)
    (tmp_path / "images" / "s007.png").write_bytes(b"broken")
    label(models, tmp_path, "one")
    label(models, tmp_path, "two", beam_args=["--direct_running_mode=multi_processing", "--direct_num_workers=2"])
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.parametrize(
    ("copies", "kills"),
    [(1, [60]), pytest.param(10, [100, 700, 1300], marks=pytest.mark.soak)],
)
def test_inputs_of_every_kind_survive_kills(models, tmp_path, copies, kills):
    """`kills`: how many masks there are when the process is killed."""
    reasons = write_inputs(tmp_path, copies)
    folders = ["--images", tmp_path / "images", "--tags", tmp_path / "tags.csv", "--output", tmp_path / "out"]
    networks = ["--l-net", models["l_net"], "--cam", models["cam"]]
    arguments = ["label", *networks, *folders, "--format", "coco", "--max-dead-share", "0.5"]
    command = [*COMMAND, *map(str, arguments)]
    for wanted in kills:
        process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL)
        while process.poll() is None and sum(1 for _ in (tmp_path / "out").glob("*.png")) < wanted:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "the job ended before it was killed"
        assert not (tmp_path / "out" / "summary.json").exists()
        for path in (tmp_path / "out").glob("*.png"):
            read_mask(path)  # whole, or not there
    assert transferseg(*arguments).returncode == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    inputs = 200 * copies
    assert summary["kept"] >= kills[-1]
    assert (summary["inputs"], summary["labelled"], summary["dead"]) == (inputs, inputs - len(reasons), len(reasons))
    assert {(letter["key"], letter["stage"]) for letter in letters_of(tmp_path / "out")} == set(reasons)
    for letter in letters_of(tmp_path / "out"):
        assert reasons[letter["key"], letter["stage"]] in letter["reason"], letter
    label(models, tmp_path, "undisturbed", format="coco", max_dead_share=0.5)
    assert contents(tmp_path / "out") == contents(tmp_path / "undisturbed")


def write_inputs(folder, copies: int) -> dict[tuple[str, str], str]:
    """200 inputs a copy: (key, stage) of those that must become dead letters -> a part of the reason."""
    write_scenes(folder, copies * (200 - len(ODD_IMAGES) - len(BAD_IMAGES) - 4))
    lines, reasons = [], {}
    for copy in range(copies):
        for name, (data, *_) in {**ODD_IMAGES, **BAD_IMAGES}.items():
            name = f"{copy}{name.replace('.', '_')}.{name.rpartition('.')[2]}"
            (folder / "images" / name).write_bytes(data)
            lines.append(f"{name},ant")
        for name, (_, stage, reason) in BAD_IMAGES.items():
            reasons[f"{copy}{name.replace('.', '_')}", stage] = reason
        lines += [f"missing{copy}.png,bee", f"s{copy:03d},cow"]  # no such file; a second line for an image
        reasons |= {(f"missing{copy}.png", "read"): "no picture", (f"s{copy:03d}", "tags"): "is listed twice"}
        for kind, tag, reason in (("u", "unicorn", "unknown category"), ("t", "", "no tag")):
            (folder / "images" / f"{kind}{copy}.png").write_bytes(ODD_IMAGES["alpha.png"][0])
            lines.append(f"{kind}{copy}.png,{tag}")
            reasons[f"{kind}{copy}", "tags"] = reason
    with (folder / "tags.csv").open("a") as file:
        file.write("\n".join(lines) + "\n")
    return reasons
