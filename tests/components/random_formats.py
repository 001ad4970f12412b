"""Writers of `random_datasets` in every format that is imported, with the damage that each can express."""

import base64
import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import tensorflow as tf
from PIL import Image
from pycocotools import mask as rle
from random_datasets import VOID, encode, outcome, turned_point
from scipy.io import savemat

from components.dataset_import.brush import brush_rle
from components.dataset_import.coco import read_coco
from components.dataset_import.folders import read_cvat, read_folder
from components.dataset_import.label_studio import read_label_studio
from components.dataset_import.labelme import read_labelme
from components.dataset_import.tfrecords import read_tfrecords
from components.dataset_import.voc_folders import read_sbd, read_voc
from components.dataset_import.yolo import read_yolo
from trainer.data.categories import palette


@dataclass(frozen=True)
class Kind:
    """A format.

    Attributes:
      write: (pictures, names, folder) -> what reads it, or a copy of it.
      forms: how it draws things -> where they are: "drawn", or void: in their "box", "all" over, or "nothing".
      damages: of things -> where they are void: where they are drawn, in their "box" or "all" over.
      pictures: damages of pictures that it can express.
      by_area: large things are drawn first.
      is_mask: things are pixels of a mask file.
      by_stem: pictures are told apart by their stems alone, in any case.
      prefix: of the names of its pictures, in what the import says of them.
      files: patterns of the files that say what is what.
    """

    write: Callable
    files: tuple[str, ...]
    pictures: tuple[str, ...] = ("gone", "broken", "empty")
    forms: Mapping[str, str] = field(default_factory=lambda: {"polygon": "drawn"})
    damages: Mapping[str, str] = field(default_factory=dict)
    by_area: bool = False
    is_mask: bool = False
    tags_only: bool = False
    by_stem: bool = True
    prefix: str = ""

    def takes(self, pictures):
        """The same pictures with the forms and the damage that it can express, each told apart from the others."""
        found = {}
        for picture in pictures:
            things = tuple(
                replace(
                    thing,
                    form=thing.form if thing.form in self.forms else "polygon",
                    damage=thing.damage if thing.damage in self.damages else None,
                )
                for thing in picture.things
            )
            damage = picture.damage if picture.damage in self.pictures else None
            taken = replace(picture, things=things, damage=damage)
            key = picture.stem.casefold() if self.by_stem else picture.name
            key = key.replace("a\u0308", "ä") if self.by_stem else key
            found.setdefault(key, taken)
        return list(found.values())


def _put(folder, name, data):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if data is not None:
        path.write_bytes(data)


def _put_pictures(pictures, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        _put(folder, picture.name, picture.on_disk())


def _runs(inside):
    """bool [H, W] -> COCO's run lengths, as a list."""
    columns = np.concatenate([[0], inside.ravel(order="F"), [1 - inside[-1, -1]]]).astype(int)
    return np.diff([0, *np.flatnonzero(np.diff(columns))]).tolist()


def _coco(pictures, names, folder):
    _put_pictures(pictures, folder / "images")
    images, annotations = [], []
    for number, picture in enumerate(pictures, start=1):
        orientation = 1 if picture.turns_sides and picture.seed % 2 else picture.orientation
        width, height = picture.size if orientation < 5 else picture.size[::-1]
        images.append({"id": number, "file_name": picture.name, "height": height, "width": width})
        for thing in picture.things:
            points = [turned_point(*corner, orientation, picture.size) for corner in thing.corners]
            x0, y0, x1, y1 = (*np.min(points, 0).tolist(), *np.max(points, 0).tolist())
            one = {"id": len(annotations), "image_id": number, "category_id": 7 * thing.category + 3}
            one |= {"bbox": [x0, y0, x1 - x0, y1 - y0], "segmentation": [np.ravel(points).tolist()]}
            if picture.seed % 3:
                one["area"] = thing.area
            inside = np.logical_or(*picture.inside(thing))
            inside = picture.stored(inside) if orientation > 1 else inside
            if thing.form == "runs" or thing.damage == "runs":
                one["segmentation"] = {"size": [height, width], "counts": _runs(inside)}
                if picture.seed % 2:
                    packed = rle.encode(np.asfortranarray(inside.astype(np.uint8)))
                    one["segmentation"]["counts"] = packed["counts"].decode()
            elif thing.form in ("box", "tag"):
                del one["segmentation"]
            if thing.form == "tag" and not thing.damage:
                del one["bbox"]
            if thing.damage == "two points":
                one["segmentation"] = [np.ravel([points[0], points[2]]).tolist()]
            elif thing.damage == "nan":
                one |= {"segmentation": [[*np.ravel(points[:-1]).tolist(), float("nan"), 1]]}
            elif thing.damage == "far":
                one["segmentation"] = [[*np.ravel(points[:-1]).tolist(), 1e9, 1]]
            elif thing.damage == "label":
                one |= {"segmentation": [np.ravel(points).tolist()], "category_id": 9999}
            elif thing.damage == "runs":
                one["segmentation"]["counts"] = _runs(inside)[:-1] or [3]
            elif thing.damage == "orphan":
                one["image_id"] = 77
            annotations.append(one)
    categories = [{"id": 7 * i + 3, "name": name} for i, name in enumerate(names)]
    data = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(data))
    return lambda folder: read_coco(str(folder / "instances.json"), str(folder / "images"))


def _panoptic(pictures, names, folder):
    _put_pictures(pictures, folder / "images")
    images, annotations = [], []
    for number, picture in enumerate(pictures, start=1):
        images.append({"id": number, "file_name": picture.name})
        numbers = _ids(picture, names).astype(np.int64) * 1000
        numbers[numbers == 0] = 999  # stuff; 0 is void
        pixels = np.stack([numbers % 256, numbers // 256 % 256, numbers // 65536], -1).astype(np.uint8)
        _put(folder / "masks", f"{number}.png", _mask_file(picture, Image.fromarray(pixels)))
        used = np.unique(numbers[numbers > 0]).tolist()
        segments = [{"id": i, "category_id": i // 1000, "iscrowd": int(i == 1000 * VOID)} for i in used]  # 999: 0
        annotations.append({"image_id": number, "file_name": f"{number}.png", "segments_info": segments})
    categories = [{"id": i, "name": name} for i, name in enumerate(names, start=1)]
    categories.append({"id": 0, "name": "sky", "isthing": 0})
    data = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "panoptic.json").write_text(json.dumps(data))
    return lambda folder: read_coco(str(folder / "panoptic.json"), str(folder / "images"), str(folder / "masks"))


def _label_studio(pictures, names, folder):
    _put_pictures(pictures, folder / "images")
    tasks = []
    for number, picture in enumerate(pictures, start=1):
        width, height = picture.size
        results = []
        for thing in picture.things:
            points = [[100 * x / width, 100 * y / height] for x, y in thing.corners]
            x0, y0, x1, y1 = thing.box
            kind, value = "polygonlabels", {"points": points}
            if thing.form == "runs" or thing.damage == "runs":
                kind, value = "brushlabels", {"rle": brush_rle(np.logical_or(*picture.inside(thing)))}
            elif thing.form == "tag" and not thing.damage:
                kind, value = "choices", {}
            elif thing.form == "box":
                corner, side = (100 * x0 / width, 100 * y0 / height), (x1 - x0, y1 - y0)
                kind, value = "rectanglelabels", {"x": corner[0], "y": corner[1]}
                value |= {"width": 100 * side[0] / width, "height": 100 * side[1] / height}
            if thing.damage in ("two points", "nan", "far"):
                kind, value = "polygonlabels", {"points": points}
                value["points"] = {
                    "two points": [points[0], points[2]],
                    "nan": [*points, [float("nan"), 1]],
                    "far": [*points, [1e9, 1]],
                }[thing.damage]
            elif thing.damage == "runs":
                value["rle"] = value["rle"][: len(value["rle"]) // 2]
            value = {**value, kind: [names[thing.category]] if thing.damage != "label" else []}
            one = {"type": kind, "value": value, "original_width": width, "original_height": height}
            results.append(one | ({"image_rotation": 90} if thing.damage == "turned" else {}))
        made = [] if picture.damage == "bare" else [{"id": number, "result": results}]
        tasks.append(
            {"id": number, "data": {"image": f"/data/local-files/?d={quote(picture.name)}"}, "annotations": made}
        )
    (folder / "export.json").write_text(json.dumps(tasks))
    return lambda folder: read_label_studio(str(folder / "export.json"), str(folder / "images"))


def _labelme(pictures, names, folder):
    _put_pictures(pictures, folder)
    for picture in pictures:
        shapes = []
        for thing in picture.things:
            x0, y0, x1, y1 = thing.box
            shape = {"label": names[thing.category], "points": thing.corners, "shape_type": "polygon"}
            if thing.form == "runs" or thing.damage == "runs":
                patch = np.logical_or(*picture.inside(thing))[y0:y1, x0:x1]
                text = base64.b64encode(encode(Image.fromarray(patch), "PNG", 1)).decode()
                text = text[: len(text) // 2] if thing.damage == "runs" else text
                shape |= {"shape_type": "mask", "points": [[x0, y0], [x1 - 1, y1 - 1]], "mask": text}
            elif thing.form == "box":
                shape |= {"shape_type": "rectangle", "points": [[x0, y0], [x1, y1]]}
            if thing.damage in ("two points", "nan", "far"):
                wrong = {"nan": [*thing.corners, [float("nan"), 1]], "far": [*thing.corners, [1e9, 1]]}
                points = wrong.get(thing.damage, [thing.corners[0], thing.corners[2]])
                shape |= {"shape_type": "polygon", "points": points}
            elif thing.damage == "label":
                shape["label"] = None
            shapes.append(shape)
        width, height = picture.size
        data = {"imagePath": picture.name.rpartition("/")[2], "imageHeight": height, "imageWidth": width}
        if picture.damage != "bare":
            _put(folder, f"{picture.stem}.json", json.dumps(data | {"shapes": shapes, "imageData": None}).encode())
    return lambda folder: read_labelme(str(folder))


def _yolo(pictures, names, folder):
    _put_pictures(pictures, folder / "images")
    for picture in pictures:
        lines = []
        for thing in picture.things:
            numbers = (np.array(thing.corners) / picture.size).ravel().tolist()
            category = 99 if thing.damage == "label" else thing.category
            if thing.form == "box" and not thing.damage:
                x0, y0, x1, y1 = np.array(thing.box) / (*picture.size, *picture.size)
                numbers = [(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0]
            wrong = {"two points": numbers[:-1], "nan": [*numbers, "nan", 0.5], "far": [*numbers, 1e9, 0.5]}
            cells = [category, *wrong.get(thing.damage, numbers)]
            lines.append(" ".join(map(str, cells)) if thing.damage != "runs" else "many words")
        _put(folder / "labels", f"{picture.stem}.txt", "".join(f"{line}\n" for line in lines).encode())
    listed = dict(enumerate(names)) if pictures[0].seed % 2 else list(names)
    (folder / "data.yaml").write_text(json.dumps({"names": listed}))
    return lambda folder: read_yolo(str(folder))


def _ids(picture, names):
    """The upright mask of ids of a picture, with damage of a mask's own."""
    found = outcome(replace(picture, damage=None), names, MASKS)
    return np.where(found.mask != 0, 200, 0).astype(np.uint8) if picture.damage == "mask id" else found.mask


def _mask_file(picture, upright, format_="PNG"):
    """The file of an upright mask (an image), stored as the picture is, or upright where that can be told."""
    if picture.damage == "mask size":
        upright = upright.crop((0, 0, upright.width + 1, upright.height))
    form = picture.seed % 3
    orientation = 1 if form == 0 and picture.turns_sides else picture.orientation
    data = encode(upright, format_, orientation, silent=form != 1 or format_ != "PNG")
    return data[: len(data) * 2 // 3] if picture.damage == "mask broken" else data


def _put_masks(pictures, names, folder, seed=0):
    """Palette, grey, grey of 16 bits or TIFF."""
    for picture in pictures:
        ids, look = _ids(picture, names), (picture.seed + seed) % 4
        image = Image.fromarray(ids) if look != 1 else Image.fromarray(ids.astype(np.uint16))
        if look == 0:
            image = Image.fromarray(ids, "P")
            image.putpalette(palette().tobytes())
        suffix, format_ = (".tif", "TIFF") if look == 2 else (".png", "PNG")
        _put(folder, picture.stem + ("_mask" if look == 3 else "") + suffix, _mask_file(picture, image, format_))


def _voc(pictures, names, folder):
    _put_pictures(pictures, folder / "JPEGImages")
    _put_masks(pictures, names, folder / "SegmentationClass")
    _put(folder / "ImageSets/Segmentation", "all.txt", "".join(f"{one.stem}\n" for one in pictures).encode())
    split = "all" if pictures[0].seed % 2 else None
    return lambda folder: read_voc(str(folder), names, split)


def _voc_xml(pictures, names, folder):
    _put_pictures(pictures, folder / "JPEGImages")
    for picture in pictures:
        listed = "".join(f"<object><name>{escape(names[one.category])}</name></object>" for one in picture.things)
        _put(folder / "Annotations", f"{picture.stem}.xml", f"<annotation>{listed}</annotation>".encode())
    return lambda folder: read_voc(str(folder), names, None)


def _sbd(pictures, names, folder):
    _put_pictures(pictures, folder / "img")
    for picture in pictures:
        ids = _ids(picture, names)
        ids = ids if picture.turns_sides and picture.seed % 2 else picture.stored(ids)
        ids = ids[:-1] if picture.damage == "mask size" else ids
        path = folder / "cls" / f"{picture.stem}.mat"
        path.parent.mkdir(parents=True, exist_ok=True)
        savemat(path, {"GTcls": {"Segmentation": ids}})
        if picture.damage == "mask broken":
            path.write_bytes(path.read_bytes()[:150])
    return lambda folder: read_sbd(str(folder), None)


def _coloured(ids, names):
    table = np.array([(0, 0, 0), *((40 * i + 5, 200 - 30 * i, 77) for i in range(254)), (224, 224, 192)]) % 256
    return Image.fromarray(table[ids].astype(np.uint8)), table[: len(names) + 1].tolist()


def _cvat(pictures, names, folder):
    _put_pictures(pictures, folder / "JPEGImages")
    for picture in pictures:
        image, table = _coloured(_ids(picture, names), names)
        _put(folder / "SegmentationClass", f"{picture.stem}.png", _mask_file(picture, image))
    rows = [*zip(["background", *names], table, strict=True), ("void", (224, 224, 192))]
    lines = "".join(f"{name}:{','.join(map(str, colour))}::\n" for name, colour in rows)
    (folder / "labelmap.txt").write_text(f"# label:color_rgb:parts:actions\n{lines}")
    return lambda folder: read_cvat(str(folder))


def _cvat_xml(pictures, names, folder):
    _put_pictures(pictures, folder / "images")
    listed = "".join(f"<label><name>{escape(name)}</name><type>any</type></label>" for name in names)
    parts = [f"<annotations><meta><task><labels>{listed}</labels></task></meta>"]
    for number, picture in enumerate(pictures):
        width, height = picture.size
        entry = {"id": number, "name": picture.name, "width": width, "height": height}
        parts.append(f"<image {_attributes(entry)}>")
        for thing in picture.things if picture.damage != "bare" else ():
            x0, y0, x1, y1 = thing.box
            tag, values = "polygon", {"points": ";".join(f"{x:.2f},{y:.2f}" for x, y in thing.corners)}
            if thing.form == "runs" or thing.damage == "runs":
                flat = np.logical_or(*picture.inside(thing))[y0:y1, x0:x1].ravel()
                runs = np.diff([0, *np.flatnonzero(np.diff(np.concatenate([[False], flat, [not flat[-1]]])))]).tolist()
                runs = runs[:-1] or [99] if thing.damage == "runs" else runs
                values = {"rle": ", ".join(map(str, runs)), "left": x0, "top": y0, "width": x1 - x0, "height": y1 - y0}
                tag = "mask"
            elif thing.form == "box":
                tag, values = "box", {"xtl": f"{x0:.2f}", "ytl": y0, "xbr": x1, "ybr": y1}
            elif thing.form == "tag" and not thing.damage:
                tag, values = "tag", {}
            if thing.damage in ("two points", "nan", "far"):
                points = [f"{x},{y}" for x, y in thing.corners]
                wrong = {"nan": [*points, "nan,1"], "far": [*points, "1e9,1"]}
                tag, values = "polygon", {"points": ";".join(wrong.get(thing.damage, [points[0], points[2]]))}
            label = {"label": "none of them" if thing.damage == "label" else names[thing.category]}
            parts.append(f"<{tag} {_attributes(label | values)}/>")
        parts.append("</image>")
    (folder / "annotations.xml").write_text("\n".join([*parts, "</annotations>"]))
    return lambda folder: read_cvat(str(folder))


def _attributes(values):
    return " ".join(f"{name}={quoteattr(str(value))}" for name, value in values.items())


def _masks(pictures, names, folder):
    _put_pictures(pictures, folder / "images")
    _put_masks(pictures, names, folder / "masks", 1)
    return lambda folder: read_folder(str(folder / "images"), str(folder / "masks"), None, names)


def _tags(pictures, names, folder):
    _put_pictures(pictures, folder / "images")
    with open(folder / "tags.csv", "w", newline="") as file:
        rows = csv.writer(file, delimiter=",;"[pictures[0].seed % 2])
        rows.writerow(("image", "tags"))
        for picture in pictures:
            if picture.damage != "bare":
                rows.writerow((picture.name, "|".join(names[one.category] for one in picture.things)))
    return lambda folder: read_folder(str(folder / "images"), None, str(folder / "tags.csv"), None)


def _tfrecord(pictures, names, folder):
    def feature(value):
        if isinstance(value, bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=value))

    kind, suffix = ("GZIP", ".gz") if pictures[0].seed % 2 else ("", "")
    ours = pictures[0].seed % 3
    with tf.io.TFRecordWriter(f"{folder}/data.tfrecord{suffix}", kind) as writer:
        for picture in pictures:
            ids = _ids(picture, names)
            keys = ("image/key", "mask/encoded") if ours else ("image/filename", "image/segmentation/class/encoded")
            values = {"image/encoded": picture.on_disk(), keys[0]: picture.name.encode()}
            values[keys[1]] = _mask_file(picture, Image.fromarray(ids))
            if ours:
                values["image/tags"] = [int(i) for i in np.unique(ids) if 0 < i < VOID and i <= len(names)]
            example = tf.train.Features(feature={key: feature(value) for key, value in values.items()})
            writer.write(tf.train.Example(features=example).SerializeToString())
    return lambda folder: read_tfrecords(f"{folder}/data.tfrecord*", names)


_OF_MASKS = ("gone", "broken", "empty", "mask size", "mask broken", "mask id")
_DRAWN = {"polygon": "drawn", "runs": "drawn", "box": "box"}
MASKS = Kind(_masks, ("masks/*",), _OF_MASKS, is_mask=True)
KINDS = {
    "coco": Kind(
        _coco,
        ("instances.json",),
        forms=_DRAWN | {"tag": "all"},
        damages={"two points": "box", "nan": "box", "far": "box", "label": "void", "runs": "box", "orphan": ""},
        by_area=True,
        by_stem=False,
    ),
    "panoptic": Kind(_panoptic, ("panoptic.json", "masks/*"), _OF_MASKS, is_mask=True, by_stem=False),
    "label studio": Kind(
        _label_studio,
        ("export.json",),
        ("gone", "broken", "empty", "bare"),
        _DRAWN | {"tag": "nothing"},
        {"two points": "box", "nan": "all", "far": "all", "label": "void", "runs": "all", "turned": "all"},
        by_stem=False,
    ),
    "labelme": Kind(
        _labelme,
        ("*.json",),
        ("gone", "broken", "empty", "bare"),
        _DRAWN,
        {"two points": "box", "nan": "all", "far": "all", "label": "void", "runs": "all"},
    ),
    "yolo": Kind(
        _yolo,
        ("labels/*", "data.yaml"),
        forms={"polygon": "drawn", "box": "box"},
        prefix="images/",
        damages={"two points": "all", "nan": "all", "far": "all", "label": "void", "runs": "all"},
    ),
    "voc": Kind(_voc, ("SegmentationClass/*", "ImageSets/Segmentation/*"), _OF_MASKS, is_mask=True),
    "voc xml": Kind(_voc_xml, ("Annotations/*",), tags_only=True),
    "sbd": Kind(_sbd, ("cls/*",), _OF_MASKS, is_mask=True),
    "cvat": Kind(_cvat, ("labelmap.txt", "SegmentationClass/*"), _OF_MASKS, is_mask=True),
    "cvat xml": Kind(
        _cvat_xml,
        ("annotations.xml",),
        ("gone", "broken", "empty", "bare"),
        _DRAWN | {"tag": "nothing"},
        {"two points": "box", "nan": "all", "far": "all", "label": "void", "runs": "all"},
        by_stem=False,
    ),
    "masks": MASKS,
    "tags": Kind(_tags, ("tags.csv",), ("gone", "broken", "empty", "bare"), tags_only=True, by_stem=False),
    "tfrecord": Kind(_tfrecord, ("data.tfrecord*",), _OF_MASKS[1:], is_mask=True, by_stem=False),
}
