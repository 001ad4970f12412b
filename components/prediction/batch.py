"""`transferseg predict`: a folder of images -> palette masks, with an exported segmentation model and Beam."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from components.batch import job
from components.batch.faults import dead_letter
from components.batch.images import Sample, Source, list_images
from components.batch.masks import Result
from components.batch.networks import RunNetworks, threads_per_worker
from trainer.errors import ImageFault, UserError

MAX_DEAD_SHARE = 0.1  # open


def predict_folder(
    model: str | Path,
    images: str | Path,
    output: str | Path,
    *,
    max_dead_share: float = MAX_DEAD_SHARE,
    beam_args: Sequence[str] = (),
    limit: int | None = None,
) -> dict[str, Any]:
    """Predicts the images that `output` does not hold yet.

    Writes <output>/<stem>.png (palette, the model's ids, at the image's own size), dead_letters.jsonl and summary.json.

    Args:
      model: exported segmentation model, or a folder of versions, of which the newest is taken.
      images: folder of JPEG, PNG, BMP or GIF files.
      max_dead_share: share of images that may fail, 0..1.
      beam_args: Beam options.
      limit: only the first so many images.

    Returns:
      The summary: inputs = labelled + dead, dead_by_stage, kept, wall_s, images_per_s, categories, output.

    Raises:
      UserError: an argument is wrong; nothing was done.
      TooManyFaults: everything was done, but too large a share failed.
    """
    from serving.export import read_categories  # brings TensorFlow, which workers load only with the model
    from trainer.data.pictures import MAX_PIXELS

    model = str(_newest_version(Path(model)).resolve())
    digest = job.model_digest(model)
    categories = read_categories(model, "segmentation")
    output = job.prepare_output(output, images)
    sources, dead = _sources(images, limit)
    outcome = job.run(
        sources,
        dead,
        RunNetworks([model], served_mask, max_pixels=MAX_PIXELS, threads=threads_per_worker(beam_args)),
        output,
        recipe=digest,
        beam_args=beam_args,
        title="Masks",
    )
    return job.finish(outcome, output, max_dead_share, categories=list(categories.names))


def _newest_version(model: Path) -> Path:
    """A folder of versions, as TF Serving reads it -> the newest; a model stays what it is."""
    versions = [path for path in model.glob("*") if path.name.isdigit() and (path / "saved_model.pb").is_file()]
    return model if (model / "saved_model.pb").is_file() or not versions else max(versions, key=lambda v: int(v.name))


def served_mask(
    sample: Sample, image: np.ndarray, outputs: list[dict[str, np.ndarray]], image_sizes: list[int]
) -> Result:
    """The model's own PNG as a result."""
    with Image.open(io.BytesIO(outputs[0]["mask_bytes"])) as png:
        mask = np.array(png, np.uint8)
    return Result(sample.key, mask, {"stamp": sample.stamp})


def _sources(images: str | Path, limit: int | None) -> tuple[list[Source], list[dict[str, str]]]:
    files = list_images(images)[:limit]
    if not files:
        raise UserError(f"{images}: holds no JPEG, PNG, BMP or GIF image")
    first: dict[str, Path] = {}
    dead = []
    for path in files:
        if first.setdefault(path.stem, path) is not path:
            reason = f"{path.name}: its mask would overwrite that of {first[path.stem].name}; rename it"
            dead.append(dead_letter(path.stem, ImageFault("write", reason)))
    return [Source(key, str(path)) for key, path in first.items()], dead
