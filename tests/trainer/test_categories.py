import numpy as np
import pytest

from trainer.data.categories import VOC, VOC_SPLITS, from_lists, named_split, palette
from trainer.errors import UserError


def test_voc_ids_are_alphabetical_from_one():
    categories = named_split("voc-split-1")
    assert categories.num_classes == 21
    assert list(categories.foreground) == sorted(VOC)
    assert categories.id_of("aeroplane") == 1 and categories.id_of("tvmonitor") == 20


@pytest.mark.parametrize(("split", "strong"), [("voc-split-1", 10), ("voc-split-2", 10), ("voc-split-3", 6)])
def test_splits_partition_the_categories(split, strong):
    categories = named_split(split)
    assert len(categories.strong) == strong
    assert set(categories.strong_ids) | set(categories.weak_ids) == set(range(1, 21))
    assert not set(categories.strong_ids) & set(categories.weak_ids)


def test_split_four_keeps_vocs_ids_and_adds_cocos_other_categories():
    categories = named_split("voc-split-4")
    assert categories.num_classes == 81 and categories.weak_ids == tuple(range(1, 21))
    assert categories.strong[0] == "truck" and categories.id_of("truck") == 21 and len(categories.strong) == 60


def test_split_two_mirrors_split_one():
    assert set(VOC_SPLITS["voc-split-1"]) | set(VOC_SPLITS["voc-split-2"]) == set(VOC)
    assert not set(VOC_SPLITS["voc-split-1"]) & set(VOC_SPLITS["voc-split-2"])


def test_an_image_is_weak_if_any_tag_is():
    categories = from_lists(["cat"], ["dog"])
    assert categories.is_weak_image([1, 2]) and categories.is_weak_image([2])
    assert not categories.is_weak_image([1]) and not categories.is_weak_image([])


@pytest.mark.parametrize(
    ("strong", "weak", "order", "words"),
    [
        (["cat"], ["cat"], None, "both strong and weak"),
        (["cat", "cat"], ["dog"], None, "twice"),
        (["cat", "Cat "], ["dog"], None, "in case alone"),
        (["cat"], ["CAT"], None, "both strong and weak"),
        (["cat", " "], ["dog"], None, "categories.strong: a category's name is empty"),
        (["cat"], ["do\x1bg"], None, "categories.weak: .*cannot be printed"),
        (["cat|cow"], [], None, "separates tags"),
        (["cat", "background"], [], None, "background is id 0"),
        (["cat"], ["void"], None, "in masks it is 255"),
        (["c" * 10_000], [], None, "more than 100 letters"),
        (["cat"], ["dog"], ["cat"], "dog"),
        ([], [], None, "split"),
        ([f"s{i}" for i in range(200)], [f"w{i}" for i in range(60)], None, "260"),
    ],
)
def test_bad_lists_are_named(strong, weak, order, words):
    with pytest.raises(UserError, match=words):
        from_lists(strong, weak, order)


def test_names_are_cleaned_and_a_background_at_the_head_is_id_0():
    categories = from_lists(["_background_", " cat", "ku\u0308he"], ["dog"], ["background", "dog", "k\u00fche ", "cat"])
    assert categories.foreground == ("dog", "k\u00fche", "cat") and categories.strong == ("cat", "k\u00fche")


def test_unknown_split_lists_the_known_ones():
    with pytest.raises(UserError, match="voc-split-3"):
        named_split("voc-split-9")


def test_palette_is_vocs():
    colours = palette()
    assert colours[:4].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert colours[20].tolist() == [0, 64, 128] and colours[255].tolist() == [224, 224, 192]
    assert len(np.unique(colours[:21], axis=0)) == 21


def test_rehearsal_makes_every_second_strong_category_weak():
    categories = from_lists(["a", "b", "c"], ["d"])
    assert categories.rehearsal().strong == ("a", "c") and categories.rehearsal().weak == ("b", "d")
    assert categories.rehearsal().foreground == categories.foreground
