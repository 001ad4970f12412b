"""Writes a foreign dataset into VOC's layout; what is in the folder already stays and keeps its ids."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions

from components.batch.faults import dead_letter
from components.batch.images import DEAD
from components.batch.job import write_json_lines
from components.batch.masks import encode, write_atomic
from components.dataset_import.samples import Contents, Sample, read_bytes
from components.image_example_gen import voc
from trainer.categories import BACKGROUND, VOID
from trainer.errors import ImageFault, UserError, one_line

CATEGORIES, TAGS, FAULTS = "categories.txt", "tags.csv", "import_faults.jsonl"
_DONE = "done"


def import_dataset(
    contents: Contents,
    output: str | Path,
    split: str,
    *,
    skip: Collection[str] = (),
    prefix: str = "",
    beam_args: Sequence[str] = (),
) -> dict[str, Any]:
    """Adds the images, masks and tags of a dataset to a folder.

    Writes JPEGImages/<key>.jpg or .png, SegmentationClass/<key>.png (of images with a mask), and extends
    ImageSets/Segmentation/<split>.txt, tags.csv and categories.txt. A category that the folder knows keeps its id, a
    new one gets the next.

    Args:
      contents: from a reader.
      output: local folder, made if it is not there.
      split: name of the list to extend.
      skip: names; images that show one of them are left out, and so are the categories.
      prefix: goes before every category name.
      beam_args: Beam options.

    Returns:
      {"images", "masks", "left_out", "dead", "first_fault", "categories": names by id, "output"}.

    Raises:
      UserError: a name in `skip` is unknown, there are too many categories, or nothing could be read.
    """
    unknown = sorted(set(skip) - set(contents.names))
    if unknown:
        raise UserError(f"--skip {unknown[0]}: the dataset has no such category; it has {', '.join(contents.names)}")
    output = Path(output)
    for folder in (voc.IMAGES, voc.MASKS, voc.list_path("", split).parent):
        (output / folder).mkdir(parents=True, exist_ok=True)
    if not (output / CATEGORIES).exists() and any((output / voc.MASKS).iterdir()):
        raise UserError(
            f"{output}: holds masks but no {CATEGORIES}; write the names there, one a line, in the order of their ids"
        )
    known = read_names(output / CATEGORIES) if (output / CATEGORIES).exists() else []
    wanted = {name: prefix + name for name in contents.names if name not in skip}
    names = [*known, *(name for name in wanted.values() if name not in known)]
    if len(names) >= VOID:
        raise UserError(f"{output}: {len(names)} categories; 8-bit masks hold at most {VOID - 1}")
    ids = np.zeros(256, np.uint8)
    ids[VOID] = VOID
    for index, name in enumerate(contents.names, start=1):
        ids[index] = names.index(wanted[name]) + 1 if name in wanted else VOID

    done, dead = _write(contents, output, ids, wanted, beam_args)
    dead += contents.faults
    text = "".join(json.dumps(letter, ensure_ascii=False) + "\n" for letter in dead)
    write_atomic(f"{output}/{FAULTS}", text.encode())
    kept = [item for item in done if not item["left_out"]]
    if not kept:
        reasons = "; ".join(f"{letter['key']}: {letter['reason']}" for letter in dead[:3])
        raise UserError(f"{output}: no image came in{': ' + reasons if reasons else ''}")
    write_atomic(f"{output}/{CATEGORIES}", "".join(f"{name}\n" for name in names).encode())
    _extend_tags(output / TAGS, {item["key"]: item["tags"] for item in kept})
    _extend_list(voc.list_path(output, split), [item["key"] for item in kept])
    return {
        "images": len(kept),
        "masks": sum(item["mask"] for item in kept),
        "left_out": len(done) - len(kept),
        "dead": len(dead),
        "first_fault": f"{dead[0]['key']}: {dead[0]['reason']}" if dead else None,
        "categories": names,
        "output": str(output),
    }


def read_names(path: Path) -> list[str]:
    """The names in a text file, one a line.

    Raises:
      UserError: the file is no text in UTF-8.
    """
    try:
        return [line.strip() for line in path.read_bytes().decode("utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file; write one name a line in UTF-8") from None


def read_rows(path: Path) -> dict[str, str]:
    """The columns of a tags file, image -> tags; {} without the file.

    Raises:
      UserError: not these columns, or no text in UTF-8.
    """
    if not path.exists():
        return {}
    try:
        return {row["image"]: row["tags"] for row in csv.DictReader(path.read_bytes().decode("utf-8-sig").splitlines())}
    except (UnicodeDecodeError, KeyError):
        raise UserError(f"{path}: line 1 must be the header image,tags, in UTF-8") from None


def _write(
    contents: Contents,
    output: Path,
    ids: np.ndarray,
    wanted: Mapping[str, str],
    beam_args: Sequence[str],
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Images and masks, in Beam -> (what was done, dead letters), both by key."""
    notes, letters = output / ".imported.jsonl", output / ".dead.jsonl"
    source, write = contents.samples, _WriteSample(str(output), contents.names, ids, wanted)
    with beam.Pipeline(options=PipelineOptions(list(beam_args))) as pipeline:
        samples = pipeline | "Samples" >> (source if isinstance(source, beam.PTransform) else beam.Create(list(source)))
        written = samples | beam.Reshuffle() | beam.ParDo(write).with_outputs(DEAD, main=_DONE)
        write_json_lines(written[DEAD], str(letters), "Letters")
        write_json_lines(written[_DONE], str(notes), "Notes")
    found = []
    for path in (notes, letters):
        found.append(sorted((json.loads(line) for line in path.read_text().splitlines()), key=lambda item: item["key"]))
        path.unlink()
    return found[0], found[1]


class _WriteSample(beam.DoFn):
    """Sample -> a note on what was written, or a dead letter."""

    def __init__(self, output: str, names: Sequence[str], ids: np.ndarray, wanted: Mapping[str, str]):
        """`names` and `wanted` (name there -> name here) are the dataset's, `ids` maps its ids to the folder's."""
        self.output, self.names, self.ids, self.wanted = output, list(names), ids, dict(wanted)

    def process(self, sample: Sample) -> Iterable[dict[str, Any] | beam.pvalue.TaggedOutput]:
        try:
            yield self._write(sample)
        except ImageFault as fault:
            yield beam.pvalue.TaggedOutput(DEAD, dead_letter(sample.key, fault))
        except Exception as error:
            yield beam.pvalue.TaggedOutput(DEAD, dead_letter(sample.key, ImageFault("write", one_line(error))))

    def _write(self, sample: Sample) -> dict[str, Any]:
        drawn = None if sample.mask is None else sample.mask()
        if sample.tags is None and drawn is None:
            raise ImageFault("tags", "has neither tags nor a mask")
        shown = set(sample.tags) if sample.tags is not None else {self.names[i - 1] for i in _ids_in(drawn)}
        if unknown := sorted(shown - set(self.names)):
            raise ImageFault("tags", f"tag '{unknown[0]}' is none of the dataset's categories")
        skipped = any(name not in self.wanted for name in shown)
        if not skipped:
            data = sample.image if isinstance(sample.image, bytes) else read_bytes(sample.image)
            suffix, data = _as_stored(data)
            if drawn is not None:
                write_atomic(str(voc.mask_path(self.output, sample.key)), encode(self.ids[drawn], {}))
            write_atomic(str(Path(self.output, voc.IMAGES, sample.key + suffix)), data)
        tags = [self.wanted[name] for name in self.names if name in shown and name in self.wanted]
        return {"key": sample.key, "tags": tags, "mask": drawn is not None, "left_out": skipped}


def _ids_in(mask: np.ndarray) -> list[int]:
    return [int(i) for i in np.unique(mask) if i not in (BACKGROUND, VOID)]


def _as_stored(data: bytes) -> tuple[str, bytes]:
    """(".jpg" or ".png", the image as such): JPEG and PNG as they are, anything else Pillow reads as PNG."""
    from PIL import Image

    if data[:2] == b"\xff\xd8":
        return ".jpg", data
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return ".png", data
    try:
        with Image.open(io.BytesIO(data)) as image:
            buffer = io.BytesIO()
            image.convert("RGB").save(buffer, "PNG")
            return ".png", buffer.getvalue()
    except Exception as error:  # Pillow raises many kinds on damaged files
        raise ImageFault("decode", f"not a readable image: {one_line(error)}") from None


def _extend_list(path: Path, keys: Iterable[str]) -> None:
    old = path.read_text().split("\n") if path.exists() else []
    lines = sorted({line.strip() for line in old if line.strip()} | set(keys))
    write_atomic(str(path), "".join(f"{line}\n" for line in lines).encode())


def _extend_tags(path: Path, tags: Mapping[str, Sequence[str]]) -> None:
    rows = read_rows(path)
    rows |= {key: "|".join(names) for key, names in tags.items()}
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["image", "tags"])
    writer.writerows(sorted(rows.items()))
    write_atomic(str(path), buffer.getvalue().encode())
