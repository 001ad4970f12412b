"""`transferseg predict`: a folder of images -> palette masks, with an exported segmentation model and Beam."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions
from PIL import Image

from components.beam_masks import job
from components.beam_masks.faults import faults_to
from components.beam_masks.images import Sample, Source, claim, mask_key
from components.beam_masks.masks import Result, write_atomic
from components.beam_masks.networks import RunNetworks, look_and_limit, threads_per_worker
from serving.prediction_counts import FILE as COUNTS
from serving.prediction_counts import PredictionCounts
from serving.saved_model import find_saved_model
from trainer.data.pictures import MOST_PIXELS, read_header
from trainer.errors import UserError

MAX_DEAD_SHARE = 0.1  # our choice
_DIGITS = 6  # of scores in a mask's note
Format = Literal["png", "coco", "coco-polygons"]


def predict_folder(
    model: str | Path,
    images: str | Path,
    output: str | Path,
    *,
    format: Format = "png",
    max_dead_share: float = MAX_DEAD_SHARE,
    max_pixels: int | None = None,
    beam_args: Sequence[str] = (),
) -> dict[str, Any]:
    """Predicts the images that `output` does not hold yet.

    Writes <output>/<stem>.png (palette, the model's ids, at the image's own size), dead_letters.jsonl, summary.json,
    predictions.prom (see serving/prediction_counts.py) and, by format, annotations.json (COCO).

    Args:
      model: exported segmentation model, or a folder of versions, of which the newest is taken.
      images: folder of pictures in any format of trainer.data.names.PICTURE_SUFFIXES.
      max_dead_share: share of images that may fail, 0..1.
      max_pixels: larger pictures are dead letters; by default those that the model does not take.
      beam_args: Beam options.

    Returns:
      The summary: inputs = labelled + dead, dead_by_stage, kept, others, wall_s, images_per_s, categories, passed_over
      (names of what is no picture), output.

    Raises:
      UserError: an argument is wrong, or the output is another's; nothing was done. Or its disk is full.
      TooManyFaults: everything was done, but too large a share failed.
    """
    from serving.export import read_categories  # brings TensorFlow, which workers load only with the model

    model = str(find_saved_model(model).resolve())
    digest = job.model_digest(model)
    categories = read_categories(model, "segmentation")
    look, limit = look_and_limit(model)
    if look.overlap is not None and max_pixels is not None and max_pixels > limit:
        raise UserError(
            f"--max-pixels {max_pixels}: the model takes {limit} pixels, and one that looks in tiles "
            "gets no picture smaller than it is; train with a larger inference.max_pixels"
        )
    networks = RunNetworks(
        [model],
        served_mask,
        max_pixels=max_pixels or limit,
        threads=threads_per_worker(PipelineOptions(list(beam_args))),
        needs_pixels=False,
    )

    def report(output: Path, _: Sequence[Source], notes: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        write_atomic(f"{output}/{COUNTS}", count_predictions(notes.values(), categories.names).text())
        return {"categories": list(categories.names)}

    return job.run(
        "predict",
        images,
        output,
        _sources,
        networks,
        categories,
        report,
        recipe=digest,
        format=format,
        reports=[COUNTS],
        max_dead_share=max_dead_share,
        beam_args=beam_args,
        title="Masks",
    )


def served_mask(sample: Sample, _: None, outputs: list[dict[str, np.ndarray]], image_sizes: list[int]) -> Result:
    """The model's own PNG as a result, at the size of the picture, which the model may have got smaller.

    Its note holds the picture's scores, so that a rerun counts the masks that it keeps too.
    """
    data, size = outputs[0]["mask_bytes"], read_header(sample.image, MOST_PIXELS).size
    note: dict[str, Any] = {"stamp": sample.stamp}
    if "confidence" in outputs[0]:
        note["confidence"] = round(float(outputs[0]["confidence"]), _DIGITS)
        note["area"] = [round(float(share), _DIGITS) for share in outputs[0]["area"]]
    if read_header(data, MOST_PIXELS).size == size:
        return Result(sample.key, data, note)
    with Image.open(io.BytesIO(data)) as png:
        mask = cv2.resize(np.asarray(png), size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return Result(sample.key, mask, note)


def count_predictions(notes: Iterable[dict[str, Any]], names: Sequence[str]) -> PredictionCounts:
    """Counts of the masks whose notes hold scores; those of a model exported by an earlier version hold none."""
    counts = PredictionCounts(names)
    if scored := [note for note in notes if "confidence" in note]:
        counts.add(np.array([note["area"] for note in scored]), np.array([note["confidence"] for note in scored]))
    return counts


def _sources(files: Sequence[Path]) -> tuple[list[Source], list[dict[str, str]]]:
    claims, sources, dead = {}, [], []
    for path in files:
        with faults_to(dead, mask_key(path.name)):
            sources.append(Source(claim(path, claims), str(path)))
    return sources, dead
