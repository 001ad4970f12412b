"""Label Studio's JSON: polygons, brush strokes and choices; PNGs of its brush export may stand in for the strokes.

Also the reverse, for labels that people are to look at (`brush_rle`). Its run lengths are thi.ng's rle-pack: 32 bits of
count, 5 of word size - 1, four times 4 of length size - 1, then runs: 1 bit (one value, or every value), 2 bits that
choose a length size, length - 1, and the values. They hold RGBA; alpha is the mask.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import cv2
import numpy as np
import tensorflow as tf

from components.batch.faults import dead_letter
from components.dataset_import.samples import Contents, Sample, join, key_of, read_bytes, read_png
from trainer.errors import ImageFault, UserError

_UPLOAD = re.compile(r"^[0-9a-f]{8}-")  # put before the name of an uploaded file
_PNG = re.compile(r"task-(\d+)-annotation-\d+-by-.*?-tag-(.+)-\d+\.png$")
_LENGTH_SIZES = (3, 4, 8, 16)  # bits


def read_label_studio(annotations: str, images: str, masks: str | None = None) -> Contents:
    """Reads a JSON export. Cancelled annotations are left out; the newest annotation of a task counts.

    Args:
      annotations: the JSON export.
      images: folder of the pictures; the name of an upload is found with and without its prefix.
      masks: folder of the export "brush labels to PNG".

    Raises:
      UserError: not Label Studio's JSON, or no such folder.
    """
    try:
        tasks = json.loads(read_bytes(annotations))
        results = [(task, _newest(task)) for task in tasks]
    except ImageFault as fault:
        raise UserError(str(fault)) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{annotations}: not Label Studio's JSON export (a list of tasks); {error!r}") from None
    pngs = _pngs(masks) if masks else {}
    found = [label for _, result in results for item in result for label in _labels(item)]
    found += [label for painted in pngs.values() for label, _ in painted]
    names = tuple(sorted(set(found)))
    samples, faults = [], []
    for task, result in results:
        source = str(next(iter(task["data"].values()), ""))
        key = key_of(_UPLOAD.sub("", _name(source)) or f"task{task.get('id')}")
        try:
            objects = [(names.index(label) + 1, path) for label, path in pngs.get(int(task.get("id", -1)), [])]
            objects += [] if objects else _objects(result, names)
            tags = {names[index - 1] for index, _ in objects} | {
                label for item in result if item["type"] == "choices" for label in _labels(item)
            }
            if not result and not objects:
                raise ImageFault("tags", "nobody has annotated it")
            size = next(((item["original_height"], item["original_width"]) for item in result), None)
            mask = DrawnMask(objects, size) if objects else None
            samples.append(Sample(key, _find(images, source), tuple(sorted(tags)), mask))
        except ImageFault as fault:
            faults.append(dead_letter(key, fault))
        except (KeyError, TypeError, ValueError) as error:
            faults.append(dead_letter(key, ImageFault("tags", f"its annotation is incomplete: {error!r}")))
    return Contents(names, samples, faults)


@dataclass(frozen=True)
class DrawnMask:
    """(category index, polygon in percent float [N, 2], brush run lengths or path of a PNG), later ones on top."""

    objects: list[tuple[int, Any]]
    size: tuple[int, int] | None  # height, width

    def __call__(self) -> np.ndarray:
        mask = np.zeros(self.size, np.uint8) if self.size else None
        for index, drawing in self.objects:
            if isinstance(drawing, str):
                inside = read_png(drawing)[0] > 0
            elif isinstance(drawing, np.ndarray):
                points = np.round(drawing / 100 * self.size[::-1]).astype(np.int32)
                inside = cv2.fillPoly(np.zeros(self.size, np.uint8), [points], 1) > 0
            else:
                inside = decode_rle(drawing).reshape(*self.size, 4)[..., 3] > 0
            mask = np.zeros(inside.shape, np.uint8) if mask is None else mask
            if inside.shape != mask.shape:
                raise ImageFault("size", f"an annotation is {inside.shape[::-1]}, the image {mask.shape[::-1]}")
            mask[inside] = index
        return mask


def decode_rle(data: list[int]) -> np.ndarray:
    """Label Studio's run lengths (bytes) -> uint8 [count].

    Raises:
      ImageFault: they end too early.
    """
    bits = "".join(f"{byte:08b}" for byte in data)
    place = 0

    def read(size: int) -> int:
        nonlocal place
        place += size
        if place > len(bits):
            raise ImageFault("decode", "a brush stroke's run lengths end too early")
        return int(bits[place - size : place], 2)

    count, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    values = np.zeros(count, np.uint8)
    at = 0
    while at < count:
        one_value = read(1)
        end = at + 1 + read(sizes[read(2)])
        if one_value:
            values[at:end] = read(word)
        else:
            for i in range(at, min(end, count)):
                values[i] = read(word)
        at = end
    return values


def brush_rle(mask: np.ndarray) -> list[int]:
    """bool [H, W] -> Label Studio's run lengths, all four channels 255 inside."""
    values = np.repeat(mask.ravel().astype(np.uint8) * 255, 4)
    edges = np.concatenate([[0], np.flatnonzero(np.diff(values)) + 1, [len(values)]])
    bits = [f"{len(values):032b}", f"{8 - 1:05b}", *(f"{size - 1:04b}" for size in _LENGTH_SIZES)]
    for start, end in zip(edges[:-1], edges[1:], strict=True):
        for piece in range(start, end, 1 << _LENGTH_SIZES[-1]):
            length = min(end - piece, 1 << _LENGTH_SIZES[-1])
            choice = next(i for i, size in enumerate(_LENGTH_SIZES) if length <= 1 << size)
            bits.append(f"1{choice:02b}{length - 1:0{_LENGTH_SIZES[choice]}b}{values[start]:08b}")
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return [int(text[i : i + 8], 2) for i in range(0, len(text), 8)]


def _newest(task: dict) -> list[dict]:
    done = [entry for entry in task.get("annotations", []) if not entry.get("was_cancelled")]
    return max(done, key=lambda entry: str(entry.get("updated_at", "")))["result"] if done else []


def _labels(item: dict) -> list[str]:
    """The names an item of a result gives: its value holds them under its type."""
    return list(item["value"].get(item["type"], [])) if item["type"] in _TYPES else []


_TYPES = ("polygonlabels", "brushlabels", "choices")


def _objects(result: list[dict], names: tuple[str, ...]) -> list[tuple[int, Any]]:
    objects = []
    for item in result:
        if item["type"] in ("polygonlabels", "brushlabels"):
            [label] = _labels(item)
            value = item["value"]
            drawing = np.array(value["points"], float) if item["type"] == "polygonlabels" else value["rle"]
            objects.append((names.index(label) + 1, drawing))
    return objects


def _pngs(folder: str) -> dict[int, list[tuple[str, str]]]:
    """task id -> (label, path) of the PNGs of a brush export."""
    if not tf.io.gfile.isdir(folder):
        raise UserError(f"--masks: no folder {folder}")
    found: dict[int, list[tuple[str, str]]] = {}
    for name in sorted(tf.io.gfile.listdir(folder)):
        if match := _PNG.match(name):
            found.setdefault(int(match[1]), []).append((match[2], join(folder, name)))
    return found


def _name(source: str) -> str:
    """File name of a task's picture: "/data/upload/1/ab12cd34-x.jpg", "/data/local-files/?d=x.jpg", "s3://b/x.jpg"."""
    parts = urlsplit(source)
    path = parse_qs(parts.query).get("d", [parts.path])[0]
    return unquote(path).rsplit("/", 1)[-1]


def _find(images: str, source: str) -> str:
    name = _name(source)
    for candidate in (name, _UPLOAD.sub("", name)):
        if tf.io.gfile.exists(join(images, candidate)):
            return join(images, candidate)
    raise ImageFault("read", f"no picture {name} in {images}")
