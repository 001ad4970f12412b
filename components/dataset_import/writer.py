"""Writes a foreign dataset into VOC's layout; what is in the folder already stays and keeps its ids.

Workers write pictures and masks under names of their own in a folder for unfinished work; then, picture by picture,
each gets its key and its place. So two pictures never share a key, within an import or between two, whatever ran at
once; and a killed import leaves nothing that anything reads.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions

from components.batch.faults import dead_letter
from components.batch.images import DEAD
from components.batch.masks import encode, write_atomic
from components.dataset_import.samples import Contents, Sample
from components.image_example_gen import voc
from trainer.categories import BACKGROUND, VOID
from trainer.data.category_names import check_distinct, clean_name, read_names
from trainer.data.files import read_bytes, read_text, shown
from trainer.data.masks import ids_in, read_mask, upright_pixels
from trainer.data.names import STORED_SUFFIXES, free_keys, key_of, stem_of, suffix_of
from trainer.data.pictures import as_stored
from trainer.data.tags_table import read_tags_table, write_tags_table
from trainer.errors import ImageFault, UserError, one_line

TAGS, FAULTS = "tags.csv", "import_faults.jsonl"
_UNFINISHED = ".import"
_DONE = "done"


def import_dataset(
    contents: Contents,
    output: str | Path,
    split: str,
    *,
    skip: Collection[str] = (),
    prefix: str = "",
    replace: bool = False,
    beam_args: Sequence[str] = (),
) -> dict[str, Any]:
    """Adds the images, masks and tags of a dataset to a folder.

    Writes JPEGImages/<key>.jpg or .png, SegmentationClass/<key>.png (of images with a mask), and extends
    ImageSets/Segmentation/<split>.txt, tags.csv and categories.txt. A category that the folder knows keeps its id, a
    new one gets the next. A picture that the folder holds already, byte for byte, is the same picture: it keeps its
    key, its tags add up. Everything that is left out is in import_faults.jsonl.

    Args:
      contents: from a reader.
      output: local folder, made if it is not there.
      split: name of the list to extend.
      skip: names; images that show one of them are left out, and so are the categories.
      prefix: goes before every category name.
      replace: a picture's mask and tags replace those that the folder has of it; else another mask is a fault.
      beam_args: Beam options.

    Returns:
      {"images", "masks", "empty_masks": those that show no category, "left_out", "dead": images and entries,
      "dropped": objects of images that came in, "first_fault", "notes": lines for a person, "categories": names by id,
      "output"}.

    Raises:
      UserError: a name in `skip` is unknown, categories cannot be told apart, or nothing could be read.
    """
    unknown = sorted(set(skip) - set(contents.names))
    if unknown:
        raise UserError(f"--skip {unknown[0]}: the dataset has no such category; it has {', '.join(contents.names)}")
    output = Path(output)
    for folder in (voc.IMAGES, voc.MASKS, voc.list_path("", split).parent):
        (output / folder).mkdir(parents=True, exist_ok=True)
    if not (output / voc.CATEGORIES).exists() and any((output / voc.MASKS).iterdir()):
        raise UserError(
            f"{output}: holds masks but no {voc.CATEGORIES}; write the names there, one a line, by their ids"
        )
    known = read_names(output / voc.CATEGORIES) if (output / voc.CATEGORIES).exists() else []
    tags = _read_tags(output / TAGS)
    listed = _read_list(voc.list_path(output, split))
    wanted = {name: clean_name(prefix + name, "--prefix") for name in contents.names if name not in skip}
    names = [*known, *(name for name in wanted.values() if name not in known)]
    check_distinct(names, str(output / voc.CATEGORIES))
    ids = np.full(256, VOID, np.uint8)
    ids[BACKGROUND] = BACKGROUND
    for index, name in enumerate(contents.names, start=1):
        if name in wanted:
            ids[index] = names.index(wanted[name]) + 1

    unfinished = output / _UNFINISHED
    shutil.rmtree(unfinished, ignore_errors=True)  # of a killed import
    unfinished.mkdir()
    try:
        done, dead = _write(contents, unfinished, ids, wanted, beam_args)
        dead += contents.faults
        kept = [item for item in done if not item["left_out"]]
        write_atomic(f"{output}/{voc.CATEGORIES}", "".join(f"{name}\n" for name in names).encode())
        placed = _Places(output, tags, replace)
        for item in kept:
            try:
                placed.add(item)
            except ImageFault as fault:
                dead.append(dead_letter(item["name"], fault))
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    letters = [*dead, *placed.dropped]
    write_atomic(f"{output}/{FAULTS}", "".join(json.dumps(entry) + "\n" for entry in letters).encode())
    if not placed.keys:
        reasons = "; ".join(f"{letter['key']}: {letter['reason']}" for letter in letters[:3])
        raise UserError(f"{output}: no image came in{': ' + reasons if reasons else ''}")
    write_atomic(f"{output}/{TAGS}", write_tags_table(placed.tags))
    write_atomic(str(voc.list_path(output, split)), "".join(f"{k}\n" for k in sorted(listed | placed.keys)).encode())
    return {
        "images": len(placed.keys),
        "masks": placed.masks,
        "empty_masks": sum(placed.empty.values()),
        "left_out": len(done) - len(kept),
        "dead": len(dead),
        "dropped": len(placed.dropped),
        "first_fault": f"{letters[0]['key']}: {letters[0]['reason']}" if letters else None,
        "notes": [*contents.notes, *placed.notes(split)],
        "categories": names,
        "output": str(output),
    }


class _Places:
    """Gives each picture its key and its place.

    Attributes:
      keys: of the pictures that came in.
      masks: how many of them have one.
      empty: masks that show no category, by what they hold.
      dropped: letters of single objects.
      tags: key -> names, with those that were there before.
    """

    def __init__(self, output: Path, tags: dict[str, tuple[str, ...]], replace: bool):
        self.keys: set[str] = set()
        self.masks, self.empty, self.dropped, self.tags = 0, Counter(), [], tags
        self._output, self._replace, self._replaced, self._renamed = output, replace, 0, 0
        names = os.listdir(output / voc.IMAGES)
        self._there = {stem_of(name, STORED_SUFFIXES): name for name in names if suffix_of(name, STORED_SUFFIXES)}

    def add(self, item: dict[str, Any]) -> None:
        """Raises ImageFault if the picture is there already and this one contradicts it."""
        wanted = key_of(item["name"])
        data = Path(item["picture"]).read_bytes()
        for key in free_keys(wanted):
            there = self._there.get(key)
            if there is None:
                break
            if (self._output / voc.IMAGES / there).read_bytes() == data:
                if key in self.keys:
                    raise ImageFault("list", f"the same picture as another of this import, which came in as {key}")
                break
        target = voc.mask_path(self._output, key)
        if item["mask"]:
            if there is not None and target.exists() and not self._same_mask(target, item["mask"]):
                if not self._replace:
                    raise ImageFault("mask", f"is there already ({key}) with another mask; --replace takes the new one")
                self._replaced += 1
            os.replace(item["mask"], target)
            self.masks += 1
            if item["empty"]:
                self.empty[item["empty"]] += 1
        if there is None:
            self._there[key] = f"{key}{item['suffix']}"
            os.replace(item["picture"], self._output / voc.IMAGES / self._there[key])
            self._renamed += key != wanted
        before = () if self._replace else self.tags.get(key, ())
        self.tags[key] = tuple(dict.fromkeys([*before, *item["tags"]]))
        self.keys.add(key)
        self.dropped += [
            dead_letter(item["name"], ImageFault("object", f"{label}: {reason}")) for label, reason in item["dropped"]
        ]

    def notes(self, split: str) -> list[str]:
        """What a person should know of what came in."""
        found = []
        if count := sum(self.empty.values()):
            kinds = ", ".join(f"{number} only {kind}" for kind, number in sorted(self.empty.items()))
            found.append(f"{count} of {self.masks} masks show no category ({kinds})")
        if self.dropped:
            pictures = len({letter["key"] for letter in self.dropped})
            found.append(f"{len(self.dropped)} objects of {pictures} images could not be used; they are void")
        if self._replaced:
            found.append(f"{self._replaced} masks replaced by others")
        if self._renamed:
            found.append(f"{self._renamed} images got another key, because theirs was another's")
        for path in sorted(voc.list_path(self._output, split).parent.glob("*.txt")):
            both = self.keys & _read_list(path) if path.stem != split else set()
            if both:
                found.append(f"{len(both)} images are in the list {path.stem} too, for one {sorted(both)[0]}")
        return found

    @staticmethod
    def _same_mask(there: Path, new: str) -> bool:
        try:
            old = read_mask(there.read_bytes(), VOID)
        except ImageFault:
            return False
        return np.array_equal(old, read_mask(Path(new).read_bytes(), VOID))


def _read_tags(path: Path) -> dict[str, tuple[str, ...]]:
    """The tags table of a folder, key -> tags; {} without one."""
    return {row.image: row.tags for row in read_tags_table(path).strict().rows} if path.exists() else {}


def _read_list(path: Path) -> set[str]:
    return {line.strip() for line in read_text(path, "one name a line").split("\n")} - {""} if path.exists() else set()


def _write(
    contents: Contents, unfinished: Path, ids: np.ndarray, wanted: Mapping[str, str], beam_args: Sequence[str]
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Pictures and masks, in Beam -> (what was done, dead letters), both by name."""
    write = _WriteSample(str(unfinished), contents.names, ids, wanted)
    pipeline = beam.Pipeline(options=PipelineOptions(list(beam_args)))
    if isinstance(contents.samples, beam.PTransform):
        read = pipeline | "Samples" >> contents.samples
        samples = read["samples"]
        _ = read[DEAD] | "Unread" >> beam.Map(_write_note, str(unfinished), DEAD)
    else:
        samples = pipeline | "Samples" >> beam.Create(list(contents.samples))
    written = samples | beam.Reshuffle() | beam.ParDo(write).with_outputs(DEAD, main=_DONE)
    for kind in (DEAD, _DONE):
        _ = written[kind] | f"Note{kind}" >> beam.Map(_write_note, str(unfinished), kind)
    try:
        pipeline.run().wait_until_finish()
    except Exception as error:  # Beam raises errors of workers anew, without their errno
        if os.strerror(errno.ENOSPC) in str(error):
            raise UserError(
                f"{unfinished.parent}: no space left; nothing was added, make room and start again"
            ) from None
        raise
    found: dict[str, list] = {_DONE: [], DEAD: []}
    for path in unfinished.glob("*.json"):
        found[path.stem.split("-")[0]].append(json.loads(path.read_text()))
    return (
        sorted(found[_DONE], key=lambda item: (item["name"], item["digest"])),
        sorted(found[DEAD], key=lambda letter: (letter["key"], letter["reason"])),
    )


def _write_note(value: dict[str, Any], folder: str, kind: str) -> None:
    """A JSON-ready value -> a file of its own, <kind>-<unique>.json: nothing that must find files by a pattern."""
    Path(folder, f"{kind}-{uuid.uuid4().hex}.json").write_text(json.dumps(value))


class _WriteSample(beam.DoFn):
    """Sample -> a note on what was written, or a dead letter."""

    def __init__(self, folder: str, names: Sequence[str], ids: np.ndarray, wanted: Mapping[str, str]):
        """`names` and `wanted` (name there -> name here) are the dataset's, `ids` maps its ids to the folder's."""
        self.folder, self.names, self.ids, self.wanted = folder, list(names), ids, dict(wanted)

    def process(self, sample: Sample) -> Iterable[dict[str, Any] | beam.pvalue.TaggedOutput]:
        try:
            yield self._write(sample)
        except ImageFault as fault:
            yield beam.pvalue.TaggedOutput(DEAD, dead_letter(shown(sample.name), fault))
        except Exception as error:
            if getattr(error, "errno", None) is not None:  # the disk is full: no fault of this picture
                raise
            yield beam.pvalue.TaggedOutput(DEAD, dead_letter(shown(sample.name), ImageFault("write", one_line(error))))

    def _write(self, sample: Sample) -> dict[str, Any]:
        given = sample.image if isinstance(sample.image, bytes) else read_bytes(sample.image)
        suffix, data, header = as_stored(given)
        drawn = None if sample.mask is None else sample.mask(header)
        if sample.tags is None and drawn is None:
            raise ImageFault("tags", "has neither tags nor a mask")
        tags = set(sample.tags) if sample.tags is not None else {self.names[i - 1] for i in drawn.shown}
        if unknown := sorted(tags - set(self.names)):
            raise ImageFault("tags", f"tag '{unknown[0]}' is none of the dataset's categories")
        note = {"name": shown(sample.name), "digest": hashlib.sha256(given).hexdigest()}
        note["left_out"] = any(name not in self.wanted for name in tags)
        if note["left_out"]:
            return note
        place = f"{self.folder}/{uuid.uuid4().hex}"
        Path(place).write_bytes(data)
        note |= {"picture": place, "suffix": suffix, "mask": None, "empty": None}
        note |= {"dropped": [], "tags": [self.wanted[name] for name in self.names if name in tags]}
        if drawn is not None:
            upright = upright_pixels(drawn.ids, header.orientation) if data is not given else drawn.ids
            mask = self.ids[upright]
            Path(f"{place}-mask").write_bytes(encode(mask, {}))
            note |= {"mask": f"{place}-mask", "dropped": drawn.dropped, "empty": _emptiness(mask)}
        return note


def _emptiness(mask: np.ndarray) -> str | None:
    """What a mask holds that shows no category; None for one that does."""
    if ids_in(mask):
        return None
    return "background" if not (mask == VOID).any() else "void" if (mask == VOID).all() else "void and background"
