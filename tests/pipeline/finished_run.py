"""A finished run as the report finds it, its networks untrained; and the page as a reader meets it."""

import base64
import io
import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import tensorflow as tf
import tensorflow_model_analysis as tfma
from PIL import Image
from tfx.types import standard_artifacts

from components.label_calibration.calibration_files import write_calibration
from components.label_calibration.search import Calibration
from components.mean_iou.eval_config import make_eval_config
from components.weak_labels.core.label_config import LabelConfig
from components.weak_labels.examples import LABELS
from pipeline.config.run_config import make_config
from pipeline.execution.local_runner import ComponentRun
from pipeline.report.advice import advise
from pipeline.report.evidence import gather
from pipeline.report.facts import Facts, read_evaluation, scalars
from pipeline.report.page import write_report
from pipeline.report.summary import RunSummary
from serving.export import export_maps, export_segmentation
from trainer.data import features
from trainer.data.categories import Categories
from trainer.training.curves import draw_curves

CATEGORIES = Categories(("cat", "dog", "cow"), ("cat",))
SIZE = 57
CONFIG = make_config(
    {
        "dataset": {"root": "/data"},
        "categories": {"strong": ["cat"], "weak": ["dog", "cow"]},
        "name": "pets",
        "network": {"backbone": "tiny", "weights": None, "image_size": SIZE},
    },
    "test",
)


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


def finished_run(root: Path) -> list[ComponentRun]:
    """Every component of a run with the artifacts the report reads, made by the code that makes the real ones."""
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
    (labels / LABELS).mkdir()
    write_lines(labels / LABELS / "data.jsonl", records)
    (labels / "summary.json").write_text(json.dumps({"labelled": len(records), "kept": 1, "dead": 0}))
    write_lines(labels / "dead_letters.jsonl", [{"key": "weak_99", "stage": "read", "reason": "truncated"}])
    final = trained("p_net", root, export_segmentation, net=net(4))
    (root / "p_net" / "warnings.txt").write_text("P-Net's accuracy stayed at 1.0\n")
    calibration = root / "calibration"
    write_calibration(calibration, Calibration(LabelConfig(), 0.7, 0.6, {"sigma": {"0.1": 0.6, "0.2": 0.7}}, 5))
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


def summary_of(components, **values):
    """A pushed run's summary with the real scores."""
    metrics = scalars(read_evaluation(components[-1].output_uri("evaluation"))[()])
    per_class = {name: metrics[f"iou/{name}"] for name in CATEGORIES.names}
    means = {name: metrics[name] for name in ("miou", "strong_miou", "weak_miou")}
    return RunSummary(per_class=per_class, config_hash="abc123", wall_s=99.0, **means, **values)


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


def written_report(workdir, components, summary):
    """`write_report` as a run calls it."""
    facts = Facts(CONFIG, workdir, components)
    evidence = gather(facts)
    return write_report(facts, summary, evidence, advise(facts, summary, evidence))
