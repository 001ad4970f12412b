"""`transferseg calibrate` on stand-in networks: what it reads, writes and refuses."""

import pytest
from click.testing import CliRunner
from labelling_samples import scene
from PIL import Image

from components.weak_labels.core.label_config import read_label_settings
from pipeline import calibrate
from pipeline.cli import cli
from trainer.data.categories import Categories
from trainer.errors import UserError

pytestmark = pytest.mark.slow  # labels many times

CONFIG = """
dataset: {root: %s}
categories: {strong: [ant, bee], weak: [cow]}
labels: {superpixels: 60, objectness_weight: 0.0, background_cut: 0.9}
"""


@pytest.fixture
def dataset(tmp_path):
    """Six strong images, two weak ones whose masks are damaged: reading one would show. The last is evaluated on."""
    root = tmp_path / "voc"
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for folder in ("JPEGImages", "SegmentationClass"):
        (root / folder).mkdir()
    keys, tags = [], ["image,tags"]
    for index, tag in enumerate((1, 2, 1, 2, 1, 2, 3, 3)):
        image, truth = scene(tag, seed=index)
        keys.append(f"i{index}")
        Image.fromarray(image).save(root / "JPEGImages" / f"i{index}.jpg", quality=95)
        Image.fromarray(truth).save(root / "SegmentationClass" / f"i{index}.png")
        if tag == 3:
            (root / "SegmentationClass" / f"i{index}.png").write_bytes(b"no mask")
        tags.append(f"i{index},{['ant', 'bee', 'cow'][tag - 1]}")
    (lists / "train.txt").write_text("\n".join(keys[:-1]) + "\n")
    (lists / "val.txt").write_text(f"{keys[-1]}\n")
    (root / "tags.csv").write_text("\n".join(tags) + "\n")
    config = tmp_path / "run.yaml"
    config.write_text(CONFIG % root)
    return config


def run(config, models, output, *more):
    command = ["calibrate", str(config), "--cam", str(models["cam"]), "--l-net", str(models["l_net"])]
    return CliRunner().invoke(cli, [*command, "--output", str(output), *more], catch_exceptions=False)


def test_it_finds_better_values_and_writes_them(dataset, models, tmp_path):
    done = run(dataset, models, tmp_path / "out", "--set", "dataset.tags=tags.csv")
    assert done.exit_code == 0, done.output
    assert "label mIoU of 3 strong images" in done.output
    found = read_label_settings(tmp_path / "out" / "labels.yaml")
    assert found.superpixels in (60, 200, 300, 400) and found.background_cut < 0.9
    assert (tmp_path / "out" / "calibration.png").is_file()


def test_fewer_images_on_request(dataset, models, tmp_path):
    done = run(dataset, models, tmp_path / "out", "--set", "dataset.tags=tags.csv", "--max-images", "2")
    assert "label mIoU of 2 strong images" in done.output


def test_an_l_net_that_has_seen_everything_is_refused(dataset, models, tmp_path):
    with pytest.raises(UserError, match="trained on every category of the strong images"):
        sets = ("dataset.tags=tags.csv", "categories.strong=[ant]", "categories.weak=[bee, cow]")
        run(dataset, models, tmp_path / "out", *(part for one in sets for part in ("--set", one)))


def test_bad_images_are_left_out_by_name_or_refused_by_their_share_as_in_a_run(dataset, models, tmp_path):
    with pytest.raises(UserError, match="1 of 8 images are bad, .*i6 .mask.: its mask"):
        run(dataset, models, tmp_path / "out")
    done = run(dataset, models, tmp_path / "out", "--max-images", "2", "--set", "dataset.max_bad_share=0.2")
    assert "1 training images are left out: i6 (mask)" in done.output and "2 strong images" in done.output


@pytest.mark.parametrize("kind", ["cam", "l_net"])
def test_a_model_of_other_names_is_refused(kind, dataset, models, tmp_path, monkeypatch):
    read = calibrate.read_categories

    def renamed(model, asked):
        known = read(model, asked)
        return Categories(known.foreground[::-1], known.strong) if asked == kind else known

    monkeypatch.setattr(calibrate, "read_categories", renamed)
    with pytest.raises(UserError, match=f"{kind}: knows cow, bee, ant; the config has ant, bee, cow: names and order"):
        run(dataset, models, tmp_path / "out", "--set", "dataset.tags=tags.csv")


def test_a_missing_model_is_named(dataset, models, tmp_path):
    with pytest.raises(UserError, match="nowhere: not a SavedModel"):
        run(dataset, models | {"cam": "nowhere"}, tmp_path / "out")
