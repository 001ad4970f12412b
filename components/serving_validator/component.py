"""ServingValidator: takes images from the eval split, runs the check, writes the blessing."""

import tempfile
from pathlib import Path

from tfx.components.util import model_utils
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import artifact_utils
from tfx.types.standard_artifacts import Examples, InfraBlessing, Model
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


@component
def ServingValidator(
    model: InputArtifact[Model],
    examples: InputArtifact[Examples],
    blessing: OutputArtifact[InfraBlessing],
    categories: Parameter[str],
    settings: Parameter[str],
    infra_blessing: InputArtifact[InfraBlessing] = None,
) -> None:
    """Blesses a model that loads, predicts rightly and fits its budget in a fresh process.

    TFX's InfraValidator needs docker and looks neither at predictions nor at times.

    Args:
      model: the trained and exported model.
      examples: ImageExampleGen's; the first images of its split eval that the model takes are sent.
      blessing: as the Pusher reads it; gets serving_check.json (see checks.ServingReport).
      categories: Categories.to_json().
      settings: JSON of ServingCheckConfig.
      infra_blessing: the InfraValidator's; without its blessing this one is withheld too.

    Raises:
      UserError: the model takes none of the images.
    """
    check = ServingCheckConfig.model_validate_json(settings)
    files = split_files(artifact_utils.get_split_uri([examples], EVAL))
    folder = path_utils.serving_model_path(model.uri)
    _, limit = look_and_limit(folder)
    images = first_images(files, check.images, limit)
    if not images:
        raise UserError(f"inference.max_pixels: no picture of the evaluation list has {limit} or fewer; raise it")
    with tempfile.TemporaryDirectory() as work:
        known = Categories.from_json(categories)
        report = check_model(Path(folder), images, known, check, Path(work))
    if infra_blessing and not model_utils.is_infra_validated(infra_blessing):
        report.reasons.append("TF Serving in docker did not load it (InfraValidator); see its log")
    Path(blessing.uri, REPORT).write_text(report.to_json())
    blessing.set_int_custom_property(BLESSED, 0 if report.reasons else 1)
