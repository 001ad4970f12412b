"""Datasets that are folders: VOC (masks or XML), SBD, CVAT's segmentation masks, plain pictures with masks or tags."""

from __future__ import annotations

import csv
import io
import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence

import tensorflow as tf

from components.batch.faults import dead_letter
from components.dataset_import.masks import Colour, PngMask, SbdMask, voc_colours
from components.dataset_import.samples import Contents, Sample, join, key_of, read_bytes
from components.image_example_gen import voc
from trainer.categories import VOC, VOID
from trainer.data.names import DECODED_SUFFIXES as SUFFIXES
from trainer.errors import ImageFault, UserError, one_line

_MORE_SUFFIXES = (*SUFFIXES, ".webp", ".tif", ".tiff")  # converted to PNG


def read_voc(root: str, names: Sequence[str] | None, split: str | None) -> Contents:
    """VOC's own folders. Tags come from Annotations/<key>.xml where there is one, else from the mask.

    Args:
      root: folder with JPEGImages and SegmentationClass or Annotations.
      names: categories by id; None: VOC's 20.
      split: ImageSets/Segmentation/<split>.txt or ImageSets/Main/<split>.txt; None: all images.
    """
    names = tuple(names or VOC)
    images = _images(join(root, voc.IMAGES))
    masks, notes = _files(join(root, voc.MASKS)), _files(join(root, "Annotations"))
    listed, faults = _listed(root, split, images)
    samples = []
    for key in listed:
        path = masks.get(f"{key}.png")
        mask = PngMask(path, len(names), voc_colours(len(names))) if path else None
        tags = None
        try:
            if f"{key}.xml" in notes:
                tags = _xml_tags(notes[f"{key}.xml"])
            if tags is None and mask is None:
                raise ImageFault("tags", f"has neither {voc.MASKS}/{key}.png nor Annotations/{key}.xml")
            samples.append(Sample(key, images[key], tags, mask))
        except ImageFault as fault:
            faults.append(dead_letter(key, fault))
    return Contents(names, samples, faults)


def read_sbd(root: str, split: str | None) -> Contents:
    """The Semantic Boundaries Dataset: img/, cls/<key>.mat, and <split>.txt."""
    images, masks = _images(join(root, "img")), _files(join(root, "cls"))
    listed, faults = _listed(root, split, images)
    samples = []
    for key in listed:
        if f"{key}.mat" in masks:
            samples.append(Sample(key, images[key], None, SbdMask(masks[f"{key}.mat"])))
        else:
            faults.append(dead_letter(key, ImageFault("read", f"no file cls/{key}.mat")))
    return Contents(tuple(VOC), samples, faults)


def read_cvat(root: str) -> Contents:
    """CVAT's "Segmentation mask 1.1": SegmentationClass/ in the colours of labelmap.txt, beside the images.

    CVAT leaves the images in JPEGImages/ (or in the export's folder), if they were exported too.
    """
    colours, names = _labelmap(join(root, "labelmap.txt"))
    place = join(root, voc.IMAGES)
    images = _images(place if tf.io.gfile.isdir(place) else root)
    return _paired(images, _files(join(root, voc.MASKS)), names, colours)


def read_folder(images: str, masks: str | None, tags: str | None, names: Sequence[str] | None) -> Contents:
    """A folder of pictures, with a folder of masks of the same stems, a tags file `image,tags`, or both.

    Args:
      images: folder.
      masks: folder of palette, grey or RGB (VOC's colours) PNGs; ids are those of `names`.
      tags: CSV; pictures it does not list take their tags from the mask.
      names: categories by id; None: the tags in order of appearance.

    Raises:
      UserError: masks without names, neither masks nor tags, or a tag that is none of the names.
    """
    if masks is None and tags is None:
        raise UserError("give --masks, --tags or both: pictures alone say nothing")
    listed = _read_tags(tags, names) if tags else {}
    if not names:
        if masks:
            raise UserError("masks hold ids: give the categories' names with --categories a,b,c (id 1, 2, 3)")
        names = list(dict.fromkeys(tag for found in listed.values() for tag in found))
    found = _files(masks) if masks else {}
    return _paired(_images(images, masks), found, names, voc_colours(len(names)), listed)


def _paired(
    images: Mapping[str, str],
    masks: Mapping[str, str],
    names: Sequence[str],
    colours: Mapping[Colour, int],
    tags: Mapping[str, tuple[str, ...]] | None = None,
) -> Contents:
    """Images with the mask of the same stem, the tags of the same stem, or a dead letter."""
    samples, faults = [], []
    for key, path in images.items():
        found = masks.get(f"{key}.png")
        if found is None and key not in (tags or {}):
            faults.append(dead_letter(key, ImageFault("tags", "has neither a mask nor a line in the tags file")))
            continue
        mask = PngMask(found, len(names), colours) if found else None
        samples.append(Sample(key, path, (tags or {}).get(key), mask))
    missing = {key_of(name) for name in masks} | set(tags or {})
    faults += [dead_letter(key, ImageFault("read", "no picture of this name")) for key in sorted(missing - set(images))]
    return Contents(tuple(names), samples, faults)


def _images(folder: str, masks: str | None = None) -> dict[str, str]:
    """key -> path of the pictures below a folder; those in the folder of masks, which may lie below it, are none.

    Raises:
      UserError: there are none, or no such folder.
    """
    found: dict[str, str] = {}
    for place, _, files in tf.io.gfile.walk(folder):
        if masks and os.path.normpath(place) == os.path.normpath(masks):
            continue
        inside = place[len(folder) :].strip("/")
        for name in files:
            if not name.startswith(".") and name.lower().endswith(_MORE_SUFFIXES):
                found[key_of(join(inside, name) if inside else name)] = join(place, name)
    if not found:
        raise UserError(f"{folder}: no pictures here ({', '.join(_MORE_SUFFIXES)})")
    return dict(sorted(found.items()))


def _files(folder: str) -> dict[str, str]:
    """name -> path of the files in a folder; none without the folder."""
    if not tf.io.gfile.isdir(folder):
        return {}
    return {name: join(folder, name) for name in sorted(tf.io.gfile.listdir(folder)) if not name.endswith("/")}


def _listed(root: str, split: str | None, images: Mapping[str, str]) -> tuple[list[str], list[dict[str, str]]]:
    """The keys of a list that have a picture, and dead letters for the others; without a list all pictures."""
    if split is None:
        return list(images), []
    places = [f"ImageSets/Segmentation/{split}.txt", f"ImageSets/Main/{split}.txt", f"{split}.txt"]
    path = next((join(root, place) for place in places if tf.io.gfile.exists(join(root, place))), None)
    if path is None:
        raise UserError(f"{root}: no list '{split}'; looked for {', '.join(places)}")
    keys = [line.split()[0] for line in read_bytes(path).decode("utf-8-sig").splitlines() if line.strip()]
    faults = [dead_letter(key, ImageFault("read", "no picture of this name")) for key in keys if key not in images]
    return [key for key in dict.fromkeys(keys) if key in images], faults


def _xml_tags(path: str) -> tuple[str, ...]:
    try:
        root = ElementTree.fromstring(read_bytes(path))
    except ElementTree.ParseError as error:
        raise ImageFault("tags", f"{path}: not XML: {one_line(error)}") from None
    return tuple(sorted({(node.findtext("name") or "").strip() for node in root.iter("object")} - {""}))


def _labelmap(path: str) -> tuple[dict[Colour, int], list[str]]:
    """CVAT's lines `name:r,g,b:parts:actions` -> colours and names; "background" is 0, "ignore" and "void" are 255."""
    colours: dict[Colour, int] = {}
    names: list[str] = []
    try:
        lines = read_bytes(path).decode("utf-8-sig").splitlines()
        for line in lines:
            if not line.strip() or line.startswith("#"):
                continue
            name, values = line.split(":")[:2]
            red, green, blue = (int(value) for value in values.split(","))
            if name.lower() not in ("background", "ignore", "void"):
                names.append(name)
            special = 0 if name.lower() == "background" else VOID
            colours[(red, green, blue)] = len(names) if names and names[-1] == name else special
    except ImageFault as fault:
        raise UserError(f"{fault}; is this CVAT's export 'Segmentation mask 1.1'?") from None
    except ValueError:
        raise UserError(f"{path}: lines must read name:red,green,blue:parts:actions") from None
    return colours, names


def _read_tags(path: str, names: Sequence[str] | None) -> dict[str, tuple[str, ...]]:
    try:
        rows = list(csv.reader(io.StringIO(read_bytes(path).decode("utf-8-sig"))))
    except (ImageFault, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a CSV: {one_line(error)}") from None
    if not rows or [cell.strip() for cell in rows[0]] != ["image", "tags"]:
        raise UserError(f"{path}: line 1 must be the header image,tags")
    found: dict[str, tuple[str, ...]] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != 2 or not row[0].strip():
            raise UserError(f"{path}: line {number}: expected image,tags with tags separated by |")
        name = row[0].strip()
        key = key_of(name) if name.lower().endswith(_MORE_SUFFIXES) else key_of(name + ".png")
        if key in found:
            raise UserError(f"{path}: line {number}: image '{key}' is listed twice; keep one line")
        found[key] = tuple(dict.fromkeys(tag.strip() for tag in row[1].split("|") if tag.strip()))
        if unknown := [tag for tag in found[key] if names and tag not in names]:
            raise UserError(
                f"{path}: line {number}: tag '{unknown[0]}' is none of the categories ({', '.join(names)}); correct "
                "it, or add it to them, behind those that masks use"
            )
    return found
