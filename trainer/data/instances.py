"""Masks to objects: connected regions of one category, the boxes around them and their outlines (scikit-image)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from skimage.measure import approximate_polygon, find_contours, label, regionprops

from trainer.data.boxes import TagBox
from trainer.data.masks import ids_in


@dataclass(frozen=True)
class Instance:
    """A connected region of one category; pixels that touch at a corner are connected.

    Attributes:
      box: its tag, and the smallest box around it.
      pixels: bool [y2 - y1, x2 - x1], within the box.
    """

    box: TagBox
    pixels: np.ndarray

    @property
    def area(self) -> int:
        return int(self.pixels.sum())

    def inside(self, size: tuple[int, int]) -> np.ndarray:
        """bool [H, W], in the whole picture."""
        _, x1, y1, x2, y2 = map(int, self.box)
        whole = np.zeros(size, bool)
        whole[y1:y2, x1:x2] = self.pixels
        return whole

    def outlines(self, tolerance: float) -> list[list[float]]:
        """Polygons x, y, x, y, ... in pixels of the picture, corners of pixels at whole numbers; holes are filled.

        Args:
          tolerance: pixels by which a simplified outline may miss the region's.
        """
        _, x1, y1, _, _ = self.box
        found = []
        for line in find_contours(np.pad(self.pixels, 1).astype(float), 0.5, fully_connected="high"):
            y, x = line[:-1].T  # the last point is the first one again
            if np.dot(x, np.roll(y, 1)) > np.dot(y, np.roll(x, 1)):  # a hole runs the other way round
                continue
            rough = approximate_polygon(line, tolerance)[:-1]
            points = rough if len(rough) > 2 else line[:-1]
            # A middle lies half a pixel from the corner, and the border of zeros shifted all by one.
            found.append((points[:, ::-1] - 0.5 + (x1, y1)).ravel().tolist())
        return found


def instances(mask: np.ndarray, min_pixels: int = 1) -> list[Instance]:
    """The connected regions of every category, by ascending id.

    Args:
      mask: uint8 [H, W] of ids; background and void are no objects.
      min_pixels: smaller regions are left out, but for the largest of each category.
    """
    found = []
    for tag in ids_in(mask):
        regions = regionprops(label(mask == tag, connectivity=2))
        largest = max(regions, key=lambda region: region.area)
        for region in regions:
            if region.area >= min_pixels or region is largest:
                y1, x1, y2, x2 = region.bbox
                found.append(Instance(TagBox(tag, x1, y1, x2, y2), region.image))
    return found
