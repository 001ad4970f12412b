"""boxes.csv of a dataset: in the weak images' examples, and every wrong line or box named."""

import numpy as np
import pytest
import tensorflow as tf
from test_image_example_gen_records import CATEGORIES, IMAGE, SIZE, a_mask, encoded

from components.image_example_gen import voc
from components.image_example_gen.dataset_config import DatasetConfig, check_dataset, fingerprint
from components.image_example_gen.records import read_record
from components.image_example_gen.write_examples import plan_shards, read_shard
from trainer.data import features
from trainer.data.boxes import TagBox
from trainer.errors import ImageFault, UserError

CAT, COW, DOG, HORSE = 1, 2, 3, 4
HEIGHT, WIDTH = SIZE


@pytest.fixture
def root(tmp_path):
    """Pictures a to e; a, e and b have masks (of cat, of cat, of cat and dog), c and d have none; e evaluates."""
    for folder in (voc.IMAGES, voc.MASKS, "ImageSets/Segmentation"):
        (tmp_path / folder).mkdir(parents=True)
    for key in "abcde":
        (tmp_path / voc.IMAGES / f"{key}.jpg").write_bytes(IMAGE)
    for key, ids in (("a", [CAT]), ("b", [CAT, DOG]), ("e", [CAT])):
        (tmp_path / voc.MASKS / f"{key}.png").write_bytes(encoded(a_mask(*ids), mode="P"))
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("a\nb\nc\nd\n")
    (tmp_path / "ImageSets/Segmentation/val.txt").write_text("e\n")
    return tmp_path


def write_boxes(root, *lines):
    (root / "boxes.csv").write_text("\n".join(["image,category,x1,y1,x2,y2", *lines]) + "\n")


def records(root, **settings):
    settings = DatasetConfig(root=str(root), **settings)
    found = {}
    for shard in plan_shards(settings, CATEGORIES):
        for job, result in read_shard(shard, settings, CATEGORIES):
            found[job.key, shard.evaluation] = result
    return found


def example_of(record):
    return tf.train.Example.FromString(record.example)


def test_boxes_are_tags_and_go_with_weak_images(root):
    (root / "tags.csv").write_text("image,tags\nb,dog\nc,horse\n")
    write_boxes(root, "b.jpg,dog,1,1,3,3", "b,dog,4,1,99,3", "c,cat,0,0,2,2", "d,horse,0,0,2,2")
    found = records(root, tags="tags.csv")
    assert found["b", False].tags == (DOG,) and found["b", False].split == "weak"
    assert features.boxes_of(example_of(found["b", False])) == (TagBox(DOG, 1, 1, 3, 3), TagBox(DOG, 4, 1, WIDTH, 3))
    assert found["c", False].tags == (CAT, HORSE) and found["d", False].tags == (HORSE,)
    assert features.boxes_of(example_of(found["d", False])) == (TagBox(HORSE, 0, 0, 2, 2),)


def test_of_a_mask_a_box_adds_what_the_mask_leaves_out(root):
    """An imported box is void in the mask, so the mask does not show its category."""
    write_boxes(root, "a,horse,0,0,2,2", "b,cat,0,0,1,1", "e,dog,0,0,1,1")
    found = records(root)
    assert found["a", False].split == "weak" and found["a", False].tags == (CAT, HORSE)
    assert found["b", False].tags == (CAT, DOG)
    assert found["e", True].tags == (CAT,)  # evaluation is by masks alone


def test_strong_images_have_no_use_for_boxes(root):
    before = records(root)
    write_boxes(root, "a,cat,0,0,2,2")
    assert records(root)["a", False] == before["a", False]


def test_without_a_table_nothing_is_another(root):
    settings = DatasetConfig(root=str(root))
    before, state = records(root)["b", False], fingerprint(settings)
    assert not {features.BOX_TAGS, features.BOX_CORNERS} & set(example_of(before).features.feature)
    write_boxes(root, "b,dog,1,1,3,3")
    assert records(root)["b", False] != before and fingerprint(settings) != state


def test_a_box_outside_its_picture_is_a_dead_letter(root):
    write_boxes(root, f"b,dog,{WIDTH},0,{WIDTH + 5},3")
    fault = records(root)["b", False]
    assert isinstance(fault, ImageFault) and fault.stage == "object" and "lies outside the picture" in str(fault)


def test_wrong_lines_are_named_at_once(root):
    write_boxes(root, "b,dog,3,0,1,3", "zebra,dog,0,0,1,1", "b,dgo,0,0,1,1", "b,dog,0,0,nan,1", "b,dog,1,1,2,2")
    with pytest.raises(UserError) as error:
        check_dataset(DatasetConfig(root=str(root)), CATEGORIES)
    for part in ("boxes.csv: line 2: the box is inverted", "line 3: no picture 'zebra'", "line 4: unknown category"):
        assert part in str(error.value)
    assert "line 5: a corner of the box is not a finite number" in str(error.value) and "line 6" not in str(error.value)


def test_boxes_lie_on_the_stored_pixels_of_a_turned_picture(root):
    """Nothing turns a box on its way into an example: labels are made on the stored pixels."""
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.arange(HEIGHT * WIDTH * 3, dtype=np.uint8).reshape(HEIGHT, WIDTH, 3)
    (root / voc.IMAGES / "c.jpg").write_bytes(encoded(pixels, "JPEG", exif=exif))
    record = read_record(root, "c", CATEGORIES, boxes=[TagBox(DOG, 5, 0, WIDTH, HEIGHT)])
    assert features.boxes_of(example_of(record)) == (TagBox(DOG, 5, 0, WIDTH, HEIGHT),)
