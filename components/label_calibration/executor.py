"""LabelCalibration's executor: glue between TFX and the search."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.image_example_gen.records import STRONG
from components.label_calibration.calibration_files import write_calibration
from components.label_calibration.known_images import known_images, rehearsal_images
from components.label_calibration.search import calibrate
from components.weak_labels.core.label_config import LabelConfig
from components.weak_labels.examples import split_files
from trainer.data.features import read_examples


class Executor(base_executor.BaseExecutor):
    """Calibrates on the strong split."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Searches the values of the label core.

        Args:
          input_dict:
            - examples: ImageExampleGen's artifact; only its split strong is read.
            - cam, l_net: Model artifacts, exported; the L-Net has not seen all strong categories.
          output_dict:
            - calibration: gets labels.yaml, calibration.json and calibration.png.
          exec_properties:
            - settings: JSON of LabelConfig to start from.

        Raises:
          UserError: the L-Net has seen all strong categories.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        cam, l_net = (
            path_utils.serving_model_path(artifact_utils.get_single_instance(input_dict[name]).uri)
            for name in ("cam", "l_net")
        )
        files = split_files(artifact_utils.get_split_uri([examples], STRONG))
        strong = (example for file in files for example in read_examples(file))
        chosen = rehearsal_images(strong, l_net)
        images = list(known_images(cam, l_net, chosen))
        found = calibrate(images, LabelConfig.model_validate_json(exec_properties["settings"]))
        write_calibration(artifact_utils.get_single_instance(output_dict["calibration"]).uri, found)
