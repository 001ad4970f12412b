"""Datasets that are folders: VOC (masks or XML), SBD, CVAT's exports, plain pictures with masks or tags."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from etils import epath

from components.beam_masks.faults import dead_letter, faults_to
from components.dataset_import.cvat_xml import ANNOTATIONS, IMAGES, read_cvat_xml
from components.dataset_import.items import Contents, Drawn, PictureFolder
from components.dataset_import.mask_decoding import (
    BINARY,
    MaskFile,
    SbdMask,
    by_picture,
    highest_id,
    in_order,
    mask_of,
    masks_among,
    pair,
    read_colours,
)
from components.dataset_import.voc_xml import read_annotation
from components.image_example_gen import voc
from trainer.data.boxes import BoxesTable, TagBox, clipped, read_boxes_table
from trainer.data.categories import VOC
from trainer.data.category_names import AS_IDS, check_distinct, clean_name, read_names
from trainer.data.files import is_dir, join, walk
from trainer.data.masks import Colour, are_binary
from trainer.data.names import MASK_SUFFIXES, PICTURE_SUFFIXES, Pictures, stem_of, suffix_of
from trainer.data.pictures import Header
from trainer.data.tags_table import TagsTable, read_tags_table
from trainer.errors import ImageFault, UserError, shown, some

LABELMAP = "labelmap.txt"  # of CVAT's exports
_NAMES = (voc.CATEGORIES, "class_names.txt")  # the second is labelme2voc's
_MASKS = (voc.MASKS, "SegmentationObject")


def read_voc(root: str, names: Sequence[str] | None, split: str | None, *, follow_links: bool = False) -> Contents:
    """VOC's own folders. Tags come from Annotations/<key>.xml where there is one, else from the mask; boxes where there
    is no mask.

    Args:
      root: folder with JPEGImages and SegmentationClass or Annotations; or with an XML beside each picture.
      names: categories by id; None: those of CVAT's labelmap.txt, which has the masks' colours too, of
        categories.txt or labelme2voc's class_names.txt, or VOC's 20.
      split: ImageSets/Segmentation/<split>.txt or ImageSets/Main/<split>.txt; None: all images.
      follow_links: see `trainer.data.files.walk`.

    Raises:
      UserError: no pictures, no such list, or the names cannot be read.
    """
    table, colours = join(root, LABELMAP), None
    if names is None and epath.Path(table).is_file():
        colours, names = read_colours(table)
    for listing in (join(root, name) for name in _NAMES):
        if names is None and epath.Path(listing).is_file():
            names = read_names(listing)
    is_assumed, names = not names, tuple(names or VOC)
    if is_dir(join(root, voc.IMAGES)):
        pictures, beside = PictureFolder(join(root, voc.IMAGES), follow_links), "Annotations/"
        xmls = _files(join(root, beside), follow_links)
    else:
        pictures, beside = PictureFolder(root, follow_links, without=_MASKS), ""
        xmls = pictures.others
        if not any(suffix_of(path, (".xml",)) for path in xmls):
            raise UserError(f"{root}: holds neither {voc.IMAGES} nor an XML beside a picture; give VOC's own folder")
    listed, faults = _listed(root, split, pictures)
    splits = _splits_listed(root)
    masks, odd = pair(_files(join(root, voc.MASKS), follow_links), pictures.files)
    notes, alone = _by_picture(xmls, ".xml", pictures.files)
    faults += [dead_letter(name, fault) for name, fault in odd + alone if split is None or name in listed]
    samples = []
    for name in listed:
        mask = masks.get(name)
        note = notes.get(name)
        with faults_to(faults, name):
            tags, objects = read_annotation(join(root, f"{beside}{note}"), names) if note else (None, None)
            if tags is None and mask is None:
                raise ImageFault("tags", f"has neither a mask in {voc.MASKS} nor {beside}{stem_of(name)}.xml")
            path = mask and join(root, f"{voc.MASKS}/{mask}")
            drawn = MaskFile(path, len(names), colours) if path else None
            own = splits.get(stem_of(name)) if split is None else None
            samples.append(pictures.sample(name, tags, drawn, None if drawn else objects, own))
    assumed = "ids are taken for VOC's 20 categories; if masks mean others by them, name those by --categories"
    return Contents(names, samples, faults, [assumed] if is_assumed and masks and not notes else [])


def read_sbd(root: str, split: str | None, *, follow_links: bool = False) -> Contents:
    """The Semantic Boundaries Dataset: img/, cls/<key>.mat, and <split>.txt."""
    pictures = PictureFolder(join(root, "img"), follow_links)
    masks, odd = _by_picture(_files(join(root, "cls"), follow_links), ".mat", pictures.files)
    listed, faults = _listed(root, split, pictures)
    faults += [dead_letter(name, fault) for name, fault in odd if split is None]
    samples = []
    for name in listed:
        if name in masks:
            mask = SbdMask(join(root, f"cls/{masks[name]}"), len(VOC))
            samples.append(pictures.sample(name, None, mask))
        else:
            faults.append(dead_letter(name, ImageFault("read", f"no file cls/{stem_of(name)}.mat")))
    return Contents(tuple(VOC), samples, faults)


def read_cvat(root: str, images: str | None = None, *, follow_links: bool = False) -> Contents:
    """CVAT's own XML (see cvat_xml.py), or its "Segmentation mask 1.1": SegmentationClass/, labelmap.txt's colours.

    Args:
      root: the export's folder.
      images: folder of the pictures; None: images/ or JPEGImages/ in the export, else the export itself.

    Raises:
      UserError: neither annotations.xml nor labelmap.txt, something wrong in it, or the export has no pictures.
    """
    xml, table = join(root, ANNOTATIONS), join(root, LABELMAP)
    if not (epath.Path(table).is_file() or epath.Path(xml).is_file()):
        exports = "the folder of an unpacked 'CVAT for images 1.1' or 'Segmentation mask 1.1'"
        raise UserError(f"{root}: holds neither {ANNOTATIONS} nor {LABELMAP}; give {exports}")
    is_xml = not epath.Path(table).is_file()
    colours, names = (None, ()) if is_xml else read_colours(table)
    inside = join(root, IMAGES if is_xml else voc.IMAGES)
    try:
        pictures = PictureFolder(images or (inside if is_dir(inside) else root), follow_links, without=_MASKS)
    except UserError as error:
        if images:
            raise
        raise UserError(
            f"{root}: an export without pictures; export with 'save images', or give their folder with --images"
        ) from error
    if is_xml:
        return read_cvat_xml(xml, pictures)
    contents = _paired(pictures, join(root, voc.MASKS), names, colours, follow_links=follow_links, upright=True)
    splits = _splits_listed(root)
    samples = [replace(sample, split=splits.get(stem_of(sample.name))) for sample in contents.samples]
    return replace(contents, samples=samples)


def read_folder(
    images: str,
    masks: str | None,
    tags: str | None,
    names: Sequence[str] | None,
    *,
    colours: str | None = None,
    boxes: str | None = None,
    follow_links: bool = False,
) -> Contents:
    """A folder of pictures, with a folder of masks of the same stems, a table of tags, one of boxes, or several.

    Args:
      images: folder.
      masks: folder of masks, see trainer.data.masks; ids are those of `names`. It may be `images` itself, see
        `mask_decoding.masks_among`.
      tags: CSV; pictures it does not list take their tags from the mask.
      names: categories by id; None: those of `colours`, or the tags, then the boxes', in order of appearance.
      colours: table of the masks' colours, see `mask_decoding.read_colours`.
      boxes: CSV, see trainer.data.boxes; what has a box is a tag too.
      follow_links: see `trainer.data.files.walk`.

    Raises:
      UserError: masks without names, no masks in `masks`, neither masks nor tables, or a tag that is none of the names.
    """
    if masks is None and tags is None and boxes is None:
        raise UserError("give --masks, --tags or --boxes: pictures alone say nothing")
    table = read_tags_table(tags).strict() if tags else None
    boxed = read_boxes_table(boxes).strict() if boxes else None
    meanings = None
    if colours:
        meanings, own = read_colours(colours)
        names = names or own
        meanings = in_order(meanings, own, names, colours)
    if not names:
        if masks:
            raise UserError("masks hold ids: give the categories' names with --categories a,b,c (id 1, 2, 3)")
        if table:
            table.refuse_joined()
        tables = " and ".join(path for path in (tags, boxes) if path)
        given = [*(table.names if table else ()), *((row.category for row in boxed.rows) if boxed else ())]
        names = [clean_name(name, tables) for name in dict.fromkeys(given)]
        if listed := next((name for name in names if "," in name), None):
            raise UserError(
                f"{tables}: the tag '{listed}' holds a comma; tags are separated by |. If it is one name, give "
                "--categories a file with all names, one a line"
            )
        check_distinct(names, tables)
    for one in (table, boxed):
        if one and (unknown := one.faults_of_names(names)):
            first = {what: line for line, what in reversed(unknown)}  # of each tag
            ordered = sorted(first.items(), key=lambda item: item[1])
            told = some([f"{one.path}: line {line}: {what}" for what, line in ordered])
            raise UserError(f"{told}; correct the tag, or add it to the categories, behind those that masks use")
    return _paired(_beside(images, masks, follow_links), masks, names, meanings, table, boxed, follow_links)


@dataclass(frozen=True)
class _Boxes:
    """A Mask that has the boxes of a table alone."""

    boxes: tuple[TagBox, ...]

    def __call__(self, picture: Header) -> Drawn:
        inside = tuple(clipped(box, *picture.size) for box in self.boxes)
        return Drawn(np.zeros(picture.size, np.uint8), tuple(sorted({box.tag for box in inside})), boxes=inside)


def _beside(images: str, masks: str | None, follow_links: bool) -> PictureFolder:
    """The pictures of a folder in which, or below which, masks may lie."""
    if masks is None:
        return PictureFolder(images, follow_links)
    inside = os.path.relpath(masks, images) if "://" not in images else masks.removeprefix(images).strip("/")
    return PictureFolder(images, follow_links, without=() if inside.startswith("..") or inside == "." else (inside,))


def _paired(
    pictures: PictureFolder,
    masks: str | None,
    names: Sequence[str],
    colours: Mapping[Colour, int] | None,
    table: TagsTable | None = None,
    boxes: BoxesTable | None = None,
    follow_links: bool = False,
    upright: bool = False,
) -> Contents:
    """Pictures with the mask of the same stem, the tags of their line, the boxes of theirs, or a dead letter."""
    faults, notes = list(pictures.faults), []
    files = _files(masks, follow_links) if masks else []
    listed = set(pictures.files.paths)
    if masks and os.path.normpath(masks) == os.path.normpath(pictures.folder):
        files = masks_among(listed)
        listed -= set(files)
    if masks and not any(suffix_of(file, (*MASK_SUFFIXES, *PICTURE_SUFFIXES)) for file in files):
        what = f"holds no mask ({', '.join(MASK_SUFFIXES)})" if is_dir(masks) else "no such folder"
        raise UserError(f"{masks}: {what}; give the folder of masks")
    if others := [file for file in files if not suffix_of(file, (*MASK_SUFFIXES, *PICTURE_SUFFIXES))]:
        notes.append(f"{len(others)} files of {masks} are no masks by their names, e.g. {shown(others[0])}")
    found, odd = pair(files, Pictures(listed))
    pictures.files.claim(row.image for one in (table, boxes) if one for row in one.rows)
    rows, unused = table.by_image(pictures.files.find) if table else ({}, [])
    odd += [(row.image, ImageFault("read", f"{table.path}: line {row.line}: {fault}")) for row, fault in unused]
    faults += [dead_letter(name, fault) for name, fault in odd]
    refused = {name for name, _ in odd} | {pictures.files.get(row.image) for row, _ in unused}
    ids = {name: number for number, name in enumerate(names, start=1)}
    boxed, lost = boxes.by_image(pictures.files.find, ids) if boxes else ({}, [])
    where = os.path.basename(boxes.path) if boxes else ""
    faults += [dead_letter(f"{where}: line {line}", ImageFault("read", what)) for line, what in lost]
    if masks and colours is None and are_binary(join(masks, file) for file in found.values()):
        means = "void; if it is a category, make it that category's id, or import these masks with its name alone"
        if len(names) == 1:
            colours, means = BINARY, f"{names[0]}, not void"
        notes.append(f"masks are black and white: 255 is {means}")
    if masks and colours is None and len(names) > 1:
        told = {*(table.names if table else ()), *((row.category for row in boxes.rows) if boxes else ())}
        if names[-1] not in told and highest_id(join(masks, file) for file in found.values()) == len(names) - 1:
            notes.append(
                f"no mask has the id {len(names)} of '{names[-1]}', the last name. If masks count '{names[0]}' as 0, "
                f"it has become background, and every other the one before it: say so by {AS_IDS}"
            )
    samples = []
    for name in sorted(listed - refused):
        tags = rows[name].tags if name in rows else None
        mask = mask_of(masks, found[name], name, names, colours, upright) if name in found else None
        own = _Boxes(boxed[name]) if name in boxed else None
        if mask or own or tags is not None:
            samples.append(pictures.sample(name, tags, mask, own))
        else:
            faults.append(dead_letter(name, ImageFault("tags", "has neither a mask nor a line in the tags file")))
    return Contents(tuple(names), samples, faults, notes)


def _files(folder: str, follow_links: bool = False) -> list[str]:
    """Relative paths of the files below a folder; none without the folder."""
    return walk(folder, follow_links)[0] if is_dir(folder) else []


def _by_picture(
    files: Sequence[str], suffix: str, pictures: Pictures
) -> tuple[dict[str, str], list[tuple[str, ImageFault]]]:
    """(picture -> the file with this suffix that is about it, [(file, why it is about none)])."""
    names = {file: (stem_of(file, (suffix,)),) for file in files if suffix_of(file, (suffix,))}
    found, faults = by_picture(names, pictures)
    for picture, (first, *more) in found.items():
        faults += [(file, ImageFault("tags", f"{first} is about {picture} too, and is used")) for file in more]
    return {picture: first for picture, (first, *_) in found.items()}, faults


def _splits_listed(root: str) -> dict[str, str]:
    """A picture's stem -> the split whose list names it, in ImageSets/Segmentation, else in ImageSets/Main.

    Of one that several name it is the last of train, val and test: nothing is judged by what was trained on.
    """
    for folder in ("Segmentation", "Main"):
        paths = {split: epath.Path(join(root, f"ImageSets/{folder}/{split}.txt")) for split in ("train", "val", "test")}
        if there := {split: voc.list_names(path) for split, path in paths.items() if path.is_file()}:
            return {stem_of(name): split for split, names in there.items() for name in names}
    return {}


def _listed(root: str, split: str | None, pictures: PictureFolder) -> tuple[list[str], list[dict[str, str]]]:
    """The pictures of a list, each once, and dead letters for names without one; without a list all pictures."""
    faults = list(pictures.faults)
    if split is None:
        return pictures.files.paths, faults
    places = [f"ImageSets/Segmentation/{split}.txt", f"ImageSets/Main/{split}.txt", f"{split}.txt"]
    path = next((path for place in places if (path := epath.Path(join(root, place))).is_file()), None)
    if path is None:
        raise UserError(f"{root}: no list '{split}'; looked for {', '.join(places)}")
    found: dict[str, None] = {}
    for name in voc.list_names(path):
        with faults_to(faults, name):
            found[pictures.files.find(name)] = None
    return list(found), faults
