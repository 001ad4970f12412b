"""The review loop: the least certain weak labels out to Label Studio or a COCO editor, corrected masks back in."""

from __future__ import annotations

import heapq
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np
import tensorflow as tf
from tfx.orchestration.metadata import Metadata

from components.beam_masks.coco_export import COCO, write_coco
from components.beam_masks.faults import dead_letter
from components.beam_masks.images import Source
from components.beam_masks.masks import encode, write_atomic
from components.beam_masks.output import SUMMARY
from components.dataset_import.brush import brush_results
from components.dataset_import.coco import read_coco
from components.dataset_import.items import ImportedPicture
from components.dataset_import.label_studio import read_label_studio
from components.dataset_import.placement import pictures_of, wanted_key
from components.dataset_import.writer import import_dataset
from components.image_example_gen import voc
from components.weak_labels.examples import CATEGORIES, read_labels, split_files
from pipeline.config.run_config import load_config
from pipeline.execution.metadata_store import FILE, connect
from pipeline.run.history import ModelHistory
from serving.saved_model import versions
from trainer.data import features
from trainer.data.categories import VOID, Categories, palette
from trainer.data.category_names import read_names
from trainer.data.csv_table import written
from trainer.data.features import key_of, read_examples, tags_of
from trainer.data.files import read_bytes, read_json
from trainer.data.masks import read_mask
from trainer.data.pictures import read_header, upright_pixels
from trainer.data.preprocessing import decode_mask
from trainer.data.tags_table import SEPARATOR
from trainer.errors import ImageFault, UserError, few

_LABELS = ("artifacts", "weak_labels", "examples")  # folder in the work folder


def export_labels(workdir: Path, output: Path, count: int) -> int:
    """Writes the `count` least certain weak labels of the last run that made any or had them from the cache.

    Writes images/, masks/ (palette PNGs), tasks.json and label_config.xml (Label Studio, labels as predictions that a
    person takes over and corrects), annotations.json (COCO) and review.csv (image, confidence, tags).

    Returns:
      How many there are.

    Raises:
      UserError: the run has no weak labels yet, or `output` holds something.
    """
    labelled = _newest_labels(workdir)
    categories = _categories_of(labelled, workdir)
    if output.exists() and any(output.iterdir()):
        raise UserError(f"{output}: holds something; name another folder or empty this one")
    least = ((record["confidence"], record["key"]) for record in read_labels(str(labelled)))
    confidences = {key: confidence for confidence, key in heapq.nsmallest(count, least)}
    for folder in ("images", "masks"):
        (output / folder).mkdir(parents=True, exist_ok=True)
    tasks, sources = {}, {}
    for file in split_files(str(labelled / "Split-weak")):
        for example in read_examples(file):
            key = key_of(example)
            if key in confidences:
                path, mask = _write(example, output)
                sources[key] = Source(key, str(path), tags_of(example))
                tasks[key] = _task(path.name, mask, confidences[key], categories)
    done = [key for key in confidences if key in tasks]
    write_coco(output / "masks", [sources[key] for key in done], categories)
    os.replace(output / "masks" / COCO, output / COCO)
    numbered = [{"id": number, **tasks[key]} for number, key in enumerate(done, start=1)]
    write_atomic(f"{output}/tasks.json", json.dumps(numbered).encode())
    write_atomic(f"{output}/label_config.xml", _label_config(categories).encode())
    tags = {key: SEPARATOR.join(categories.names[tag] for tag in sources[key].tags) for key in done}
    table = written(("image", "confidence", "tags"), ((key, confidences[key], tags[key]) for key in done))
    write_atomic(f"{output}/review.csv", table)
    return len(done)


def import_labels(annotations: Path, images: Path, output: Path) -> dict[str, Any]:
    """Brings corrected masks into a dataset, and its list "corrected": those images count as strong from now on.

    Args:
      annotations: Label Studio's JSON export or COCO's JSON.
      images: folder of the exported images, beside that of the masks.
      output: the dataset's folder.

    Returns:
      As `import_dataset`, and "unchanged": images whose masks are those that were exported, and tasks that nobody has
      annotated. They are left as they are.

    Raises:
      UserError: neither format, nothing corrected, or categories that the dataset does not have.
    """
    read = read_label_studio if isinstance(read_json(annotations, "a JSON export"), list) else read_coco
    contents = read(str(annotations), str(images))
    # Label Studio says which tasks a person has annotated, COCO does not.
    corrected = [one for one in contents.samples if read is not read_coco or not _is_as_exported(one, images)]
    faults = [letter for letter in contents.faults if letter["stage"] != "label"]  # that one: nobody has labelled it
    unchanged = len(contents.samples) - len(corrected) + len(contents.faults) - len(faults)
    if unchanged and not corrected and not faults:
        raise UserError(f"{annotations}: nothing corrected: all {unchanged} masks are those that were exported")
    _check_categories(contents.names, annotations, output)
    there, kept, new = pictures_of(output), [], []
    for sample in corrected:
        try:
            if (name := there.get(wanted_key(sample.name))) is None:
                new.append(sample.name)
            elif read_bytes(sample.image) != read_bytes(output / voc.IMAGES / name):
                what = f"is not {name} of {output}"
                raise ImageFault("image", f"{what}; give --images the exported pictures as they were, or rename it")
            kept.append(sample)
        except ImageFault as fault:
            faults.append(dead_letter(sample.name, fault))
    notes = [*contents.notes, *([f"{len(new)} pictures are new to {output}, e.g. {new[0]}"] if new else [])]
    contents = replace(contents, samples=kept, faults=faults, notes=notes)
    return {**import_dataset(contents, output, voc.CORRECTED, replace=True), "unchanged": unchanged}


def _check_categories(names: Sequence[str], annotations: Path, output: Path) -> None:
    """Raises UserError for categories that the dataset lacks, as misspelt ones are."""
    listing = output / voc.CATEGORIES
    known = read_names(listing) if listing.is_file() else names
    if unknown := [name for name in names if name not in known]:
        raise UserError(
            f"{annotations}: {few(unknown)}: no category of {listing}, which has {', '.join(known)}; correct the label "
            "and export again, or add a new category to that file"
        )


def _is_as_exported(sample: ImportedPicture, images: Path) -> bool:
    """Whether a mask is the exported one, whose void pixels COCO cannot tell."""
    exported = images.parent / "masks" / f"{Path(sample.name).stem}.png"
    if sample.mask is None or not exported.is_file():
        return False
    try:
        ids = sample.mask(read_header(read_bytes(sample.image))).ids
    except ImageFault:
        return False  # `import_dataset` names it
    try:
        mask = read_mask(read_bytes(exported), VOID)
    except ImageFault as fault:
        raise UserError(f"{exported}: {fault}; leave the exported masks as they are, or export again") from None
    return mask.shape == ids.shape and bool(((mask == ids) | (mask == VOID)).all())


def _categories_of(labelled: Path, workdir: Path) -> Categories:
    """What the labels' ids mean; the work folder's config may be of a later run, which made none."""
    path = labelled / CATEGORIES
    if path.is_file():
        return Categories.from_dict(read_json(path, "the labels' categories"))
    return load_config(workdir / "config.yaml").categories.resolve()  # labels of an earlier version


def _newest_labels(workdir: Path) -> Path:
    """The labels of the last run that came that far, which may be an earlier run's from the cache."""
    folder = workdir.joinpath(*_LABELS)
    labelled = [path for path in versions(folder).values() if (path / SUMMARY).is_file()]  # which is written last
    if not labelled:
        raise UserError(f"{workdir}: no weak labels here; give the work folder of a run that came that far")
    used = _used(workdir)
    return next((path for path in reversed(labelled) if path.name in used), labelled[-1])


def _used(workdir: Path) -> set[str]:
    """Names of the label sets that the newest runs have, by the metadata store; empty without one."""
    config = load_config(workdir / "config.yaml")
    if config.metadata.kind == "sqlite" and not (workdir / FILE).exists():
        return set()
    with Metadata(connect(config.metadata, workdir)) as handle:
        history = ModelHistory(handle.store, config.name)
    uris = [Path(history.artifacts[id].uri) for id in history.newest(1) & history.artifacts.keys()]
    return {uri.name for uri in uris if uri.parts[-4:-1] == _LABELS}


def _write(example: tf.train.Example, output: Path) -> tuple[Path, np.ndarray]:
    """Image and mask of an example as files -> (the image's path, uint8 [H, W], upright as Label Studio shows it)."""
    data = features.image_of(example)
    suffix = ".png" if data.startswith(b"\x89PNG") else ".jpg"
    path = output / "images" / f"{key_of(example)}{suffix}"
    path.write_bytes(data)
    mask = decode_mask(tf.constant(example.features.feature[features.MASK].bytes_list.value[0])).numpy()
    (output / "masks" / f"{key_of(example)}.png").write_bytes(encode(mask, {}))
    return path, upright_pixels(mask, read_header(data).orientation)


def _task(name: str, mask: np.ndarray, confidence: float, categories: Categories) -> dict[str, Any]:
    """A Label Studio task whose prediction is the label; the image is served as a local file."""
    result = brush_results(mask, {i: name for i, name in enumerate(categories.names) if i})
    prediction = {"model_version": "weak labels", "score": confidence, "result": result}
    return {"data": {"image": f"/data/local-files/?d=images/{quote(name)}"}, "predictions": [prediction]}


def _label_config(categories: Categories) -> str:
    colours = palette()
    labels = "\n".join(
        f'    <Label value={quoteattr(name)} background="#{bytes(colours[i]).hex()}"/>'
        for i, name in enumerate(categories.names)
        if i
    )
    return (
        '<View>\n  <Image name="image" value="$image" zoom="true"/>\n'
        f'  <BrushLabels name="tag" toName="image">\n{labels}\n  </BrushLabels>\n</View>\n'
    )
