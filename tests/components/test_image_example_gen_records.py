"""From files to one example: every kind of bad file is named, and no weak pixel gets into a training example."""

import io
import zlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from components.image_example_gen import voc
from components.image_example_gen.records import read_record
from trainer.data import features
from trainer.data.categories import VOID, from_lists, palette
from trainer.data.masks import read_mask
from trainer.data.pictures import decode, read_header
from trainer.data.preprocessing import decode_image, decode_mask
from trainer.errors import ImageFault

CATEGORIES = from_lists(["cat", "cow"], ["dog", "horse"])  # ids 1, 2 strong; 3, 4 weak
SIZE = (6, 9)


def encoded(array, format="PNG", mode=None, **options):
    buffer = io.BytesIO()
    image = Image.fromarray(array, mode=mode)
    if mode == "P":
        image.putpalette(palette().tobytes())
    image.save(buffer, format, **options)
    return buffer.getvalue()


def a_mask(*ids, size=SIZE):
    mask = np.zeros(size, np.uint8)
    mask.flat[: len(ids)] = ids
    return mask


IMAGE = encoded(np.arange(6 * 9 * 3, dtype=np.uint8).reshape(6, 9, 3), "JPEG")


@pytest.fixture
def dataset(tmp_path):
    for folder in (voc.IMAGES, voc.MASKS):
        (tmp_path / folder).mkdir()

    def add(key="a", image=IMAGE, mask=None):
        if image is not None:
            (tmp_path / voc.IMAGES / f"{key}.jpg").write_bytes(image)
        if mask is not None:
            data = mask if isinstance(mask, bytes) else encoded(mask, mode="P")
            (tmp_path / voc.MASKS / f"{key}.png").write_bytes(data)
        return tmp_path

    return add


def parsed(record):
    example = tf.io.parse_single_example(record.example, features.PARSE_SPEC)
    mask = example[features.MASK]
    return example, None if mask.numpy() == b"" else decode_mask(mask).numpy()


def test_a_strong_image_keeps_its_mask_as_grey_ids(dataset):
    mask = a_mask(1, 2, VOID)
    record = read_record(dataset(mask=mask), "a", CATEGORIES)
    example, stored = parsed(record)
    assert record.split == "strong" and record.tags == (1, 2)
    assert example[features.KEY] == b"a" and example[features.SOURCE] == b"human"
    assert (int(example[features.HEIGHT]), int(example[features.WIDTH])) == SIZE
    assert example[features.IMAGE].numpy() == IMAGE
    np.testing.assert_array_equal(stored, mask)


def test_a_weak_image_has_tags_and_no_mask_at_all(dataset):
    record = read_record(dataset(mask=a_mask(1, 3)), "a", CATEGORIES)
    raw = tf.train.Example.FromString(record.example)
    assert record.split == "weak" and record.tags == (1, 3)
    assert features.MASK not in raw.features.feature
    assert raw.features.feature[features.SOURCE].bytes_list.value[:] == [b"none"]


def test_a_tagged_weak_image_needs_no_mask(dataset):
    record = read_record(dataset(), "a", CATEGORIES, tags=(3,))
    assert record.split == "weak" and record.tags == (3,) and parsed(record)[1] is None


def test_evaluation_keeps_weak_categories_whatever_the_tags_say(dataset):
    record = read_record(dataset(mask=a_mask(1, 3)), "a", CATEGORIES, evaluation=True, tags=(2,))
    assert record.split == "eval" and record.tags == (1, 3)
    np.testing.assert_array_equal(parsed(record)[1], a_mask(1, 3))


def test_use_strong_masks_keeps_strong_ids_and_voids_the_rest(dataset):
    root = dataset(mask=a_mask(1, 3, 2, VOID))
    record = read_record(root, "a", CATEGORIES, use_strong_masks=True)
    expected = np.full(SIZE, VOID, np.uint8)
    expected.flat[[0, 2]] = [1, 2]
    assert record.split == "weak"
    np.testing.assert_array_equal(parsed(record)[1], expected)
    assert parsed(read_record(dataset("b", mask=a_mask(3)), "b", CATEGORIES, use_strong_masks=True))[1] is None


@settings(max_examples=150, deadline=None)
@given(
    mask=hnp.arrays(np.uint8, SIZE, elements=st.sampled_from([0, 1, 2, 3, 4, VOID])),
    tags=st.none() | st.sets(st.integers(1, 4)).map(lambda ids: tuple(sorted(ids))),
    use_strong_masks=st.booleans(),
)
def test_no_weak_pixel_is_ever_in_a_training_example(tmp_path_factory, mask, tags, use_strong_masks):
    root = tmp_path_factory.mktemp("leak")
    for folder, suffix, data in ((voc.IMAGES, "jpg", IMAGE), (voc.MASKS, "png", encoded(mask, mode="P"))):
        (root / folder).mkdir()
        (root / folder / f"a.{suffix}").write_bytes(data)
    try:
        record = read_record(root, "a", CATEGORIES, tags=tags, use_strong_masks=use_strong_masks)
    except ImageFault as fault:
        assert fault.stage == "tags" and not CATEGORIES.is_weak_image(tags)
        return
    stored = parsed(record)[1]
    if record.split == "strong":
        np.testing.assert_array_equal(stored, mask)
        assert not np.isin(mask, [3, 4]).any()
    elif stored is not None:
        assert use_strong_masks and set(np.unique(stored)) <= {1, 2, VOID}
        np.testing.assert_array_equal(stored == VOID, ~np.isin(mask, [1, 2]))


def bomb():
    """A PNG header that claims 50,000 x 50,000 pixels."""
    data = bytearray(encoded(np.zeros((2, 2), np.uint8)))
    data[16:24] = (50_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    return bytes(data)


GOOD_MASK = a_mask(1)
PIXELS = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8)


@pytest.mark.parametrize(
    ("image", "mask", "stage", "reason"),
    [
        (None, GOOD_MASK, "image", "no picture 'a'"),
        (b"", GOOD_MASK, "image", "empty"),
        (b"I am text, not a picture", GOOD_MASK, "image", "not a picture"),
        (IMAGE[: len(IMAGE) // 2], GOOD_MASK, "image", "damaged"),
        (encoded(PIXELS)[:-30], GOOD_MASK, "image", "not a readable PNG"),
        (encoded(PIXELS, "TIFF"), GOOD_MASK, "image", "a TIFF file, which training cannot read"),
        (bomb(), GOOD_MASK, "image", "(?i)exceeds limit|too many"),
        (IMAGE, None, "mask", "no mask a.png in SegmentationClass"),
        (IMAGE, b"", "mask", "empty"),
        (IMAGE, b"text", "mask", "its mask: not a picture"),
        (IMAGE, encoded(GOOD_MASK, mode="P")[:-20], "mask", "its mask is not readable"),
        (IMAGE, a_mask(1, size=(6, 8)), "mask", "its mask is 8x6 but the picture is 9x6"),
        (IMAGE, a_mask(1, size=(9, 6)), "mask", "width and height are swapped"),
        (IMAGE, a_mask(1, 5, 254), "mask", "has ids 5, 254; there are 4 categories"),
        (IMAGE, encoded(PIXELS), "mask", "stands for no category"),
        (IMAGE, encoded(a_mask(1).astype(np.uint16) * 300), "mask", "has ids 300"),
        (IMAGE, encoded(a_mask(1), "JPEG"), "mask", "is a JPEG; masks must be PNG"),
        (IMAGE, bomb(), "mask", "(?i)exceeds limit|too many"),
    ],
    ids=[
        "missing",
        "empty",
        "text",
        "half a jpeg",
        "half a png",
        "tiff",
        "bomb",
        "no mask",
        "empty mask",
        "text mask",
        "truncated mask",
        "other size",
        "turned",
        "odd ids",
        "colour mask",
        "16-bit mask",
        "jpeg mask",
        "bomb mask",
    ],
)
def test_every_fault_is_named_with_its_stage(dataset, image, mask, stage, reason):
    with pytest.raises(ImageFault, match=reason) as caught:
        read_record(dataset(image=image, mask=mask), "a", CATEGORIES)
    assert caught.value.stage == stage and "\n" not in str(caught.value)


def test_tags_that_hide_a_weak_object_are_refused(dataset):
    with pytest.raises(ImageFault, match="the mask shows dog"):
        read_record(dataset(mask=a_mask(1, 3)), "a", CATEGORIES, tags=(1,))


@pytest.mark.parametrize(
    "image",
    [
        encoded(np.zeros((*SIZE, 4), np.uint8), "JPEG", mode="CMYK"),
        encoded(np.zeros(SIZE, np.uint16)),
        encoded(PIXELS[..., 0]),
        encoded(PIXELS[..., 0], mode="P"),
        encoded(np.dstack([PIXELS, PIXELS[..., :1]])),
        encoded(PIXELS[..., 0], "GIF", save_all=True, append_images=[Image.fromarray(PIXELS[..., 1])]),
        encoded(PIXELS, "PNG"),
    ],
    ids=["cmyk", "16-bit", "grey", "palette", "alpha", "animated gif", "wrong extension"],
)
def test_odd_but_readable_images_are_taken_and_training_can_decode_them(dataset, image):
    record = read_record(dataset(image=image, mask=GOOD_MASK), "a", CATEGORIES)
    assert decode_image(parsed(record)[0][features.IMAGE]).shape == (*SIZE, 3)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
def test_extreme_shapes_are_taken(dataset, size):
    root = dataset(image=encoded(np.zeros((*size, 3), np.uint8), "JPEG"), mask=a_mask(1, size=size))
    assert parsed(read_record(root, "a", CATEGORIES))[1].shape == size


@settings(max_examples=300, deadline=None)
@given(data=st.data(), source=st.sampled_from(["jpeg", "png", "mask"]))
def test_damaged_bytes_are_a_bad_record_or_an_image_never_another_error(data, source):
    raw = bytearray({"jpeg": IMAGE, "png": encoded(PIXELS), "mask": encoded(GOOD_MASK, mode="P")}[source])
    for position in data.draw(st.lists(st.integers(0, len(raw) - 1), min_size=1, max_size=6)):
        raw[position] = data.draw(st.integers(0, 255))
    try:
        if source == "mask":
            read_mask(bytes(raw), len(CATEGORIES.foreground))
        else:
            assert decode(bytes(raw)).shape == (*read_header(bytes(raw)).size, 3)
    except ImageFault as fault:
        assert str(fault)
