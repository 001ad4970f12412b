"""ServingValidator's executor: takes images from the eval split, runs the check, writes the blessing."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from tfx import types
from tfx.components.util import model_utils
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.beam_masks.networks import look_and_limit
from components.image_example_gen.records import EVAL
from components.serving_validator.check_config import ServingCheckConfig
from components.serving_validator.checks import check_model
from components.weak_labels.examples import split_files
from trainer.data.categories import Categories
from trainer.data.features import first_images
from trainer.errors import UserError

REPORT = "serving_check.json"
BLESSED = "blessed"  # the custom property that TFX's Pusher reads


class Executor(base_executor.BaseExecutor):
    """Blesses a model that can be served."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Checks the model.

        Args:
          input_dict:
            - model: the trained and exported model.
            - examples: ImageExampleGen's artifact; the first images of its split eval that the model takes are sent.
            - infra_blessing: optional, the InfraValidator's; without its blessing this one is withheld too.
          output_dict:
            - blessing: InfraBlessing, as the Pusher reads it; gets serving_check.json (see checks.ServingReport).
          exec_properties:
            - settings: JSON of ServingCheckConfig.
            - categories: JSON of Categories.to_dict().

        Raises:
          UserError: the model takes none of the images.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        model = artifact_utils.get_single_instance(input_dict["model"])
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        settings = ServingCheckConfig.model_validate_json(exec_properties["settings"])
        files = split_files(artifact_utils.get_split_uri(input_dict["examples"], EVAL))
        folder = path_utils.serving_model_path(model.uri)
        _, limit = look_and_limit(folder)
        images = first_images(files, settings.images, limit)
        if not images:
            raise UserError(f"inference.max_pixels: no picture of the evaluation list has {limit} or fewer; raise it")
        with tempfile.TemporaryDirectory() as work:
            report = check_model(
                Path(folder),
                images,
                Categories.from_dict(json.loads(exec_properties["categories"])),
                settings,
                Path(work),
            )
        if not all(model_utils.is_infra_validated(other) for other in input_dict.get("infra_blessing", [])):
            report.reasons.append("TF Serving in docker did not load it (InfraValidator); see its log")
        Path(blessing.uri, REPORT).write_text(report.to_json())
        blessing.set_int_custom_property(BLESSED, 0 if report.reasons else 1)
