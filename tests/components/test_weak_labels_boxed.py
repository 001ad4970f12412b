"""Boxes in the label core: where labels may be, what every box gets, and the mathematics beside plain loops."""

import numpy as np
import pytest
from test_weak_labels_core import iou, scene

from components.weak_labels.core import boxed
from components.weak_labels.core.boxed import box_scores, box_seeds, cut_at, keep_inside
from components.weak_labels.core.label_config import LabelConfig
from components.weak_labels.core.label_image import describe, label_image
from components.weak_labels.core.seeds import find_seeds
from trainer.data.boxes import TagBox, pixels_of
from trainer.data.categories import VOID
from trainer.data.instances import instances

SETTINGS = LabelConfig()


def boxes_of(truth):
    return [one.box for one in instances(truth)]


def random_boxes(rng, count, tags, height=240, width=320):
    found = []
    for _ in range(count):
        (x1, x2), (y1, y2) = np.sort(rng.uniform(0, width, 2)), np.sort(rng.uniform(0, height, 2))
        found.append(TagBox(int(rng.choice(tags)), x1, y1, x2, y2))
    return found


def test_boxes_find_the_objects_that_activations_miss():
    """Activations of the two tags are swapped: tags alone are wrong everywhere, boxes put them right."""
    image, objectness, activations, truth = scene()
    swapped = np.ascontiguousarray(activations[..., ::-1])
    alone = label_image(image, objectness, swapped, [3, 7], SETTINGS)
    with_boxes = label_image(image, objectness, swapped, [3, 7], SETTINGS, boxes_of(truth))
    assert max(iou(alone.mask, truth, label) for label in (3, 7)) < 0.2
    assert min(iou(with_boxes.mask, truth, label) for label in (0, 3, 7)) > 0.9
    assert with_boxes.box_shares == pytest.approx([np.pi / 4] * 2, abs=0.05) and with_boxes.confidence > 0


def test_without_objectness_boxes_still_say_something():
    image, _, activations, truth = scene()
    nothing = np.zeros(truth.shape, np.float32)
    mask = label_image(image, nothing, activations, [3, 7], SETTINGS, boxes_of(truth)).mask
    assert min(iou(mask, truth, label) for label in (3, 7)) > 0.7


@pytest.mark.parametrize("formulation", ["discounted", "truncated", "random_walk"])
@pytest.mark.parametrize("seed", range(4))
def test_no_label_lies_outside_the_boxes_of_its_tag(formulation, seed):
    rng = np.random.default_rng(seed)
    image, objectness, activations, _ = scene()
    boxes = random_boxes(rng, 1 + 2 * seed, [3, 7])
    settings = LabelConfig(formulation=formulation)
    result = label_image(image, objectness, activations, [3, 7], settings, boxes)
    for tag in {box.tag for box in boxes}:
        inside = np.zeros(result.mask.shape, bool)
        for box in boxes:
            if box.tag == tag:
                inside[pixels_of(box, inside.shape)] = True
        assert not (result.mask[~inside] == tag).any()
    for box, share in zip(boxes, result.box_shares, strict=True):
        assert share == pytest.approx((result.mask[pixels_of(box, result.mask.shape)] == box.tag).mean())
        if all(other is box or other.x2 <= box.x1 or box.x2 <= other.x1 for other in boxes):
            assert share > 0  # nobody else wanted its pixels
    again = label_image(image, objectness, activations, [3, 7], settings, boxes)
    np.testing.assert_array_equal(result.mask, again.mask)


def test_a_tag_without_boxes_is_where_it_would_be():
    image, objectness, activations, truth = scene()
    [first, _] = boxes_of(truth)
    mask = label_image(image, objectness, activations, [3, 7], SETTINGS, [first]).mask
    assert min(iou(mask, truth, label) for label in (3, 7)) > 0.85


def test_what_is_outside_all_boxes_of_all_tags_is_background_and_never_void():
    image, objectness, activations, truth = scene()
    boxes = boxes_of(truth)
    wide = LabelConfig(ignore_band=0.4)
    mask = label_image(image, objectness, activations, [3, 7], wide, boxes).mask
    outside = np.ones(truth.shape, bool)
    for box in boxes:
        outside[pixels_of(box, truth.shape)] = False
    assert (mask[outside] == 0).all() and (mask[~outside] == VOID).any()


@pytest.mark.parametrize("side", [0.2, 1, 3, 8])
def test_even_a_small_box_gets_pixels(side):
    image, objectness, activations, _ = scene()
    boxes = [TagBox(3, 10.3, 200.4, 10.3 + side, 200.4 + side), TagBox(7, 300, 10, 300 + side, 10 + side)]
    result = label_image(image, 0 * objectness, 0 * activations, [3, 7], SETTINGS, boxes)
    assert min(result.box_shares) > 0 and set(np.unique(result.mask)) <= {0, 3, 7, VOID}


def test_of_two_equal_boxes_the_one_left_empty_is_told():
    image, objectness, activations, truth = scene()
    first = boxes_of(truth)[0]
    result = label_image(image, objectness, activations, [3, 7], SETTINGS, [first, first._replace(tag=7)])
    found = [bool((result.mask == tag).any()) for tag in (3, 7)]
    assert [share > 0 for share in result.box_shares] == found and any(found)


@pytest.mark.parametrize("height, width", [(1, 1), (3, 3), (1, 5000), (7, 2)])
def test_odd_sizes(height, width):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    maps = np.linspace(0, 1, height * width, dtype=np.float32).reshape(height, width, 1)
    boxes = [TagBox(5, 0, 0, width / 2, height), TagBox(5, 0, 0, width, height)]
    mask = label_image(image, maps[..., 0], maps, [5], SETTINGS, boxes).mask
    assert mask.shape == (height, width) and set(np.unique(mask)) <= {0, 5, 255}


def test_a_box_of_another_tag_is_refused():
    image, objectness, activations, _ = scene()
    with pytest.raises(ValueError, match=r"boxes must be of the tags \[3, 7\], not \[4\]"):
        label_image(image, objectness, activations, [3, 7], SETTINGS, [TagBox(4, 0, 0, 9, 9)])


def test_superpixels_are_cut_where_boxes_end():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 7, (24, 32))
    boxes = random_boxes(rng, 5, [3, 7], 48, 64)
    cut, regions = cut_at(labels, boxes, [3, 7], (48, 64))
    members = np.zeros((5, 24, 32), bool)
    for member, box in zip(members, boxes, strict=True):
        member[pixels_of(box, (24, 32), (0.5, 0.5))] = True
    kinds = {}
    for y in range(24):
        for x in range(32):
            kinds.setdefault((labels[y, x], *members[:, y, x]), set()).add(cut[y, x])
            np.testing.assert_array_equal(regions.inside[cut[y, x]], members[:, y, x])
    assert all(len(found) == 1 for found in kinds.values()) and len(kinds) == cut.max() + 1
    assert regions.tags.tolist() == [[3, 7].index(box.tag) for box in boxes]
    np.testing.assert_allclose(regions.area, [(b.x2 - b.x1) * (b.y2 - b.y1) for b in boxes])
    np.testing.assert_array_equal(regions.allowed(3)[:, 2], True)


def test_many_boxes_do_not_cut_a_picture_into_ever_more_superpixels(monkeypatch):
    """Along the smallest boxes still; every box has one at least, and labels keep to the boxes."""
    image, objectness, activations, _ = scene()
    rng = np.random.default_rng(1)
    boxes = random_boxes(rng, 40, [3, 7])
    labels = np.kron(np.arange(48).reshape(6, 8), np.ones((40, 40), int))
    free, _ = cut_at(labels, boxes, [3, 7], labels.shape)
    monkeypatch.setattr(boxed, "_MOST", 400)
    cut, regions = cut_at(labels, boxes, [3, 7], labels.shape)
    assert free.max() > 900 and 100 < cut.max() < 400 and len(np.unique(cut)) == cut.max() + 1
    assert regions.inside.any(0).all()
    for index in np.argsort(regions.area)[:2]:
        member = np.zeros(labels.shape, bool)
        member[pixels_of(boxes[index], labels.shape, (1, 1))] = True
        np.testing.assert_array_equal(regions.inside[cut, index], member)
    mask = label_image(image, objectness, activations, [3, 7], SETTINGS, boxes).mask
    for tag in (3, 7):
        allowed = np.zeros(mask.shape, bool)
        for box in boxes:
            if box.tag == tag:
                allowed[pixels_of(box, mask.shape, (1, 1))] = True
        assert allowed[mask == tag].all() and (mask == tag).any()


def test_a_place_counts_most_in_the_middle_and_least_in_the_corners():
    labels = np.arange(81).reshape(9, 9)
    _, regions = cut_at(labels, [TagBox(1, 0, 0, 90, 45)], [1], (45, 90))
    place = regions.prior[:, 0].reshape(9, 9)
    np.testing.assert_allclose(place, place[::-1, ::-1])
    assert place[4, 4] == place.max() > 0.85 and place[0, 0] == place.min() < 0.25
    assert 0.4 < place[4, 0] < 0.6 and 0.4 < place[0, 4] < 0.6


def parts():
    image, objectness, activations, truth = scene()
    boxes = boxes_of(truth)
    regions = describe(image, objectness, activations, [3, 7], SETTINGS, boxes)
    return regions, find_seeds(regions.activations, regions.objectness, SETTINGS)


def test_scores_are_weighed_log_odds():
    regions, _ = parts()
    boxes, lab = regions.boxes, regions.lab
    share = np.random.default_rng(0).uniform(0, 1, boxes.inside.shape)
    found = box_scores(boxes, lab, share)

    def odds(p):
        p = min(max(p, 0.02), 0.98)
        return np.log(p) - np.log1p(-p)

    for n in range(0, len(lab), 7):
        middle = outside = middles = outsides = 0.0
        for other in range(len(lab)):
            place = max(boxes.prior[other, b] if boxes.inside[other, b] else 0 for b in range(2))
            like = np.exp(-np.linalg.norm(lab[n] - lab[other]) / 0.05) if other != n else 0
            pixels = np.sum(regions.labels == other)
            middle, middles = middle + like * place**2 * pixels, middles + place**2 * pixels
            if not boxes.inside[other].any():
                outside, outsides = outside + like * pixels, outsides + pixels
        contrast = np.log((middle / middles + 1e-3) / (outside / outsides + 1e-3))
        for b in range(2):
            total = boxed._BIAS + boxed._OF_PRIOR * odds(boxes.prior[n, b]) + boxed._OF_DIFFUSION * odds(share[n, b])
            total += boxed._OF_COLOUR * contrast
            assert found[n, b] == pytest.approx(boxes.inside[n, b] / (1 + np.exp(-total)))


def test_where_boxes_leave_nothing_outside_colours_say_nothing():
    labels = np.arange(16).reshape(4, 4)
    _, regions = cut_at(labels, [TagBox(1, 0, 0, 4, 4)], [1], (4, 4))
    assert not boxed.colour_contrast(regions, np.random.default_rng(0).uniform(0, 1, (16, 3))).any()


def test_seeds_of_boxes_lie_in_them_and_background_s_outside():
    regions, free = parts()
    boxes = regions.boxes
    seeds = box_seeds(boxes, 2, regions.objectness, free)
    assert (seeds.sum(1) <= 1).all() and seeds.any(0).all()
    for index, tag in enumerate(boxes.tags):
        assert (seeds[:, tag] <= boxes.inside[:, boxes.tags == tag].any(1)).all()
        assert (seeds[:, tag] & boxes.inside[:, index]).any()
    np.testing.assert_array_equal(seeds[:, -1], ~boxes.inside.any(1))


def test_pixels_outside_become_background_as_a_loop_has_it():
    rng = np.random.default_rng(1)
    mask = rng.choice(np.array([0, 3, 7, 255], np.uint8), (30, 40))
    for tags in ([3, 7], [3, 7, 9]):
        boxes = [*random_boxes(rng, 2, [3], 30, 40), *random_boxes(rng, 2, [7], 30, 40)]
        found = mask.copy()
        keep_inside(found, boxes, tags)
        inside = {tag: np.zeros(mask.shape, bool) for tag in (3, 7)}
        for box in boxes:
            inside[box.tag][pixels_of(box, mask.shape)] = True
        for y in range(30):
            for x in range(40):
                expected = mask[y, x]
                if expected in inside and not inside[expected][y, x]:
                    expected = 0
                if tags == [3, 7] and not any(one[y, x] for one in inside.values()):
                    expected = 0
                assert found[y, x] == expected
