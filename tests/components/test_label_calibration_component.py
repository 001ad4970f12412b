"""The TFX face of calibration: from a strong split and exported networks to values that the label step uses."""

import json

import pytest
import tensorflow as tf
from labelling_samples import encode, scene
from tfx.types import artifact_utils, standard_artifacts

from components.label_calibration.component import LabelCalibration
from components.weak_labels import component as weak_labels
from components.weak_labels.core.label_config import LabelConfig, read_label_settings
from trainer.data import features
from trainer.errors import UserError

START = LabelConfig(superpixels=60, objectness_weight=0.0, background_cut=0.9)


def artifact(kind, uri):
    uri.mkdir(parents=True, exist_ok=True)
    made = kind()
    made.uri = str(uri)
    return [made]


def example(key, tag):
    image, truth = scene(tag, len(key) + int(key[1:]))
    return features.make_example(key, encode(image), 72, 96, [tag], encode(truth), features.HUMAN)


@pytest.fixture
def inputs(models, tmp_path):
    """The stand-in L-Net's assets say that it was trained on "ant" (1) alone: "bee" (2) plays weak."""

    def make(tags):
        folder = tmp_path / "in" / "Split-strong"
        folder.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(folder / "data.gz"), "GZIP") as writer:
            for index, tag in enumerate(tags):
                writer.write(example(f"k{index}", tag).SerializeToString())
        examples = artifact(standard_artifacts.Examples, tmp_path / "in")
        examples[0].split_names = artifact_utils.encode_split_names(["strong"])
        found = {"examples": examples}
        for name in ("cam", "l_net"):
            found[name] = artifact(standard_artifacts.Model, tmp_path / name)
            (tmp_path / name / "Format-Serving").symlink_to(models[name])
        return found

    return make


def calibrate(inputs, folder):
    output = artifact(standard_artifacts.HyperParameters, folder)
    LabelCalibration.EXECUTOR_SPEC.executor_class().Do(
        inputs, {"calibration": output}, {"settings": START.model_dump_json()}
    )
    return output


def test_the_label_step_uses_what_calibration_found(inputs, tmp_path):
    output = calibrate(inputs([1, 2, 2, 1, 2, 1]), tmp_path / "out")
    found = read_label_settings(tmp_path / "out" / "labels.yaml")
    figures = json.loads((tmp_path / "out" / "calibration.json").read_text())
    assert figures["images"] == 3 and figures["miou"] > figures["start_miou"]
    properties = {"settings": START.model_dump_json()}
    assert weak_labels._settings(output[0], properties["settings"]) == found != START
    assert weak_labels._settings(None, properties["settings"]) == START


def test_an_l_net_that_has_seen_every_category_is_refused(inputs, tmp_path):
    with pytest.raises(UserError, match="calibration needs one that has not seen all"):
        calibrate(inputs([1, 1]), tmp_path / "out")
