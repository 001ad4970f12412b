"""LabelCalibration: glue between TFX and the search."""

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import artifact_utils
from tfx.types.standard_artifacts import Examples, HyperParameters, Model
from tfx.utils import path_utils

from components.image_example_gen.records import STRONG
from components.label_calibration.calibration_files import write_calibration
from components.label_calibration.known_images import known_images, rehearsal_images
from components.label_calibration.search import calibrate
from components.weak_labels.core.label_config import LabelConfig
from components.weak_labels.examples import split_files
from trainer.data.features import read_examples


@component
def LabelCalibration(
    examples: InputArtifact[Examples],
    cam: InputArtifact[Model],
    l_net: InputArtifact[Model],
    calibration: OutputArtifact[HyperParameters],
    settings: Parameter[str],
) -> None:
    """Finds the label core's values on strong images; weak masks are never seen.

    Args:
      examples: ImageExampleGen's; only its split strong is read.
      cam, l_net: exported models; the L-Net was trained with `Categories.rehearsal`.
      calibration: gets labels.yaml, calibration.json and calibration.png: hyperparameters, like a Tuner's.
      settings: JSON of LabelConfig to start from.

    Raises:
      UserError: the L-Net has seen all strong categories.
    """
    cam_folder, l_net_folder = (path_utils.serving_model_path(model.uri) for model in (cam, l_net))
    files = split_files(artifact_utils.get_split_uri([examples], STRONG))
    chosen = rehearsal_images(read_examples(files), l_net_folder)
    found = calibrate(list(known_images(cam_folder, l_net_folder, chosen)), LabelConfig.model_validate_json(settings))
    write_calibration(calibration.uri, found)
