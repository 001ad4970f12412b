"""Datasets that are folders: CVAT's exports, plain pictures with masks or tags."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from etils import epath

from components.beam_masks.faults import dead_letter
from components.dataset_import.cvat_xml import ANNOTATIONS, IMAGES, read_cvat_xml
from components.dataset_import.items import Contents, Drawn, PictureFolder
from components.dataset_import.mask_decoding import (
    BINARY,
    highest_id,
    in_order,
    mask_of,
    masks_among,
    pair,
    read_colours,
)
from components.dataset_import.voc_folders import LABELMAP, MASK_FOLDERS, files_below, splits_listed
from components.image_example_gen import voc
from trainer.data.boxes import BoxesTable, TagBox, clipped, read_boxes_table
from trainer.data.category_names import AS_IDS, check_distinct, clean_name
from trainer.data.files import is_dir, join
from trainer.data.masks import Colour, are_binary
from trainer.data.names import MASK_SUFFIXES, PICTURE_SUFFIXES, Pictures, stem_of, suffix_of
from trainer.data.pictures import Header
from trainer.data.tags_table import TagsTable, read_tags_table
from trainer.errors import ImageFault, UserError, shown, some


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
        pictures = PictureFolder(images or (inside if is_dir(inside) else root), follow_links, without=MASK_FOLDERS)
    except UserError as error:
        if images:
            raise
        raise UserError(
            f"{root}: an export without pictures; export with 'save images', or give their folder with --images"
        ) from error
    if is_xml:
        return read_cvat_xml(xml, pictures)
    contents = _paired(pictures, join(root, voc.MASKS), names, colours, follow_links=follow_links, upright=True)
    splits = splits_listed(root)
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
    files = files_below(masks, follow_links) if masks else []
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
