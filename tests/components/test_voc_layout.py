"""A folder in VOC's layout as people fill it: names, collisions, lists, masks of every kind, categories.txt."""

import io
import os
import unicodedata

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from components.image_example_gen import listing, voc
from components.image_example_gen.dataset_config import DatasetConfig, check_dataset, fingerprint
from components.image_example_gen.records import read_record
from components.image_example_gen.tables import read_tags
from components.image_example_gen.write_examples import plan_shards, read_shard
from trainer.data import features
from trainer.data.categories import VOID, from_lists, palette
from trainer.data.masks import stored_pixels
from trainer.data.preprocessing import decode_mask
from trainer.errors import ImageFault, UserError

CATEGORIES = from_lists(["ant", "bee"], ["cow"])  # 1, 2; 3
RNG = np.random.default_rng(4)
PIXELS = RNG.integers(0, 255, (8, 12, 3), np.uint8)
IDS = np.zeros((8, 12), np.uint8)
IDS[1:4, 2:9], IDS[6, 5] = 1, VOID


def saved(array, format="PNG", mode=None, exif=None, **options):
    buffer = io.BytesIO()
    image = Image.fromarray(array, mode)
    if exif:
        options["exif"] = image.getexif()
        options["exif"][0x0112] = exif
    image.save(buffer, format, **options)
    return buffer.getvalue()


PHOTO, MASK = saved(PIXELS, "JPEG"), saved(IDS)


@pytest.fixture
def root(tmp_path):
    for folder in (voc.IMAGES, voc.MASKS, "ImageSets/Segmentation"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


def add(root, image=None, mask=None, data=PHOTO, ids=MASK):
    if image:
        (root / voc.IMAGES / image).write_bytes(data)
    if mask:
        (root / voc.MASKS / mask).write_bytes(ids)


def write_list(root, data, name="train", folder="Segmentation"):
    path = root / "ImageSets" / folder / f"{name}.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def mask_of(record):
    example = tf.io.parse_single_example(record.example, features.PARSE_SPEC)
    return decode_mask(example[features.MASK]).numpy()


NFD = unicodedata.normalize("NFD", "grün")


@pytest.mark.parametrize(
    ("file", "written"),
    [
        ("red car 7.jpg", "red car 7"),
        ("red car 7.jpg", '"red car 7"'),
        ("red car.jpg", '"red car" -1'),
        ("x.jpeg", "x.jpg"),
        ("X.JPG", "X"),
        ("IMG_1.Jpeg", "img_1.jpg"),
        ("a.b.png", "a.b"),
        ("a.png.jpg", "a.png"),
        ("grün.jpg", NFD),
        (f"{NFD}.jpg", "grün"),
        ("y.jpg", "JPEGImages/y.jpg"),
        ("y.jpg", ".\\JPEGImages\\y.jpg"),
        ("a b.jpg", "a%20b"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_list_names_pictures_in_any_way(root, file, written, encoding):
    add(root, file)
    write_list(root, f"\r\n{written}\r\n \r\n".encode(encoding))
    [key] = voc.list_keys(root, "train")
    assert voc.image_path(root, key).name == file and key == unicodedata.normalize("NFC", key)


def test_only_lists_in_main_have_a_second_column(root):
    lines = "sun 1\nmoon -1\n"
    assert voc.list_names(write_list(root, lines, "set", "Main")) == ["sun", "moon"]
    assert voc.list_names(write_list(root, lines)) == ["sun 1", "moon -1"]
    assert voc.list_names(write_list(root, "sun 1\nmoon\n", "set", "Main")) == ["sun 1", "moon"]


@pytest.mark.parametrize("others", [("a.jpg", "a.png"), ("a.JPG", "a.jpg"), ("grün.jpg", f"{NFD}.jpg")])
def test_two_pictures_of_one_name_are_refused_by_name(root, others):
    for name in others:
        add(root, name, "a.png")
    key = unicodedata.normalize("NFC", others[0][:-4])
    write_list(root, f"{key}\n")
    with pytest.raises(ImageFault, match="have the same name; keep one") as caught:
        read_record(root, voc.list_keys(root, "train")[0], CATEGORIES)
    assert caught.value.stage == "image" and all(name in str(caught.value) for name in others)


def test_names_that_differ_in_case_alone_are_two_pictures(root):
    add(root, "a.jpg", "a.png")
    add(root, "A.jpg")
    write_list(root, "a\nA\n")
    assert voc.list_keys(root, "train") == ["a", "A"]
    assert voc.find_mask(root, "A") is None, "a mask never serves two pictures"
    add(root, "Bb.jpg")
    add(root, "bB.jpg")
    with pytest.raises(ImageFault, match="'bb' may mean Bb.jpg or bB.jpg"):
        voc.find_key(root, "bb")


def test_a_missing_picture_is_named_with_the_nearest_and_one_of_another_kind_with_its_remedy(root):
    add(root, "harbour_0012.jpg")
    add(root, "tiff.TIF")
    with pytest.raises(ImageFault, match="no picture 'harbour_012'; the nearest is 'harbour_0012.jpg'"):
        voc.image_path(root, "harbour_012")
    with pytest.raises(ImageFault, match=r"'tiff.TIF' is none of .jpg .jpeg .png; transferseg import folder converts"):
        voc.image_path(root, "tiff")


@pytest.mark.parametrize("name", ["p.png", "p.PNG", "P.png", "p.tif", "p.BMP"])
def test_masks_are_found_whatever_their_suffix(root, name):
    kind = {"tif": "TIFF", "bmp": "BMP"}.get(name[-3:].lower(), "PNG")
    add(root, "p.jpg", name, ids=saved(IDS, kind))
    np.testing.assert_array_equal(mask_of(read_record(root, "p", CATEGORIES)), IDS)


def test_two_masks_of_one_picture_and_a_lossy_one_are_refused(root):
    add(root, "p.jpg", "p.png")
    add(root, mask="p.tif", ids=saved(IDS, "TIFF"))
    with pytest.raises(ImageFault, match="p.png and p.tif have the same name") as caught:
        read_record(root, "p", CATEGORIES)
    assert caught.value.stage == "mask"
    add(root, "q.jpg", "q.jpg")
    with pytest.raises(ImageFault, match="q.jpg in SegmentationClass is no mask"):
        read_record(root, "q", CATEGORIES)


def coloured(ids):
    return saved(palette()[ids])


def reordered(ids):
    """A palette PNG of VOC's colours whose entries an optimiser has sorted."""
    image = Image.fromarray((ids == 1).astype(np.uint8) * 2 + (ids == VOID), "P")
    image.putpalette(palette()[[0, VOID, 1]].tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "draw", [saved, coloured, reordered, lambda ids: saved(ids.astype(np.uint16))], ids=["grey", "RGB", "P", "16"]
)
def test_masks_are_read_by_kind(root, draw):
    add(root, "p.jpg", "p.png", ids=draw(IDS))
    np.testing.assert_array_equal(mask_of(read_record(root, "p", CATEGORIES)), IDS)


@pytest.mark.parametrize(
    ("orientation", "noted"), [*((i, True) for i in range(2, 9)), *((i, False) for i in range(5, 9))]
)
def test_a_mask_of_the_upright_picture_is_turned_to_the_stored_pixels(root, orientation, noted):
    """A mask whose own file notes an orientation is surely upright; without a note its size must tell."""
    stored = stored_pixels(IDS, orientation)
    photo = saved(RNG.integers(0, 255, (*stored.shape, 3), np.uint8), "JPEG", exif=orientation)
    ids = saved(stored, exif=orientation) if noted else saved(IDS)
    add(root, "p.jpg", "p.png", data=photo, ids=ids)
    np.testing.assert_array_equal(mask_of(read_record(root, "p", CATEGORIES)), stored)


def test_one_picture_under_two_spellings_is_not_trained_and_evaluated_on(root):
    add(root, "grün.jpg", "grün.png")
    add(root, "b.jpg", "b.png")
    write_list(root, f"{NFD}\nb\nB.JPG\n")
    write_list(root, "GRÜN.jpg\n", "val")
    settings = DatasetConfig(root=str(root))
    faults = [
        str(result)
        for shard in plan_shards(settings, CATEGORIES)
        for _, result in read_shard(shard, settings, CATEGORIES)
        if isinstance(result, ImageFault)
    ]
    assert faults == [
        "also in the evaluation list 'val'; never trained on",
        "listed twice; the first is used",
    ]


def test_all_wrong_lines_of_the_tags_are_named_at_once_and_a_listed_image_may_be_missing(root):
    for name in ("a.jpg", "b.jpg"):
        add(root, name, name.replace("jpg", "png"))
    write_list(root, "a\nlost\n")
    write_list(root, "b\n", "val")
    (root / "tags.csv").write_text("image,tags\nsub/A.JPG,ant\nlost,bee\nb,Cow|wasp\nc,ant\na.jpg,bee\nb;c\n")
    settings = DatasetConfig(root=str(root), tags="tags.csv")
    with pytest.raises(UserError) as caught:
        check_dataset(settings, CATEGORIES)
    message = str(caught.value)
    for words in ("line 4: unknown category 'Cow'; write cow", "line 5: no picture 'c'", "line 6: 'a.jpg' is listed"):
        assert words in message
    assert "line 2" not in message.replace("line 2 names that", "") and "line 3" not in message
    (root / "tags.csv").write_bytes("image;tags\r\nsub/A.JPG;ant|cow\r\n".encode("utf-16"))
    assert read_tags(root / "tags.csv", CATEGORIES, root) == {"a": (1, 3)}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ant\nbee\ncow\n", None),
        ("background\nAnt\nbee\n", None),  # the config may add some behind
        ("ant\nbee\ncow\nelk\n", None),
        ("bee\nant\ncow\n", "id 1 is 'ant' here but 'bee' in .*categories.txt"),
        ("ant\ndog\nbee\ncow\n", "id 2 is 'bee' here but 'dog'"),
        ("ant\n\nbee\n", "categories.txt: line 2 is empty"),
    ],
)
def test_ids_of_the_config_are_those_of_categories_txt(root, text, words):
    add(root, "a.jpg", "a.png")
    for name in ("train", "val"):
        write_list(root, "a\n", name)
    (root / "categories.txt").write_text(text)
    if words is None:
        check_dataset(DatasetConfig(root=str(root)), CATEGORIES)
        return
    with pytest.raises(UserError, match=words):
        check_dataset(DatasetConfig(root=str(root)), CATEGORIES)


def test_a_folder_is_listed_once_until_it_changes(root, monkeypatch):
    for number in range(50):
        add(root, f"{number}.jpg", f"{number}.png")
    for folder in (voc.IMAGES, voc.MASKS):
        os.utime(root / folder, (1, 1))
    calls = []
    monkeypatch.setattr(listing, "_names", lambda folder: calls.append(folder) or os.listdir(folder))
    for number in range(50):
        assert voc.image_path(root, str(number)).exists() and voc.find_mask(root, str(number)).exists()
    assert len(calls) == 2
    add(root, "new.jpg")
    assert voc.image_path(root, "new").name == "new.jpg"
    (root / voc.IMAGES / "new.jpg").unlink()
    with pytest.raises(ImageFault, match="no picture 'new'"):
        voc.image_path(root, "new")


def test_a_bucket_is_listed_with_one_call(monkeypatch):
    calls = []
    monkeypatch.setattr(tf.io.gfile, "isdir", lambda path: True)
    monkeypatch.setattr(tf.io.gfile, "listdir", lambda path: calls.append(path) or ["a.JPG", "b.png", "sub/"])
    bucket = "gs://bucket-of-a-test/set"
    assert str(voc.image_path(bucket, "a")) == f"{bucket}/JPEGImages/a.JPG"
    assert voc.find_key(bucket, "B.PNG") == "b" and voc.find_key(bucket, "a.jpeg") == "a"
    assert calls == [f"{bucket}/JPEGImages"]


def test_the_fingerprint_sees_a_mask_of_any_suffix_and_takes_a_collision(root):
    for name in ("a", "b"):
        add(root, f"{name}.JPG", f"{name}.tif", ids=saved(IDS, "TIFF"))
    add(root, "b.png")
    for name in ("train", "val"):
        write_list(root, "a\nb\nlost\n", name)
    before = fingerprint(DatasetConfig(root=str(root)))
    assert fingerprint(DatasetConfig(root=str(root))) == before
    os.utime(root / voc.MASKS / "a.tif", (1, 1))
    assert fingerprint(DatasetConfig(root=str(root))) != before
