"""`transferseg label`: a folder of images and a tags file -> masks, with two exported models and Beam."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from components.batch import job
from components.batch.networks import threads_per_worker
from components.weak_labels.outputs import write_coco, write_confidence, write_examples
from components.weak_labels.samples import categories_of, plan, read_rows
from components.weak_labels.settings import LabelSettings
from components.weak_labels.transform import label_networks
from serving.export import read_categories
from trainer.data.pictures import MAX_PIXELS
from trainer.errors import UserError

Format = Literal["png", "coco", "tfrecord"]
Mode = Literal["cam", "class-agnostic"]
MAX_DEAD_SHARE = 0.1  # open


def label_folder(
    l_net: str | Path,
    cam: str | Path | None,
    images: str | Path,
    tags_csv: str | Path,
    output: str | Path,
    *,
    format: Format = "png",
    mode: Mode = "cam",
    max_dead_share: float = MAX_DEAD_SHARE,
    beam_args: Sequence[str] = (),
    settings: LabelSettings | None = None,
    limit: int | None = None,
) -> dict[str, Any]:
    """Labels the images that `output` does not hold yet: after a kill, the same call goes on where it stopped.

    Writes <output>/<stem>.png (palette, ids of `categories`), confidence.csv, dead_letters.jsonl, summary.json and, by
    format, annotations.json (COCO) or examples.tfrecord.gz.

    Args:
      l_net, cam: exported models; the CAM's categories give the ids. In the mode "class-agnostic" there is no CAM:
        every image has one tag, of any name, and ids follow the tags' first appearance in the file.
      images: folder of JPEG, PNG, BMP or GIF files.
      tags_csv: CSV `image,tags`, tags separated by |.
      max_dead_share: share of inputs that may fail, 0..1.
      beam_args: Beam options; --direct_running_mode=multi_processing --direct_num_workers=2 for two processes.
      limit: only the first so many inputs.

    Returns:
      The summary: inputs = labelled + dead, dead_by_stage, kept, wall_s, images_per_s, categories, output.

    Raises:
      UserError: an argument is wrong; nothing was done.
      TooManyFaults: everything was done, but too large a share failed.
    """
    settings = settings or LabelSettings()
    if format not in get_args(Format):
        raise UserError(f"--format {format}: not one of {', '.join(get_args(Format))}")
    if (mode == "cam") != (cam is not None):
        raise UserError("give --cam, or --mode class-agnostic without --cam")
    rows = read_rows(tags_csv)
    models = [str(Path(model).resolve()) for model in (cam, l_net) if model is not None]
    digests = [job.model_digest(model) for model in models]
    read_categories(models[-1], "l_net")
    categories = read_categories(models[0], "cam") if cam is not None else categories_of(rows)
    output = job.prepare_output(output, images)
    work = plan(images, rows, categories, limit)

    outcome = job.run(
        work.sources,
        work.dead,
        label_networks(
            models[0] if cam is not None else None,
            models[-1],
            settings,
            max_pixels=MAX_PIXELS,
            threads=threads_per_worker(beam_args),
        ),
        output,
        recipe=job.recipe_of(settings.model_dump_json(), categories.names, *digests),
        beam_args=beam_args,
        title="Labels",
    )
    write_confidence(output, outcome.done, categories)
    done = [source for source in work.sources if source.key in outcome.done]
    if format == "coco":
        write_coco(output, done, categories)
    elif format == "tfrecord":
        write_examples(output, done)
    return job.finish(outcome, output, max_dead_share, categories=list(categories.names), format=format)
