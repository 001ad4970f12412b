import base64
import io
import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma
from PIL import Image
from tfx.types import standard_artifacts

from components.label_calibration.outputs import write_calibration
from components.label_calibration.search import Calibration
from components.miou.eval_config import make_eval_config
from components.weak_labels.settings import LabelSettings
from pipeline.config import make_config
from pipeline.report import write_report
from pipeline.runners.local import ComponentRun
from pipeline.summary import Summary, read_metrics, summarise
from serving.export import export_maps, export_segmentation
from trainer import features
from trainer.categories import Categories, palette
from trainer.curves import draw_curves

CATEGORIES = Categories(("cat", "dog", "cow"), ("cat",))
SIZE = 33


def net(outputs, kind="grid"):
    tf.keras.utils.set_random_seed(outputs)
    image = tf.keras.Input([SIZE, SIZE, 3])
    x = tf.keras.layers.Rescaling(1 / 127.5, -1)(image)
    x = tf.keras.layers.ZeroPadding2D(4)(x)
    grid = tf.keras.layers.Conv2D(outputs, 9, strides=8)(x)
    if kind == "cam":
        return tf.keras.Model(image, {"scores": tf.keras.layers.GlobalAveragePooling2D()(grid), "maps": grid})
    return tf.keras.Model(image, grid)


def write_split(folder, keys, source):
    """Pictures of different sizes with a square of the tag's id, void at its lower edge."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    with tf.io.TFRecordWriter(str(folder / "data-00000-of-00001.gz"), "GZIP") as writer:
        for i, key in enumerate(keys):
            height, width = 24 + i, 40 - i
            image = cv2.imencode(".jpg", generator.integers(0, 256, (height, width, 3)).astype(np.uint8))[1].tobytes()
            ids = np.zeros((height, width), np.uint8)
            ids[4:16, 4:20], ids[16] = 1 + i % 3, 255
            mask = tf.io.encode_png(ids[..., None]).numpy()
            example = features.make_example(key, image, height, width, [1 + i % 3], mask, source)
            writer.write(example.SerializeToString())


def write_lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def artifact(kind, folder):
    made = kind()
    made.uri = str(folder)
    return [made]


def trained(name, root, export, **options):
    export(directory=root / name / "Format-Serving", categories=CATEGORIES, image_size=SIZE, metadata={}, **options)
    (root / name / "history.csv").write_text("step,loss\n10,1.5\n20,0.5\n")
    draw_curves(root / name / "history.csv", name)
    outputs = {
        "model": artifact(standard_artifacts.Model, root / name),
        "model_run": artifact(standard_artifacts.ModelRun, root / name),
    }
    return ComponentRun(name, 12.5, outputs=outputs)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> list[ComponentRun]:
    """Every component of a run with the artifacts the report reads, made by the code that makes the real ones."""
    root = tmp_path_factory.mktemp("artifacts")
    examples, labels = root / "examples", root / "labels"
    write_split(examples / "Split-eval", [f"eval_{i}" for i in range(12)], features.HUMAN)
    (examples / "summary.json").write_text(
        json.dumps({"splits": {"strong": 7, "weak": 10, "eval": 12}, "images_per_category": {"weak": {"dog": 5}}})
    )
    write_lines(examples / "rejected.jsonl", [{"key": "odd", "stage": "mask", "reason": "has ids [<99>]"}])
    write_split(labels / "Split-weak", [f"weak_{i}" for i in range(10)], features.GENERATED)
    records = [
        {"key": f"weak_{i}", "tags": [1 + i % 3], "confidence": (10 - i) / 10, "seed_share": {}, "shares": {"0": 0.5}}
        for i in range(10)
    ]
    write_lines(labels / "labels.jsonl", records)
    (labels / "summary.json").write_text(json.dumps({"labelled": len(records), "kept": 1, "dead": 0}))
    write_lines(labels / "dead_letters.jsonl", [{"key": "weak_99", "stage": "read", "reason": "truncated"}])
    final = trained("p_net", root, export_segmentation, net=net(4))
    (root / "p_net" / "warnings.txt").write_text("P-Net's accuracy stayed at 1.0\n")
    calibration = root / "calibration"
    write_calibration(calibration, Calibration(LabelSettings(), 0.7, 0.6, {"sigma": {"0.1": 0.6, "0.2": 0.7}}, 5))
    tfma.run_model_analysis(
        eval_shared_model=tfma.default_eval_shared_model(
            f"{root}/p_net/Format-Serving",
            eval_config=make_eval_config(CATEGORIES),
        ),
        eval_config=make_eval_config(CATEGORIES),
        data_location=f"{examples}/Split-eval/*.gz",
        output_path=str(root / "evaluation"),
    )
    components = [
        ComponentRun("examples", 3.2, outputs={"examples": artifact(standard_artifacts.Examples, examples)}),
        trained("cam", root, export_maps, net=net(3, "cam"), kind="cam"),
        trained("l_net", root, export_maps, net=net(1), kind="l_net"),
        ComponentRun(
            "calibration", 1.0, outputs={"calibration": artifact(standard_artifacts.HyperParameters, calibration)}
        ),
        ComponentRun("weak_labels", 7.0, outputs={"examples": artifact(standard_artifacts.Examples, labels)}),
        final,
        ComponentRun(
            "evaluator",
            0.1,
            cached=True,
            outputs={
                "evaluation": artifact(standard_artifacts.ModelEvaluation, root / "evaluation"),
                "blessing": artifact(standard_artifacts.ModelBlessing, root / "blessing"),
            },
        ),
    ]
    for earlier, later in itertools.pairwise(components):
        later.upstream.append(earlier.name)
    return components


@pytest.fixture(scope="module")
def config():
    values = {"dataset": {"root": "/data"}, "categories": {"strong": ["cat"], "weak": ["dog", "cow"]}}
    return make_config(values | {"name": "pets", "backbone": "tiny", "weights": None, "image_size": SIZE}, "test")


def summary_of(components, **values):
    """A pushed run's summary with the real scores."""
    metrics = read_metrics(components[-1].output_uri("evaluation"))
    per_class = {name: metrics[f"iou/{name}"] for name in CATEGORIES.names}
    means = {name: metrics[name] for name in ("miou", "strong_miou", "weak_miou")}
    return Summary(per_class=per_class, config_hash="abc123", wall_s=99.0, **means, **values)


class Page(HTMLParser):
    """What a browser or a screen reader would meet."""

    def __init__(self, path: Path):
        super().__init__()
        self.source = path.read_text()
        self.tags, self.images, self.headings, self.text = [], [], [], ""
        self.feed(self.source)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "img":
            self.images.append(dict(attributes))
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))

    def handle_data(self, data):
        self.text += data

    def image(self, alt_start):
        [found] = [image for image in self.images if image["alt"].startswith(alt_start)]
        return Image.open(io.BytesIO(base64.b64decode(found["src"].partition("base64,")[2])))


@pytest.fixture(scope="module")
def page(finished, config, tmp_path_factory):
    summary = summary_of(finished, pushed_model="/models/pets/7", strong_only_miou=0.1234)
    return Page(write_report(tmp_path_factory.mktemp("run"), config, finished, summary))


def test_the_page_needs_nothing_else_and_is_small(page):
    assert len(page.source) < 4_000_000
    assert [values for tag, values in page.tags if tag == "script"] == [{}]  # one, in the page
    links = [values[name] for _, values in page.tags for name in ("src", "href") if name in values]
    assert links and all(link.startswith("data:") for link in links)
    assert "url(" not in page.source and "@import" not in page.source


def test_every_picture_loads_and_says_what_it_shows(page):
    doubtful = page.source.count("<span>least certain ·")  # those that are not shown as worst, middle or best
    assert len(page.images) == 4 + 8 * 4 + (8 + doubtful) * 3  # curves, weak labels (one tag each), predictions
    assert len({image["alt"] for image in page.images}) == len(page.images)
    for image in page.images:
        picture = Image.open(io.BytesIO(base64.b64decode(image["src"].partition("base64,")[2])))
        picture.load()


def test_headings_go_down_one_level_at_a_time(page):
    assert page.headings[0] == 1 and page.headings.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(page.headings, page.headings[1:], strict=False))


def test_masks_have_the_palettes_colours_and_maps_the_images_shape(page):
    label = page.image("Weak label of weak_0")
    assert label.size == (40, 24)
    pixels = np.asarray(label.convert("RGB"))
    np.testing.assert_array_equal(pixels[10, 10], palette()[1])
    np.testing.assert_array_equal(pixels[16, 10], palette()[255])
    assert page.image("L-Net's map M of weak_0").size == (40, 24)
    assert page.image("Activation map of cat in weak_0").size == (40, 24)


def test_weak_labels_run_from_least_to_most_certain(page):
    confidences = [float(value) for value in re.findall(r"tags: [^<]*confidence (0\.\d+|1\.00)", page.source)]
    assert confidences == sorted(confidences)
    assert (confidences[0], confidences[-1]) == (0.1, 1.0)


def test_predictions_are_the_worst_the_middle_and_the_best(page):
    found = re.findall(r"<span>(\S+).*? · IoU of its objects ([\d.]+) · confidence ([\d.]+)", page.source)
    values = [float(value) for place, value, _ in found if place != "least"]
    assert len(values) == 8 and values == sorted(values)
    doubtful = [float(confidence) for place, _, confidence in found if place == "least"]
    assert doubtful == sorted(doubtful)
    assert [page.source.count(f"<span>{place} ·") for place in ("worst", "middle", "best")] == [3, 2, 3]


def test_figures_of_the_run_are_there(page, finished):
    summary = summary_of(finished)
    assert "Pushed" in page.text and "/models/pets/7" in page.text
    for value in (summary.miou, summary.weak_miou, 0.1234):
        assert f"{100 * value:.1f}" in page.text
    assert "odd" in page.text and "has ids [<99>]" in page.text  # escaped in the source, whole for the reader
    assert "10 of 11" in page.text and "truncated" in page.text
    assert "12.5" in page.text and "cached" in page.text
    assert "image_size: 33" in page.text


def test_what_a_trainer_warned_of_is_there(finished, config, tmp_path):
    summary = summarise(finished, CATEGORIES, 1.0, "abc123")
    assert summary.warnings == ["p_net: P-Net's accuracy stayed at 1.0"]
    assert "Warning: p_net: P-Net's accuracy" in Page(write_report(tmp_path, config, finished, summary)).text


def test_the_confusion_matrix_shows_shares_of_true_pixels(page):
    body = page.source.partition('class="confusion"')[2].partition("</table>")[0]
    rows = [re.findall(r"<td[^>]*>(\d+)</td>", row) for row in body.split("<tr>")[2:]]
    assert [len(row) for row in rows] == [4] * 4
    assert all(abs(sum(map(int, row)) - 100) <= 2 for row in rows)


def test_same_results_leave_the_page_as_it_is(finished, config, tmp_path):
    summary = summary_of(finished)
    path = write_report(tmp_path, config, finished, summary)
    path.write_text(path.read_text() + "<!-- first -->")
    cached = [ComponentRun(run.name, 0.01, True, run.outputs) for run in finished]
    summary.wall_s, summary.components = 1.0, {"cam": {"wall_s": 0.01, "cached": True}}
    assert "<!-- first -->" in write_report(tmp_path, config, cached, summary).read_text()
    summary.refused_because = ["mIoU is 0.1000, 0.2000 below the threshold 0.3000"]
    again = write_report(tmp_path, config, cached, summary).read_text()
    assert "<!-- first -->" not in again and "0.2000 below the threshold" in again


@pytest.mark.parametrize("done", range(7))
def test_a_failed_run_shows_what_there_is(finished, config, tmp_path, done):
    failed = ComponentRun("broken", 1.0, error=RuntimeError("no <space> left"))
    summary = Summary(refused_because=["broken: no <space> left"])
    page = Page(write_report(tmp_path, config, [*finished[:done], failed], summary))
    assert "Stopped in broken" in page.text and "broken: no <space> left" in page.text
    assert ("Dataset" in page.text) == (done >= 1)
    assert ("Weak labels" in page.text) == (done >= 5)
    assert ("from earlier runs" in page.text) == (done >= 5)
    assert ("Predictions" in page.text) == (done >= 6)
    assert "Confusion" not in page.text


def test_no_label_at_all_and_no_component(config, finished, tmp_path):
    empty = tmp_path / "labels"
    write_split(empty / "Split-weak", [], features.GENERATED)
    for name in ("labels.jsonl", "dead_letters.jsonl"):
        (empty / name).write_text("")
    (empty / "summary.json").write_text('{"labelled": 0, "kept": 0, "dead": 0}')
    labels = ComponentRun("weak_labels", outputs={"examples": artifact(standard_artifacts.Examples, empty)})
    assert "0 of 0" in Page(write_report(tmp_path, config, [*finished[:3], labels], Summary())).text
    assert "Not finished" in Page(write_report(tmp_path, config, [], Summary())).text
