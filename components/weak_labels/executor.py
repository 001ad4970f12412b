"""WeakLabels' executor: glue between TFX and the Beam transform."""

from __future__ import annotations

import json
from typing import Any

import apache_beam as beam
import tensorflow as tf
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.types import artifact_utils
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


class Executor(base_beam_executor.BaseBeamExecutor):
    """Labels the weak split."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Generates a mask for every weak example.

        Args:
          input_dict:
            - unlabelled_examples: ImageExampleGen's artifact with the splits strong and weak.
            - cam: Model artifact, exported CAM classifier.
            - l_net: Model artifact, exported L-Net.
            - calibration: optional; its values replace `settings`.
          output_dict:
            - examples: gets Split-strong (copied files), Split-weak (same examples with mask/encoded as grey
              PNG and mask/source "generated"; those that failed are left out), labels/ (records, see
              shards.LabelShard), categories.json (of its ids), dead_letters.jsonl (key, stage, reason) and
              summary.json (images labelled, kept of these from earlier runs, dead; with boxes, how many and how many
              are empty).
          exec_properties:
            - settings: JSON of LabelConfig.
            - categories: JSON of Categories.to_dict().
            - max_dead_share: share of weak images that may fail, 0..1.
            - store: folder of labels kept from run to run, or None: an image with the same bytes and tags that was
              labelled by the same networks and settings is not labelled again.

        Raises:
          UserError: the CAM knows other categories.
          TooManyFaults: too large a share of the weak images failed.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        examples = artifact_utils.get_single_instance(input_dict["unlabelled_examples"])
        output = artifact_utils.get_single_instance(output_dict["examples"])
        cam, l_net = (
            path_utils.serving_model_path(artifact_utils.get_single_instance(input_dict[name]).uri)
            for name in ("cam", "l_net")
        )
        _check_categories(cam, Categories.from_dict(json.loads(exec_properties["categories"])))
        read_categories(l_net, "l_net")

        settings = _settings(input_dict, exec_properties)
        store = None
        if exec_properties.get("store"):
            recipe = recipe_of(settings.model_dump_json(), model_digest(cam), model_digest(l_net))
            store = LabelStore(exec_properties["store"], recipe)
        threads = threads_per_worker(self._beam_pipeline_args)
        networks = label_networks(cam, l_net, settings, max_pixels=MAX_PIXELS, threads=threads)
        strong, weak = (split_files(artifact_utils.get_split_uri([examples], split)) for split in (STRONG, WEAK))
        copies = f"{output.uri}/Split-{STRONG}"
        tf.io.gfile.makedirs(copies)
        dead_letters, summary = f"{output.uri}/{DEAD_LETTERS}", f"{output.uri}/{SUMMARY}"
        write_atomic(f"{output.uri}/{CATEGORIES}", exec_properties["categories"].encode())
        with self._make_beam_pipeline() as pipeline:
            counts, dead = pipeline | LabelShards(weak, LabelShard(networks, output.uri, store))
            write_json_lines(dead, dead_letters, "Letters")
            _ = counts | "WriteSummary" >> beam.Map(_write_summary, summary)
            _ = pipeline | "Strong" >> beam.Create(strong) | beam.Reshuffle() | beam.Map(_copy, copies)

        counted = read_json(summary, "the labels' counts")
        images = counted["labelled"] + counted["dead"]
        refuse_above(exec_properties["max_dead_share"], read_lines(dead_letters), images, dead_letters)

        output.split_names = artifact_utils.encode_split_names([STRONG, WEAK])
        output.span, output.version = examples.span, examples.version
        examples_utils.set_file_format(output, examples_utils.get_file_format(examples))
        examples_utils.set_payload_format(output, examples_utils.get_payload_format(examples))


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


def _settings(input_dict: dict[str, list[types.Artifact]], exec_properties: dict[str, Any]) -> LabelConfig:
    if input_dict.get("calibration"):
        return read_label_settings(f"{artifact_utils.get_single_instance(input_dict['calibration']).uri}/{VALUES}")
    return LabelConfig.model_validate_json(exec_properties["settings"])
