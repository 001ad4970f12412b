"""The drawn demo set: layout, determinism, restarts, and what its images hold."""

import numpy as np
import pytest
from PIL import Image

from components.image_example_gen import voc
from pipeline.demo.demo_data import DEMO_STRONG, DEMO_WEAK, draw_demo_dataset
from trainer.data.categories import VOID, from_lists
from trainer.errors import UserError

CATEGORIES = from_lists(DEMO_STRONG, DEMO_WEAK)


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def mask_of(root, key):
    return np.array(Image.open(voc.mask_path(root, key)))


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return draw_demo_dataset(tmp_path_factory.mktemp("demo") / "set", train=60, val=12, progress=False)


def test_layout_is_vocs(demo):
    train, val = voc.list_keys(demo, "train"), voc.list_keys(demo, "val")
    assert len(train) == 60 and len(val) == 12 and not set(train) & set(val)
    for key in train + val:
        with Image.open(voc.image_path(demo, key)) as image, Image.open(voc.mask_path(demo, key)) as mask:
            assert image.format == "JPEG" and mask.mode == "P" and image.size == mask.size
            assert mask.getpalette()[3:6] == [128, 0, 0]  # VOC's colour of id 1
            assert all(112 <= side <= 152 for side in image.size)


def test_masks_hold_known_ids_and_void_outlines(demo):
    for key in voc.list_keys(demo, "train"):
        ids = set(np.unique(mask_of(demo, key)))
        assert ids <= {*range(9), VOID}
        assert 0 in ids and VOID in ids and len(ids) > 2


def test_half_of_the_images_are_strong_only_and_tags_are_informative(demo):
    tags = [set(np.unique(mask_of(demo, key))) - {0, VOID} for key in voc.list_keys(demo, "train")]
    weak = [CATEGORIES.is_weak_image(sorted(t)) for t in tags]
    mixed = [bool(t & set(CATEGORIES.strong_ids)) and w for t, w in zip(tags, weak, strict=True)]
    assert 0.45 <= np.mean(weak) <= 0.5
    assert 0.15 <= np.mean(mixed) <= 0.25
    shares = [np.mean([i in t for t in tags]) for i in range(1, 9)]
    assert min(shares) > 0 and max(shares) <= 0.4


def test_same_seed_same_bytes_other_seed_others(demo, tmp_path):
    again = draw_demo_dataset(tmp_path / "again", train=60, val=12, progress=False)
    other = draw_demo_dataset(tmp_path / "other", train=2, val=1, seed=1, progress=False)
    assert contents(again) == contents(demo)
    assert contents(other)["JPEGImages/train_00000.jpg"] != contents(demo)["JPEGImages/train_00000.jpg"]


def test_an_image_does_not_depend_on_how_many_there_are(demo, tmp_path):
    few = draw_demo_dataset(tmp_path / "few", train=3, val=1, progress=False)
    for key in voc.list_keys(few, "train"):
        assert voc.image_path(few, key).read_bytes() == voc.image_path(demo, key).read_bytes()


def test_finished_set_is_not_drawn_again_but_a_damaged_or_other_one_is(tmp_path):
    root = draw_demo_dataset(tmp_path / "set", train=4, val=1, progress=False)
    before = contents(root)
    time = (root / "demo.json").stat().st_mtime_ns
    draw_demo_dataset(root, train=4, val=1, progress=False)
    assert (root / "demo.json").stat().st_mtime_ns == time

    (root / "JPEGImages" / "train_00001.jpg").unlink()
    draw_demo_dataset(root, train=4, val=1, progress=False)
    assert contents(root) == before
    draw_demo_dataset(root, train=5, val=1, progress=False)
    assert len(voc.list_keys(root, "train")) == 5


def test_a_kill_leaves_no_set_and_the_next_start_draws_it(tmp_path, monkeypatch):
    root = tmp_path / "set"

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.demo.demo_data.encode", killed)
        with pytest.raises(KeyboardInterrupt):
            draw_demo_dataset(root, train=4, val=1, progress=False)
    assert not root.exists()
    draw_demo_dataset(root, train=4, val=1, progress=False)
    assert len(list((root / "JPEGImages").iterdir())) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_another_folder_is_never_overwritten(tmp_path):
    precious = tmp_path / "thesis.tex"
    precious.write_text("years of work")
    with pytest.raises(UserError, match="name another folder"):
        draw_demo_dataset(tmp_path, train=1, val=1, progress=False)
    assert precious.read_text() == "years of work"
