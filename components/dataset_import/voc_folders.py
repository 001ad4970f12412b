"""VOC's own folders, with masks or XML, and the Semantic Boundaries Dataset's."""

from __future__ import annotations

from collections.abc import Sequence

from etils import epath

from components.beam_masks.faults import dead_letter, faults_to
from components.dataset_import.items import Contents, PictureFolder
from components.dataset_import.mask_decoding import MaskFile, SbdMask, by_picture, pair, read_colours
from components.dataset_import.voc_xml import read_annotation
from components.image_example_gen import voc
from trainer.data.categories import VOC
from trainer.data.category_names import read_names
from trainer.data.files import is_dir, join, walk
from trainer.data.names import Pictures, stem_of, suffix_of
from trainer.errors import ImageFault, UserError

LABELMAP = "labelmap.txt"  # of CVAT's exports
_NAMES = (voc.CATEGORIES, "class_names.txt")  # the second is labelme2voc's
MASK_FOLDERS = (voc.MASKS, "SegmentationObject")


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
        xmls = files_below(join(root, beside), follow_links)
    else:
        pictures, beside = PictureFolder(root, follow_links, without=MASK_FOLDERS), ""
        xmls = pictures.others
        if not any(suffix_of(path, (".xml",)) for path in xmls):
            raise UserError(f"{root}: holds neither {voc.IMAGES} nor an XML beside a picture; give VOC's own folder")
    listed, faults = _listed(root, split, pictures)
    splits = splits_listed(root) if split is None else {}
    masks, odd = pair(files_below(join(root, voc.MASKS), follow_links), pictures.files)
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
            boxes = None if drawn else objects
            samples.append(pictures.sample(name, tags, drawn, boxes, splits.get(stem_of(name))))
    assumed = "ids are taken for VOC's 20 categories; if masks mean others by them, name those by --categories"
    return Contents(names, samples, faults, [assumed] if is_assumed and masks and not notes else [])


def read_sbd(root: str, split: str | None, *, follow_links: bool = False) -> Contents:
    """The Semantic Boundaries Dataset: img/, cls/<key>.mat, and <split>.txt."""
    pictures = PictureFolder(join(root, "img"), follow_links)
    masks, odd = _by_picture(files_below(join(root, "cls"), follow_links), ".mat", pictures.files)
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


def files_below(folder: str, follow_links: bool = False) -> list[str]:
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


def splits_listed(root: str) -> dict[str, str]:
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
