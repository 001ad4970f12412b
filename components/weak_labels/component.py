"""WeakLabels: glue between TFX and the Beam transform."""

import json

import apache_beam as beam
import tensorflow as tf
from tfx.components.util import examples_utils
from tfx.dsl.component.experimental.annotations import BeamComponentParameter, InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import artifact_utils
from tfx.types.standard_artifacts import Examples, HyperParameters, Model
from tfx.utils import path_utils

from components.beam_masks.faults import refuse_above
from components.beam_masks.job import model_digest, recipe_of, write_json_lines
from components.beam_masks.masks import write_atomic
from components.beam_masks.networks import threads_per_worker
from components.beam_masks.output import DEAD_LETTERS, SUMMARY
from components.image_example_gen.records import STRONG, WEAK
from components.weak_labels.core.label_config import VALUES, LabelConfig, read_label_settings
from components.weak_labels.examples import CATEGORIES, split_files
from components.weak_labels.label_store import LabelStore
from components.weak_labels.shards import LabelShard, LabelShards
from components.weak_labels.transform import label_networks
from serving.export import read_categories
from trainer.data.categories import Categories
from trainer.data.files import read_json, read_lines
from trainer.data.pictures import MAX_PIXELS
from trainer.errors import UserError


@component(use_beam=True)
def WeakLabels(
    unlabelled_examples: InputArtifact[Examples],
    cam: InputArtifact[Model],
    l_net: InputArtifact[Model],
    examples: OutputArtifact[Examples],
    settings: Parameter[str],
    categories: Parameter[str],
    max_dead_share: Parameter[float],
    store: Parameter[str] = None,
    calibration: InputArtifact[HyperParameters] = None,
    pipeline: BeamComponentParameter[beam.Pipeline] = None,
) -> None:
    """Gives every weak example a generated mask; strong examples are passed on. The eval split is left behind.

    Args:
      unlabelled_examples: ImageExampleGen's, with the splits strong and weak.
      cam: exported CAM classifier of the same categories.
      l_net: exported L-Net.
      examples: gets Split-strong (copied files), Split-weak (same examples with mask/encoded as grey PNG and
        mask/source "generated"; those that failed are left out), labels/ (records, see shards.LabelShard),
        categories.json (of its ids), dead_letters.jsonl (key, stage, reason) and summary.json (images labelled, kept of
        these from earlier runs, dead; with boxes, how many and how many are empty).
      settings: JSON of LabelConfig.
      categories: Categories.to_json().
      max_dead_share: share of weak images that may fail, 0..1.
      store: folder of labels kept from run to run, or None: an image with the same bytes and tags that was labelled by
        the same networks and settings is not labelled again.
      calibration: its values replace `settings`.

    Raises:
      UserError: the CAM knows other categories.
      TooManyFaults: too large a share of the weak images failed.
    """
    models = [path_utils.serving_model_path(model.uri) for model in (cam, l_net)]
    _check_categories(models[0], Categories.from_json(categories))
    read_categories(models[1], "l_net")
    values = _settings(calibration, settings)
    kept = LabelStore(store, recipe_of(values.model_dump_json(), *map(model_digest, models))) if store else None
    threads = threads_per_worker(pipeline.options)
    networks = label_networks(*models, values, max_pixels=MAX_PIXELS, threads=threads)
    strong, weak = (split_files(artifact_utils.get_split_uri([unlabelled_examples], s)) for s in (STRONG, WEAK))
    copies = f"{examples.uri}/Split-{STRONG}"
    tf.io.gfile.makedirs(copies)
    dead_letters, summary = f"{examples.uri}/{DEAD_LETTERS}", f"{examples.uri}/{SUMMARY}"
    write_atomic(f"{examples.uri}/{CATEGORIES}", categories.encode())
    with pipeline:
        counts, dead = pipeline | LabelShards(weak, LabelShard(networks, examples.uri, kept))
        write_json_lines(dead, dead_letters, "Letters")
        _ = counts | "WriteSummary" >> beam.Map(_write_summary, summary)
        _ = pipeline | "Strong" >> beam.Create(strong) | beam.Reshuffle() | beam.Map(_copy, copies)

    counted = read_json(summary, "the labels' counts")
    refuse_above(max_dead_share, read_lines(dead_letters), counted["labelled"] + counted["dead"], dead_letters)

    examples.split_names = artifact_utils.encode_split_names([STRONG, WEAK])
    examples.span, examples.version = unlabelled_examples.span, unlabelled_examples.version
    examples_utils.set_file_format(examples, examples_utils.get_file_format(unlabelled_examples))
    examples_utils.set_payload_format(examples, examples_utils.get_payload_format(unlabelled_examples))


def _write_summary(counts: dict[str, int], path: str) -> None:
    write_atomic(path, json.dumps({"labelled": 0, "kept": 0, "dead": 0} | counts).encode())


def _copy(file: str, folder: str) -> None:
    tf.io.gfile.copy(file, f"{folder}/{file.rpartition('/')[2]}", overwrite=True)


def _check_categories(cam: str, categories: Categories) -> None:
    known = read_categories(cam, "cam")
    if known.foreground != categories.foreground:
        raise UserError(
            f"{cam}: the CAM was trained on other categories ({', '.join(known.foreground)}) than this run's "
            f"({', '.join(categories.foreground)}); train it again"
        )


def _settings(calibration: HyperParameters | None, settings: str) -> LabelConfig:
    return (
        read_label_settings(f"{calibration.uri}/{VALUES}") if calibration else LabelConfig.model_validate_json(settings)
    )
