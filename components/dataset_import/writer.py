"""Writes a foreign dataset into VOC's layout; what is in the folder already stays and keeps its ids.

Workers write pictures and masks under names of their own in a folder for unfinished work; then, picture by picture,
each gets its key and its place. So two pictures never share a key, within an import or between two, whatever ran at
once. A killed import adds no picture to a list; where it was to replace masks or pictures, some are new already while
their tags and boxes are not: the same import, run again, puts that right.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions

from components.beam_masks.faults import dead_letter, faults_to
from components.beam_masks.images import DEAD
from components.beam_masks.job import write_json_lines
from components.beam_masks.masks import encode, write_atomic
from components.beam_masks.output import SCRATCH, claimed
from components.dataset_import.items import Contents, ImportedPicture
from components.dataset_import.placement import SOURCES, Placement, read_boxes, read_list, read_tags
from components.image_example_gen import voc
from trainer.data.boxes import BOXES, upright_box, write_boxes_table
from trainer.data.categories import BACKGROUND, VOID
from trainer.data.category_names import check_as_lines, check_distinct, clean_name, read_names
from trainer.data.files import cut, read_bytes, read_lines
from trainer.data.masks import ids_in
from trainer.data.names import stem_of
from trainer.data.pictures import as_stored, upright_pixels
from trainer.data.tags_table import write_tags_table
from trainer.errors import ImageFault, UserError, one_line, shown

TAGS, FAULTS = "tags.csv", "import_faults.jsonl"
_DONE = "done"


def import_dataset(
    contents: Contents,
    output: str | Path,
    split: str,
    *,
    skip: Collection[str] = (),
    prefix: str = "",
    replace: bool = False,
    source: str | None = None,
    beam_args: Sequence[str] = (),
) -> dict[str, Any]:
    """Adds the images, masks and tags of a dataset to a folder.

    Writes JPEGImages/<key>.jpg or .png, SegmentationClass/<key>.png (of images with a mask), and extends
    ImageSets/Segmentation/<split>.txt, tags.csv, categories.txt and, if there are boxes, boxes.csv. A category that the
    folder knows keeps its id, a new one gets the next. A picture that the folder holds already, byte for byte, is the
    same picture: it keeps its key, its tags and boxes add up. Everything that is left out is in import_faults.jsonl.

    Args:
      contents: from a reader.
      output: local folder, made if it is not there.
      split: name of the list to extend.
      skip: names; images that show one of them are left out, and so are the categories.
      prefix: goes before every category name.
      replace: a picture's mask, tags and boxes replace those that the folder has of it; else another mask is a fault.
      source: names where the dataset is from: a picture that came from there before, under the same name, is replaced
        by what it is now, and keeps its key and so its place in lists; so does one that has another name now.
      beam_args: Beam options.

    Returns:
      {"images", "masks", "empty_masks": those that show no category, "left_out", "dead": images and entries,
      "dropped": objects of images that came in, "boxes": of these images, "first_fault", "notes": lines for a person,
      "categories": names by id, "keys": name of each image -> its key, "output"}.

    Raises:
      UserError: `split` is no name of a list, a name in `skip` is unknown, categories cannot be told apart, or nothing
        could be read.
    """
    if not split.strip() or split.startswith(".") or set(split) & set("/\\") or voc.SPAN in split:
        raise UserError(
            f"--split '{shown(split)}': give the name of a list, such as train or train-1, no path or pattern"
        )
    unknown = sorted(set(skip) - set(contents.names))
    if unknown:
        raise UserError(f"--skip {unknown[0]}: the dataset has no such category; it has {', '.join(contents.names)}")
    with claimed(output, None, "import") as output:
        return _import(contents, output, split, skip, prefix, replace, source, beam_args)


def _import(
    contents: Contents,
    output: Path,
    split: str,
    skip: Collection[str],
    prefix: str,
    replace: bool,
    source: str | None,
    beam_args: Sequence[str],
) -> dict[str, Any]:
    for folder in (voc.IMAGES, voc.MASKS, voc.list_path("", split).parent):
        (output / folder).mkdir(parents=True, exist_ok=True)
    listing = output / voc.CATEGORIES
    if not listing.exists() and any((output / voc.MASKS).iterdir()):
        raise UserError(f"{output}: holds masks but no {listing.name}; write the names there, one a line, by their ids")
    known = read_names(listing) if listing.exists() else []
    tags = read_tags(output / TAGS)
    listed = read_list(voc.list_path(output, split))
    wanted = {name: clean_name(prefix + name, "--prefix") for name in contents.names if name not in skip}
    names = [*known, *(name for name in wanted.values() if name not in known)]
    check_distinct(names, str(listing))
    check_as_lines(names, str(listing))
    ids = np.full(256, VOID, np.uint8)
    ids[BACKGROUND] = BACKGROUND
    for index, name in enumerate(contents.names, start=1):
        if name in wanted:
            ids[index] = names.index(wanted[name]) + 1

    done, dead = _write(contents, output / SCRATCH, ids, wanted, beam_args)
    dead += contents.faults
    kept = [item for item in done if not item["left_out"]]
    if kept:  # before any mask that holds a new id
        write_atomic(str(listing), "".join(f"{name}\n" for name in names).encode())
    named = {stem_of(name) for name in (*(item["name"] for item in done), *(letter["key"] for letter in dead))}
    placed = Placement(output, tags, read_boxes(output / BOXES), replace, source, named)
    for item in kept:
        with faults_to(dead, item["name"]):
            placed.add(item)
    letters = [*dead, *placed.dropped]
    write_atomic(f"{output}/{FAULTS}", "".join(json.dumps(entry) + "\n" for entry in letters).encode())
    if not placed.keys:
        reasons = "; ".join(f"{cut(letter['key'])}: {letter['reason']}" for letter in letters[:3])
        raise UserError(f"{output}: no image came in{': ' + reasons if reasons else ''}")
    if placed.boxes or (output / BOXES).exists():
        write_atomic(f"{output}/{BOXES}", write_boxes_table(placed.boxes))
    write_atomic(f"{output}/{TAGS}", write_tags_table(placed.tags))
    if placed.sources:
        write_atomic(f"{output}/{SOURCES}", f"{json.dumps(placed.sources, indent=0)}\n".encode())
    write_atomic(str(voc.list_path(output, split)), "".join(f"{k}\n" for k in sorted(listed | placed.keys)).encode())
    return {
        "images": len(placed.keys),
        "masks": placed.masks,
        "empty_masks": sum(placed.empty.values()),
        "left_out": len(done) - len(kept),
        "dead": len(dead),
        "dropped": len(placed.dropped),
        "boxes": sum(len(placed.boxes.get(key, ())) for key in placed.keys),
        "first_fault": f"{cut(letters[0]['key'])}: {letters[0]['reason']}" if letters else None,
        "notes": [*contents.notes, *_other_splits(contents.samples, split), *placed.notes(split)],
        "categories": names,
        "keys": placed.names,
        "output": str(output),
    }


def _other_splits(samples: Sequence[ImportedPicture] | beam.PTransform, split: str) -> list[str]:
    """A note on pictures that the dataset itself has in another split than the one they come into."""
    said = Counter(one.split for one in samples) if isinstance(samples, Sequence) else Counter()
    others = [f"{said[own]} of its {own}" for own in sorted(said.keys() - {None, split})]
    return [f"came into {split}: {', '.join(others)}; transferseg init keeps a dataset's own splits"] if others else []


def _write(
    contents: Contents, scratch: Path, ids: np.ndarray, wanted: Mapping[str, str], beam_args: Sequence[str]
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Pictures and masks, in Beam, to the scratch folder -> (what was done, dead letters), both by name."""
    shutil.rmtree(scratch, ignore_errors=True)  # of a killed import
    scratch.mkdir()
    with beam.Pipeline(options=PipelineOptions(list(beam_args))) as pipeline:
        if isinstance(contents.samples, beam.PTransform):
            read = pipeline | "Samples" >> contents.samples
            samples, unread = read["samples"], (read[DEAD],)
        else:
            samples, unread = pipeline | "Samples" >> beam.Create(list(contents.samples)), ()
        write = _WriteSample(str(scratch), contents.names, ids, wanted)
        written = samples | beam.Reshuffle() | beam.ParDo(write).with_outputs(DEAD, main=_DONE)
        write_json_lines(written[_DONE], f"{scratch}/{_DONE}", "Done")
        write_json_lines((written[DEAD], *unread) | beam.Flatten(), f"{scratch}/{DEAD}", "Dead")
    done, dead = (read_lines(scratch / name) for name in (_DONE, DEAD))
    done.sort(key=lambda item: (item["name"], item["digest"]))
    return done, sorted(dead, key=lambda letter: (letter["key"], letter["reason"]))


class _WriteSample(beam.DoFn):
    """ImportedPicture -> a note on what was written, or a dead letter."""

    def __init__(self, folder: str, names: Sequence[str], ids: np.ndarray, wanted: Mapping[str, str]):
        """`names` and `wanted` (name there -> name here) are the dataset's, `ids` maps its ids to the folder's."""
        self.folder, self.names, self.ids, self.wanted = folder, list(names), ids, dict(wanted)

    def process(self, sample: ImportedPicture) -> Iterable[dict[str, Any] | beam.pvalue.TaggedOutput]:
        try:
            yield self._write(sample)
        except ImageFault as fault:
            yield beam.pvalue.TaggedOutput(DEAD, dead_letter(sample.name, fault))
        except Exception as error:
            if getattr(error, "errno", None) is not None:  # the disk is full: no fault of this picture
                raise
            yield beam.pvalue.TaggedOutput(DEAD, dead_letter(sample.name, ImageFault("write", one_line(error))))

    def _write(self, sample: ImportedPicture) -> dict[str, Any]:
        given = sample.image if isinstance(sample.image, bytes) else read_bytes(sample.image)
        suffix, data, header = as_stored(given)
        drawn = None if sample.mask is None else sample.mask(header)
        boxed = None if sample.boxes is None else sample.boxes(header)
        drawings = [one for one in (drawn, boxed) if one is not None]
        if sample.tags is None and not drawings:
            raise ImageFault("tags", "has neither tags nor a mask")
        telling = [one for one in (drawn if sample.tags is None else None, boxed) if one is not None]
        tags = {*(sample.tags or ()), *(self.names[i - 1] for one in telling for i in one.shown)}
        if unknown := sorted(tags - set(self.names)):
            raise ImageFault("tags", f"tag '{unknown[0]}' is none of the dataset's categories")
        note = {"name": shown(sample.name), "digest": hashlib.sha256(given).hexdigest()}
        note["left_out"] = any(name not in self.wanted for name in tags)
        if note["left_out"]:
            return note
        place = f"{self.folder}/{uuid.uuid4().hex}"
        Path(place).write_bytes(data)
        note |= {"picture": place, "suffix": suffix, "mask": None, "empty": None}
        note |= {"tags": [self.wanted[name] for name in self.names if name in tags]}
        boxes = [box for one in drawings for box in one.boxes]
        turned = [upright_box(box, header) if data is not given else box for box in boxes]
        note["boxes"] = [(self.wanted[self.names[box.tag - 1]], box.corners) for box in turned]
        note["doubts"] = sorted({doubt for one in drawings for doubt in one.doubts})
        note["dropped"] = [(shown(label), shown(reason)) for one in drawings for label, reason in one.dropped]
        if drawn is not None:
            upright = upright_pixels(drawn.ids, header.orientation) if data is not given else drawn.ids
            mask = self.ids[upright]
            Path(f"{place}-mask").write_bytes(encode(mask, {}))
            note |= {"mask": f"{place}-mask", "empty": _emptiness(mask)}
        return note


def _emptiness(mask: np.ndarray) -> str | None:
    """What a mask holds that shows no category; None for one that does."""
    if ids_in(mask):
        return None
    return "background" if not (mask == VOID).any() else "void" if (mask == VOID).all() else "void and background"
