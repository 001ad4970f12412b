"""Objects out of masks: connected regions, their boxes, and polygons that draw them again."""

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from scipy import ndimage

from trainer.data.instances import instances


def scene():
    mask = np.zeros((80, 120), np.uint8)
    cv2.circle(mask, (30, 30), 15, 2, -1)
    cv2.ellipse(mask, (80, 50), (30, 12), 25, 0, 360, 2, -1)
    cv2.rectangle(mask, (100, 5), (115, 20), 1, -1)
    mask[70:75, 10:60] = 255
    return mask


def test_every_connected_region_is_an_object_with_its_box():
    mask = scene()
    found = instances(mask)
    assert [one.box.tag for one in found] == [1, 2, 2]
    again = np.zeros_like(mask)
    for one in found:
        inside = one.inside(mask.shape)
        rows, columns = np.nonzero(inside)
        assert one.box.corners == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert one.area == inside.sum() and ndimage.label(inside, np.ones((3, 3)))[1] == 1
        again[inside] = one.box.tag
    np.testing.assert_array_equal(again, np.where(mask == 255, 0, mask))


def test_specks_are_left_out_unless_they_are_all_there_is():
    mask = scene()
    mask[0, 0] = mask[0, 5] = 2
    mask[60, 0] = 3
    assert [one.box.tag for one in instances(mask, 10)] == [1, 2, 2, 3]


@pytest.mark.parametrize("tolerance", [0, 0.5])
def test_polygons_draw_the_object_again(tolerance):
    mask = scene()
    for one in instances(mask):
        drawn = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(one.outlines(tolerance), *mask.shape))) > 0
        inside = one.inside(mask.shape)
        assert (drawn & inside).sum() / (drawn | inside).sum() > 0.95


def test_a_hole_is_filled_and_gives_no_polygon_of_its_own():
    mask = np.zeros((40, 40), np.uint8)
    cv2.circle(mask, (20, 20), 15, 1, -1)
    cv2.circle(mask, (20, 20), 7, 0, -1)
    [one] = instances(mask)
    assert len(one.outlines(0.5)) == 1


def test_even_one_pixel_has_an_outline_around_its_middle():
    mask = np.zeros((5, 7), np.uint8)
    mask[2, 3] = 4
    [[outline]] = [one.outlines(0.5) for one in instances(mask)]
    points = np.reshape(outline, (-1, 2))
    assert len(points) >= 3
    np.testing.assert_allclose(points.mean(0), (3.5, 2.5))
    assert (np.abs(points - (3.5, 2.5)) <= 0.5).all()
