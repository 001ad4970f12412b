"""The folders that people begin with: discs, yellow ones with masks and pink ones with tags, in five formats.

Of the pink pictures four have masks too, which is what a person draws to know the score; CVAT knows no tags, so there
all have.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from discs import COLOURS
from PIL import Image

from components.dataset_import.brush import brush_rle

NAMES = ("yellow", "pink")


@dataclass(frozen=True)
class Shot:
    """A picture: its name, uint8 [H, W, 3], mask uint8 [H, W] of 0, 1 (yellow) and 2 (pink), whether that is known."""

    name: str
    image: np.ndarray
    mask: np.ndarray
    masked: bool

    @property
    def category(self) -> str:
        return NAMES[int(self.mask.max()) - 1]


def draw_shots(count: int = 80) -> list[Shot]:
    rng, shots, pink = np.random.default_rng(0), [], 0
    for index in range(count):
        image, mask = np.full((96, 120, 3), 70, np.uint8), np.zeros((96, 120), np.uint8)
        category = 2 if index % 5 > 2 else 1
        for _ in range(2):
            centre, radius = (int(rng.integers(16, 104)), int(rng.integers(16, 80))), int(rng.integers(12, 18))
            cv2.circle(image, centre, radius, COLOURS[category], -1)
            cv2.circle(mask, centre, radius, category, -1)
        image = (image + rng.normal(0, 20, image.shape)).clip(0, 255).astype(np.uint8)
        pink += category == 2
        shots.append(Shot(f"p{index:02}", image, mask, category == 1 or pink <= 4))
    return shots


def _pictures(shots: list[Shot], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for shot in shots:
        Image.fromarray(shot.image).save(folder / f"{shot.name}.jpg", quality=95)


def plain(shots: list[Shot], folder: Path) -> None:
    """Pictures in images/, masks of some in masks/, a table of tags; nothing says what the ids mean."""
    _pictures(shots, folder / "images")
    (folder / "masks").mkdir()
    for shot in (shot for shot in shots if shot.masked):
        Image.fromarray(shot.mask).save(folder / "masks" / f"{shot.name}.png")
    rows = [f"{shot.name}.jpg,{shot.category}" for shot in shots]
    (folder / "tags.csv").write_text("\n".join(["image,tags", *rows]))


def coco(shots: list[Shot], folder: Path) -> None:
    """Run lengths where the mask is known, boxes elsewhere, a category that nothing shows."""
    _pictures(shots, folder / "images")
    images, annotations = [], []
    for number, shot in enumerate(shots):
        height, width = shot.mask.shape
        images.append({"id": number, "file_name": f"{shot.name}.jpg", "height": height, "width": width})
        one = {"id": number, "image_id": number, "category_id": 1 + NAMES.index(shot.category), "iscrowd": 0}
        x, y, w, h = cv2.boundingRect(shot.mask)
        one |= {"bbox": [x, y, w, h], "area": int((shot.mask > 0).sum())}
        if shot.masked:
            flat = (shot.mask > 0).ravel(order="F").astype(int)
            runs = np.diff([0, *(np.flatnonzero(np.diff(flat)) + 1), flat.size]).tolist()
            one["segmentation"] = {"size": [height, width], "counts": runs if not flat[0] else [0, *runs]}
        annotations.append(one)
    categories = [{"id": i, "name": name} for i, name in enumerate((*NAMES, "zebra"), start=1)]
    (folder / "annotations").mkdir()
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations" / "instances_default.json").write_text(json.dumps(content))


def cvat(shots: list[Shot], folder: Path) -> None:
    """The archive unpacked into a folder of its own."""
    place = folder / "task_1_segmentation mask 1.1"
    _pictures(shots, place / "JPEGImages")
    (place / "SegmentationClass").mkdir()
    colours = np.array([(0, 0, 0), (250, 250, 55), (255, 96, 55)], np.uint8)
    for shot in shots:
        Image.fromarray(colours[shot.mask]).save(place / "SegmentationClass" / f"{shot.name}.png")
    lines = [f"{name}:{','.join(map(str, c))}::" for name, c in zip(("background", *NAMES), colours, strict=True)]
    (place / "labelmap.txt").write_text("# label:color_rgb:parts:actions\n" + "\n".join(lines) + "\n")


def label_studio(shots: list[Shot], folder: Path) -> None:
    """Brush strokes and choices; the JSON beside the folder of pictures, in a folder of the project's."""
    _pictures(shots, folder / "uploads" / "batch 1")
    tasks = []
    for number, shot in enumerate(shots):
        size = {"original_height": shot.mask.shape[0], "original_width": shot.mask.shape[1]}
        result = {**size, "type": "choices", "value": {"choices": [shot.category]}}
        if shot.masked:
            value = {"format": "rle", "rle": brush_rle(shot.mask > 0), "brushlabels": [shot.category]}
            result = {**size, "type": "brushlabels", "value": value}
        url = f"/data/local-files/?d=batch%201/{shot.name}.jpg"
        made = [{"id": number, "result": [result], "updated_at": "2030"}]
        tasks.append({"id": number, "data": {"image": url}, "annotations": made})
    (folder / "project-7").mkdir()
    (folder / "project-7" / "project-7-at-2030.json").write_text(json.dumps(tasks))


def labelme(shots: list[Shot], folder: Path) -> None:
    """Polygons where the mask is known, rectangles elsewhere."""
    _pictures(shots, folder)
    for shot in shots:
        outlines, _ = cv2.findContours(shot.mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        x, y, w, h = cv2.boundingRect(shot.mask)
        drawn = [("polygon", outline[:, 0].tolist()) for outline in outlines]
        drawn = drawn if shot.masked else [("rectangle", [[x, y], [x + w, y + h]])]
        shapes = [{"label": shot.category, "points": points, "shape_type": kind} for kind, points in drawn]
        height, width = shot.mask.shape
        content = {"imagePath": f"{shot.name}.jpg", "imageHeight": height, "imageWidth": width, "shapes": shapes}
        (folder / f"{shot.name}.json").write_text(json.dumps(content))


FOLDERS = {"plain": plain, "coco": coco, "cvat": cvat, "label_studio": label_studio, "labelme": labelme}
