"""`transferseg label`: a folder of images and a tags file -> masks, with two exported models and Beam."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from apache_beam.options.pipeline_options import PipelineOptions

from components.beam_masks import job
from components.beam_masks.images import Source
from components.beam_masks.networks import threads_per_worker
from components.weak_labels.core.label_config import LabelConfig
from components.weak_labels.folder_inputs import categories_of, plan
from components.weak_labels.folder_outputs import (
    CONFIDENCE,
    EXAMPLES,
    box_counts,
    is_empty,
    write_confidence,
    write_examples,
)
from components.weak_labels.transform import label_networks
from serving.export import read_categories
from trainer.data.boxes import read_boxes_table
from trainer.data.pictures import MAX_PIXELS
from trainer.data.tags_table import read_tags_table
from trainer.errors import UserError

Format = Literal["png", "coco", "coco-polygons", "tfrecord"]
Mode = Literal["cam", "class-agnostic"]
MAX_DEAD_SHARE = 0.1  # our choice


def label_folder(
    l_net: str | Path,
    cam: str | Path | None,
    images: str | Path,
    tags: str | Path,
    output: str | Path,
    *,
    format: Format = "png",
    mode: Mode = "cam",
    max_dead_share: float = MAX_DEAD_SHARE,
    max_pixels: int = MAX_PIXELS,
    beam_args: Sequence[str] = (),
    settings: LabelConfig | None = None,
    boxes: str | Path | None = None,
) -> dict[str, Any]:
    """Labels the images that `output` does not hold yet: after a kill, the same call goes on where it stopped.

    Writes <output>/<stem>.png (palette, ids of `categories`), confidence.csv, dead_letters.jsonl, summary.json and, by
    format, annotations.json (COCO) or examples.tfrecord.gz.

    Args:
      l_net, cam: exported models; the CAM's categories give the ids. In the mode "class-agnostic" there is no CAM:
        every image has one tag, of any name, and ids follow the tags' first appearance in the file.
      images: folder of pictures in any format of trainer.data.names.PICTURE_SUFFIXES.
      tags: CSV `image,tags`, tags separated by |.
      max_dead_share: share of inputs that may fail, 0..1.
      max_pixels: larger pictures are dead letters.
      beam_args: Beam options; --direct_running_mode=multi_processing --direct_num_workers=2 for two processes.
      boxes: CSV `image,category,x1,y1,x2,y2`, see trainer.data.boxes; lines of other pictures are wrong ones.

    Returns:
      The summary: inputs = labelled + dead, dead_by_stage, kept, others, wall_s, images_per_s, empty (labels without a
      category), categories, passed_over (names of what is no picture), output; with boxes, `box_counts`.

    Raises:
      UserError: an argument is wrong, or the output is another's; nothing was done. Or its disk is full.
      TooManyFaults: everything was done, but too large a share failed.
    """
    settings = settings or LabelConfig()
    if (mode == "cam") != (cam is not None):
        raise UserError("give --cam, or --mode class-agnostic without --cam")
    table = read_tags_table(tags)
    models = [str(Path(model).resolve()) for model in (cam, l_net) if model is not None]
    digests = [job.model_digest(model) for model in models]
    read_categories(models[-1], "l_net")
    categories = read_categories(models[0], "cam") if cam is not None else categories_of(table)
    networks = label_networks(
        models[0] if cam is not None else None,
        models[-1],
        settings,
        max_pixels=max_pixels,
        threads=threads_per_worker(PipelineOptions(list(beam_args))),
    )

    def report(output: Path, done: Sequence[Source], notes: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        write_confidence(output, notes, categories)
        if format == "tfrecord":
            write_examples(output, done, max_pixels)
        empty = sum(map(is_empty, notes.values()))
        more = {"categories": list(categories.names), "format": format}
        return {"empty": empty, **box_counts(notes.values()), **more}

    return job.run(
        "label",
        images,
        output,
        lambda files: plan(files, table, categories, read_boxes_table(boxes) if boxes else None),
        networks,
        categories,
        report,
        recipe=job.recipe_of(settings.model_dump_json(), categories.names, *digests),
        format=format,
        reports=[CONFIDENCE, *([EXAMPLES] if format == "tfrecord" else [])],
        other_reports=[EXAMPLES],
        max_dead_share=max_dead_share,
        beam_args=beam_args,
        title="Labels",
    )
