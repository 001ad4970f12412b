"""Good models pass, each kind of bad model is refused with its own reason."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from labelling_samples import CATEGORIES, SIZE
from PIL import Image
from tensorflow.python.framework import config as tf_config
from tfx.types import standard_artifacts

from components.serving_validator import component
from components.serving_validator.check_config import ServingCheckConfig
from components.serving_validator.checks import ServingReport, check_model
from components.serving_validator.component import REPORT, ServingValidator
from components.serving_validator.probe import probe
from components.serving_validator.requests import hostile_images, size_of
from serving.export import export_segmentation
from trainer.data import features
from trainer.data.categories import Categories
from trainer.errors import UserError
from trainer.inference.looks import Look

pytestmark = pytest.mark.slow  # each starts a process


def noise(seed: int) -> bytes:
    """A JPEG of 40 x 60 pixels."""
    buffer = io.BytesIO()
    blocks = np.random.default_rng(seed).integers(0, 256, (4, 6, 3)).astype(np.uint8)
    Image.fromarray(np.kron(blocks, np.ones((10, 10, 1), np.uint8))).save(buffer, "JPEG")
    return buffer.getvalue()


IMAGES = [noise(seed) for seed in range(2)]
# Limits that only a fault reaches, on however busy a machine; tests of the limits set their own.
QUICK = ServingCheckConfig(images=2, timed_calls=3, max_latency_ms=1e6, max_load_s=3600, timeout_s=3600)


def build(num_classes: int = CATEGORIES.num_classes, bias: dict | None = None, idle_s: float = 0) -> tf.keras.Model:
    """A random network; `bias` of its logits by class, `idle_s` seconds that each call idles."""
    tf.keras.utils.set_random_seed(0)
    image = tf.keras.Input([SIZE, SIZE, 3])
    x = tf.keras.layers.Rescaling(1 / 127.5, -1)(image)
    if idle_s:
        x = tf.keras.layers.Lambda(lambda y: y + 1e-30 * _idle(idle_s))(x)
    x = tf.keras.layers.Conv2D(8, 9, strides=8, padding="same", activation="relu")(x)
    head = tf.keras.layers.Conv2D(num_classes, 3, padding="same")
    net = tf.keras.Model(image, head(x))
    for category, value in (bias or {}).items():
        head.bias.assign(tf.tensor_scatter_nd_update(head.bias, [[category]], [value]))
    return net


def _idle(seconds: float) -> tf.Tensor:
    """Counts until the time is over, whatever the machine."""
    end = tf.timestamp() + seconds
    return tf.while_loop(lambda count: tf.timestamp() < end, lambda count: [count + 1.0], [tf.constant(0.0)])[0]


def export(net, folder, categories=CATEGORIES, **options):
    options = {"predicted_images": IMAGES[:1], **options}
    export_segmentation(net, folder, categories=categories, image_size=SIZE, metadata={}, **options)
    return folder


def check(model, tmp_path, settings=QUICK):
    return check_model(model, IMAGES, CATEGORIES, settings, tmp_path / "work")


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return export(build(), tmp_path_factory.mktemp("good") / "model[1]*?")  # TensorFlow takes such paths for patterns


@pytest.fixture
def in_this_process(monkeypatch):
    """Lets the probe run here; the tests without it start the process that a run starts."""

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess:
        *_, model, work, calls = command
        facts = probe(Path(model), Path(work), int(calls))
        (Path(work) / "facts.json").write_text(json.dumps(facts))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)


def test_a_good_model_passes(good, tmp_path):
    report = check(good, tmp_path)
    assert report.reasons == []
    assert report.agreement == 1 and report.latency_ms > 0 and report.load_s > 0
    assert 100 < report.memory_mb < 8000
    assert report.requests == {"good": 3, "odd": 6, "hostile": 5, "warm-up": 4}


def test_a_model_that_looks_in_tiles_passes(in_this_process, tmp_path):
    look = Look(size=SIZE, native=True, overlap=17)
    report = check(export(build(), tmp_path / "tiled", look=look), tmp_path)
    assert report.reasons == [] and report.agreement == 1


def test_too_slow_too_large_and_too_long_to_load(good, tmp_path):
    tight = QUICK.model_copy(update={"max_latency_ms": 0.01, "max_memory_mb": 10, "max_load_s": 0.001})
    latency, memory, load = check(good, tmp_path, tight).reasons
    assert "median call" in latency and "over the budget of 0.01 ms" in latency
    assert "MB over the budget of 10 MB" in memory and "s over the budget of 0.001 s" in load


@pytest.fixture
def clock():
    """Lets a network look at the clock, which the determinism of tests that train forbids in this process."""
    tf_config.disable_op_determinism()


def test_a_slow_network_is_seen_as_slow(in_this_process, clock, good, tmp_path):
    slow = export(build(idle_s=0.3), tmp_path / "slow", predicted_images=IMAGES[:1])
    [reason] = check(slow, tmp_path, QUICK.model_copy(update={"max_latency_ms": 250})).reasons
    assert reason.startswith("the median call with one image takes") and "over the budget of 250 ms" in reason


@pytest.mark.parametrize(
    "net, expected",
    [
        (lambda: build(bias={0: 1e6}), ["are all background"]),
        (lambda: build(bias={1: 1e6}), ["are all of class 1"]),
        (lambda: build(bias={0: np.nan}), ["weights hold NaN or infinity: net_weights/3"]),
    ],
)
def test_collapsed_and_broken_networks(in_this_process, net, expected, tmp_path):
    reasons = check(export(net(), tmp_path / "bad"), tmp_path).reasons
    for part in expected:
        assert any(part in reason for reason in reasons), reasons


def test_other_categories(in_this_process, tmp_path):
    fewer = Categories(CATEGORIES.foreground[:-1], CATEGORIES.strong[:1])
    bad = export(build(num_classes=fewer.num_classes), tmp_path / "bad", categories=fewer)
    reasons = check(bad, tmp_path).reasons
    number = CATEGORIES.num_classes
    assert f"predicts {number - 1} classes; this run has {number}" in reasons
    assert any("its assets name other categories" in reason for reason in reasons)


def test_a_model_that_says_something_else_than_its_trainer(in_this_process, good, tmp_path):
    other = export(build(bias={2: 0.1}), tmp_path / "other")
    kept = good / "assets.extra" / "trainer_predictions.tfrecord"
    (other / "assets.extra" / kept.name).write_bytes(kept.read_bytes())
    [reason] = check(other, tmp_path).reasons
    assert "agree with the trainer's own in 0." in reason and "below the threshold 0.9900" in reason


def test_a_model_without_predictions_or_warmup(in_this_process, tmp_path):
    model = export(build(), tmp_path / "m", predicted_images=[])
    (model / "assets.extra" / "tf_serving_warmup_requests").unlink()
    reasons = check(model, tmp_path).reasons
    assert len(reasons) == 2 and "no warm-up requests" in reasons[0] and "export it again" in reasons[1]


def test_a_model_that_answers_nonsense_to_hostile_images(tmp_path):
    """Signatures of another kind: they swallow everything, and one calls Python."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def serving_default(image_bytes):
        mask = tf.numpy_function(lambda: np.zeros((40, 60, 1), np.uint8), [], tf.uint8)
        png = tf.io.encode_png(tf.ensure_shape(mask, [40, 60, 1]))
        return {"mask_bytes": tf.fill(tf.shape(image_bytes), png)}

    model = export(build(), tmp_path / "m")
    module = tf.Module()
    module.weight = tf.Variable(1.0)
    tf.saved_model.save(module, str(tmp_path / "other"), signatures={"serving_default": serving_default})
    (model / "saved_model.pb").write_bytes((tmp_path / "other" / "saved_model.pb").read_bytes())
    for file in (tmp_path / "other" / "variables").iterdir():
        (model / "variables" / file.name).write_bytes(file.read_bytes())
    text = "\n".join(check(model, tmp_path).reasons)
    assert "ops that TF Serving has not got: PyFunc" in text or "EagerPyFunc" in text
    assert "wrong predictions" in text


def test_no_model_at_all(tmp_path):
    (tmp_path / "m").mkdir()
    [reason] = check(tmp_path / "m", tmp_path).reasons
    assert "does not load and answer in a fresh process" in reason


def test_a_check_that_hangs_is_killed(good, tmp_path):
    [reason] = check(good, tmp_path, QUICK.model_copy(update={"timeout_s": 0.5})).reasons
    assert reason == "the check did not end within 0.5 s and was killed"


def test_the_probe_needs_nothing_of_this_project():
    """But trainer's first line, which says how TensorFlow runs."""
    code = (
        "import sys, components.serving_validator.probe; "
        "print([name for name in sys.modules if name.split('.')[0] in ('trainer', 'serving', 'pipeline', 'tfx')])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "['trainer']"


def execute(model_folder, images, place, other_blessed=None):
    """What the executor says of a model: (blessed, reasons)."""
    model, examples, blessing = (
        kind() for kind in (standard_artifacts.Model, standard_artifacts.Examples, standard_artifacts.InfraBlessing)
    )
    model.uri, examples.uri, blessing.uri = str(place / "model"), str(place / "examples"), str(place)
    (place / "model").mkdir()
    (place / "model" / "Format-Serving").symlink_to(model_folder)
    (place / "examples" / "Split-eval").mkdir(parents=True)
    examples.split_names = '["eval"]'
    with tf.io.TFRecordWriter(str(place / "examples/Split-eval/eval-00000-of-00001.gz"), "GZIP") as writer:
        for i, image in enumerate(images):
            writer.write(features.make_example(str(i), image, *size_of(image), [1]).SerializeToString())
    inputs = {"model": [model], "examples": [examples]}
    if other_blessed is not None:
        inputs["infra_blessing"] = [standard_artifacts.InfraBlessing()]
        inputs["infra_blessing"][0].set_int_custom_property("blessed", other_blessed)
    values = {"settings": QUICK.model_dump_json(), "categories": CATEGORIES.to_json()}
    ServingValidator.EXECUTOR_SPEC.executor_class().Do(inputs, {"blessing": [blessing]}, values)
    return blessing.get_int_custom_property("blessed"), json.loads((place / REPORT).read_text())["reasons"]


@pytest.mark.parametrize("other_blessed, blessed", [(None, 1), (1, 1), (0, 0)])
def test_the_executor_blesses_for_the_pusher(good, other_blessed, blessed, tmp_path, monkeypatch):
    if other_blessed is not None:  # what the check itself finds, the first case has shown
        monkeypatch.setattr(component, "check_model", lambda *_: ServingReport([]))
    found, reasons = execute(good, IMAGES, tmp_path, other_blessed)
    assert found == blessed
    assert ("docker" in "".join(reasons)) == (blessed == 0)


def test_a_model_is_sent_no_picture_above_its_limit(in_this_process, tmp_path):
    buffer = io.BytesIO()
    Image.open(io.BytesIO(IMAGES[1])).resize((100, 100)).save(buffer, "PNG")
    large = buffer.getvalue()
    model = export(build(), tmp_path / "model of small pictures", max_pixels=5000)
    (tmp_path / "one").mkdir()
    (tmp_path / "none").mkdir()
    assert execute(model, [large, IMAGES[0]], tmp_path / "one")[1] == []
    with pytest.raises(UserError, match="no picture of the evaluation list has 5000 or fewer; raise it"):
        execute(model, [large], tmp_path / "none")


def test_a_picture_with_a_film_behind_it_is_cut_all_the_same():
    """Phones append one; a third of such a file may hold the whole picture."""
    cut = hostile_images(IMAGES[0] + b"\0" * 3 * len(IMAGES[0]))["hostile-cut"]
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.io.decode_image(cut)


def test_what_a_model_refuses_is_told_by_what_was_wrong_with_the_picture(in_this_process, tmp_path):
    model = export(build(), tmp_path / "small", max_pixels=1000)
    report = check(model, tmp_path)
    assert any("pixels; the limit is 1000" in reason for reason in report.reasons), report.reasons
