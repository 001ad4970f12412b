"""Writes the same samples in every format that `transferseg import` reads; a writer returns the reader's contents."""

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image
from pycocotools import mask as rle
from scipy.io import savemat

from components.dataset_import.brush import brush_rle
from components.dataset_import.coco import read_coco
from components.dataset_import.folders import read_cvat, read_folder
from components.dataset_import.label_studio import read_label_studio
from components.dataset_import.tfrecords import read_tfrecords
from components.dataset_import.voc_folders import read_sbd, read_voc
from trainer.data import features
from trainer.data.categories import VOC, palette


@dataclass(frozen=True)
class Original:
    """A sample of VOC: mask uint8 [H, W] of ids and 255."""

    key: str
    image: bytes
    mask: np.ndarray

    @property
    def ids(self):
        return [int(i) for i in np.unique(self.mask) if i not in (0, 255)]

    @property
    def tags(self):
        return [VOC[i - 1] for i in self.ids]


def drawn_originals(count=4):
    rng = np.random.default_rng(0)
    originals = []
    for number in range(count):
        height, width = 40 + number, 60 - number
        mask = np.zeros((height, width), np.uint8)
        for _ in range(3):
            top, left = rng.integers(0, height - 12), rng.integers(0, width - 12)
            mask[top : top + 12, left : left + 12] = rng.integers(1, 21)
        mask[:2] = 255
        data = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(data, "JPEG")
        originals.append(Original(f"drawn_{number}", data.getvalue(), mask))
    return originals


def real_originals(root: Path, count=8):
    folder = root / "voc12_ps20"
    keys = (folder / "ImageSets/Segmentation/train.txt").read_text().split()[:count]
    return [
        Original(
            key,
            (folder / "JPEGImages" / f"{key}.jpg").read_bytes(),
            np.array(Image.open(folder / "SegmentationClass" / f"{key}.png")),
        )
        for key in keys
    ]


def write_images(originals, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for one in originals:
        (folder / f"{one.key}.jpg").write_bytes(one.image)
    return folder


def write_masks(originals, folder, coloured=False):
    folder.mkdir(parents=True, exist_ok=True)
    for one in originals:
        image = Image.fromarray(palette()[one.mask]) if coloured else Image.fromarray(one.mask, "P")
        if not coloured:
            image.putpalette(palette().tobytes())
        image.save(folder / f"{one.key}.png")
    return folder


def voc(originals, folder):
    write_images(originals, folder / "JPEGImages")
    write_masks(originals, folder / "SegmentationClass")
    (folder / "ImageSets/Segmentation").mkdir(parents=True)
    (folder / "ImageSets/Segmentation/all.txt").write_text("".join(f"{one.key}\n" for one in originals))
    return read_voc(str(folder), None, "all")


def pictures_with_masks(originals, folder):
    write_images(originals, folder / "images")
    write_masks(originals, folder / "masks")
    return read_folder(str(folder / "images"), str(folder / "masks"), None, VOC)


def pictures_with_coloured_masks(originals, folder):
    write_images(originals, folder / "images")
    write_masks(originals, folder / "masks", coloured=True)
    return read_folder(str(folder / "images"), str(folder / "masks"), None, VOC)


def sbd(originals, folder):
    write_images(originals, folder / "img")
    (folder / "cls").mkdir()
    for one in originals:
        savemat(folder / "cls" / f"{one.key}.mat", {"GTcls": {"Segmentation": one.mask}})
    return read_sbd(str(folder), None)


def cvat(originals, folder):
    write_images(originals, folder / "JPEGImages")
    write_masks(originals, folder / "SegmentationClass", coloured=True)
    colours = palette()
    names = {"background": 0} | {name: i for i, name in enumerate(VOC, start=1)} | {"void": 255}
    lines = [f"{name}:{','.join(map(str, colours[i]))}::" for name, i in names.items()]
    (folder / "labelmap.txt").write_text("# label:color_rgb:parts:actions\n" + "\n".join(lines) + "\n")
    return read_cvat(str(folder))


def _coco(originals, annotations):
    images = [
        {"id": i, "file_name": f"{one.key}.jpg", "height": one.mask.shape[0], "width": one.mask.shape[1]}
        for i, one in enumerate(originals)
    ]
    categories = [{"id": 10 * i, "name": name} for i, name in enumerate(VOC, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def coco_instances(originals, folder):
    """Packed run lengths for even ids, plain ones for odd; void is a crowd."""
    write_images(originals, folder / "images")
    annotations = []
    for i, one in enumerate(originals):
        for value in [*one.ids, *([255] if (one.mask == 255).any() else [])]:
            inside = one.mask == value
            packed = rle.encode(np.asfortranarray(inside.astype(np.uint8)))
            counts = packed["counts"].decode()
            if value % 2:
                columns = inside.ravel(order="F").astype(np.int8)
                edges = np.flatnonzero(np.diff(columns)) + 1
                counts = np.diff([0, *edges, len(columns)]).tolist()
                counts = [0, *counts] if columns[0] else counts
            annotations.append(
                {
                    "image_id": i,
                    "category_id": 10 if value == 255 else 10 * value,
                    "iscrowd": int(value == 255),
                    "area": int(inside.sum()),
                    "segmentation": {"size": list(inside.shape), "counts": counts},
                }
            )
    (folder / "instances.json").write_text(json.dumps(_coco(originals, annotations)))
    return read_coco(str(folder / "instances.json"), str(folder / "images"))


def coco_panoptic(originals, folder):
    """Segment ids above 255 need two colours; stuff counts as background."""
    write_images(originals, folder / "images")
    (folder / "panoptic").mkdir()
    annotations = []
    for i, one in enumerate(originals):
        ids = np.where(one.mask == 0, 999, 1000 * one.mask.astype(np.int64) + 7)
        pixels = np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "panoptic" / f"{one.key}.png")
        segments = [{"id": 1000 * v + 7, "category_id": 10 * v, "iscrowd": 0} for v in one.ids]
        segments += [{"id": 999, "category_id": 9999, "iscrowd": 0}]
        segments += [{"id": 255007, "category_id": 10, "iscrowd": 1}]
        annotations.append({"image_id": i, "file_name": f"{one.key}.png", "segments_info": segments})
    data = _coco(originals, annotations)
    data["categories"] = [{**entry, "isthing": 1} for entry in data["categories"]]
    data["categories"].append({"id": 9999, "name": "sky", "isthing": 0})
    (folder / "panoptic.json").write_text(json.dumps(data))
    return read_coco(str(folder / "panoptic.json"), str(folder / "images"), str(folder / "panoptic"))


def tfrecord(originals, folder):
    """Ours, packed."""
    with tf.io.TFRecordWriter(str(folder / "data.tfrecord.gz"), "GZIP") as writer:
        for one in originals:
            png = tf.io.encode_png(one.mask[..., None]).numpy()
            example = features.make_example(one.key, one.image, *one.mask.shape, one.ids, png, features.HUMAN)
            writer.write(example.SerializeToString())
    return read_tfrecords(str(folder / "*.tfrecord.gz"), VOC)


def tfrecord_of_deeplab(originals, folder):
    def text(value):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    with tf.io.TFRecordWriter(str(folder / "train-00000-of-00001.tfrecord")) as writer:
        for one in originals:
            feature = {
                "image/encoded": text(one.image),
                "image/filename": text(one.key.encode()),
                "image/segmentation/class/encoded": text(tf.io.encode_png(one.mask[..., None]).numpy()),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    return read_tfrecords(str(folder / "train-*.tfrecord"), VOC)


def label_studio_brush(originals, folder):
    """Uploads with a prefix; strokes as run lengths."""
    write_images(originals, folder)
    return read_label_studio(_tasks(originals, folder, strokes=True), str(folder))


def label_studio_pngs(originals, folder):
    write_images(originals, folder)
    (folder / "pngs").mkdir()
    for i, one in enumerate(originals):
        for value in one.ids:
            name = f"task-{i}-annotation-{i}-by-1-tag-{VOC[value - 1]}-0.png"
            Image.fromarray(np.where(one.mask == value, 255, 0).astype(np.uint8)).save(folder / "pngs" / name)
    return read_label_studio(_tasks(originals, folder, strokes=False), str(folder), str(folder / "pngs"))


def _tasks(originals, folder, strokes):
    tasks = []
    for i, one in enumerate(originals):
        height, width = one.mask.shape
        size = {"original_height": height, "original_width": width}
        result = [{**size, "type": "choices", "value": {"choices": one.tags}}]
        for value in one.ids if strokes else ():
            stroke = {"format": "rle", "rle": brush_rle(one.mask == value), "brushlabels": [VOC[value - 1]]}
            result.append({**size, "type": "brushlabels", "value": stroke})
        old = {"updated_at": "2020", "result": [{**size, "type": "choices", "value": {"choices": []}}]}
        new = {"updated_at": "2021", "result": result}
        url = f"/data/upload/1/0123abcd-{one.key}.jpg"
        tasks.append({"id": i, "data": {"image": url}, "annotations": [new, old]})
    path = folder / "export.json"
    path.write_text(json.dumps(tasks))
    return str(path)


WITHOUT_VOID = (label_studio_brush, label_studio_pngs)
FORMATS = (
    voc,
    pictures_with_masks,
    pictures_with_coloured_masks,
    sbd,
    cvat,
    coco_instances,
    coco_panoptic,
    tfrecord,
    tfrecord_of_deeplab,
    *WITHOUT_VOID,
)
